/** Port ranges as blocks that a longest-prefix match can hold. */
export const PORT_BITS = 16;
export const LAST_PORT = 65535;

/** The fewest aligned blocks that cover first to last, inclusive: at most 30. */
export function blocks(first: number, last: number): { port: number; bits: number }[] {
  const out: { port: number; bits: number }[] = [];
  let at = first;
  while (at <= last) {
    let free = 0;
    while (free < PORT_BITS && at % (2 << free) === 0 && at + (2 << free) - 1 <= last) free++;
    out.push({ port: at, bits: PORT_BITS - free });
    at += 1 << free;
  }
  return out;
}
