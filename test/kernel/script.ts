/** The words that probe.c understands, and its answers. */

export type Line = readonly (string | number | Uint8Array)[];

/** One line per operation; bytes become hex. */
export function script(lines: readonly Line[]): string {
  return lines.map((line) => `${line.map(word).join(' ')}\n`).join('');
}

function word(value: string | number | Uint8Array): string {
  return value instanceof Uint8Array ? Buffer.from(value).toString('hex') : String(value);
}

export interface Answers {
  /** As uname says. */
  readonly kernel: string;
  /** Everything but the kernel's name and the end, in order. */
  readonly lines: readonly string[];
  /** What PROG_TEST_RUN gave, by the name of the run. */
  readonly runs: ReadonlyMap<string, { readonly retval: number; readonly frame: Buffer }>;
  readonly failures: readonly string[];
  /** Records of ring buffers. */
  readonly events: readonly Buffer[];
}

/** Throws when the probe did not get to the end of its script. */
export function answersOf(output: string): Answers {
  const lines = output.split(/\r?\n/).filter((line) => line !== '');
  const kernel = /^kernel (.+)$/.exec(lines.shift() ?? '')?.[1];
  if (kernel === undefined || lines.pop() !== 'end')
    throw new Error(`the probe did not finish; its output:\n${output}`);
  const runs = lines.flatMap((line) => {
    const [, name = '', retval, frame = ''] = /^ran (\S+) (-?\d+) ([0-9a-f]*)$/.exec(line) ?? [];
    return retval === undefined ? [] : [[name, { retval: Number(retval), frame: Buffer.from(frame, 'hex') }] as const];
  });
  return {
    kernel,
    lines,
    runs: new Map(runs),
    failures: lines.filter((line) => /^(failed|log) /.test(line)),
    events: lines.filter((line) => line.startsWith('event ')).map((line) => Buffer.from(line.slice(6), 'hex')),
  };
}
