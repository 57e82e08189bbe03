/** One name for all events of a connection, whichever side sent the packet. */
import { DESTINATION, type PacketSide, SOURCE, type StoredFlow } from './decode.ts';

/** 16 hex digits from both ends, the protocol and the moment it began; the same on every agent that asks this kernel. */
export function connectionId(flow: StoredFlow): string {
  const low = comesFirst(flow, SOURCE, DESTINATION) ? SOURCE : DESTINATION;
  const parts = [flow.family, flow.protocol, ...end(flow, low), ...end(flow, low === SOURCE ? DESTINATION : SOURCE)];
  const created = flow.createdNs;
  parts.push(Number(created & 0xffffffffn), Number(created >> 32n));
  return hash(parts, 0x811c9dc5) + hash(parts, 0x9747b28c);
}

function end(flow: StoredFlow, side: PacketSide): number[] {
  return [...[0, 1, 2, 3].map((word) => flow.addressWord(side, word)), flow.port(side)];
}

function comesFirst(flow: StoredFlow, a: PacketSide, b: PacketSide): boolean {
  const [left, right] = [end(flow, a), end(flow, b)];
  const at = left.findIndex((part, i) => part !== right[i]);
  return at < 0 || (left[at] as number) < (right[at] as number);
}

/** FNV-1a over words, finished as MurmurHash3 is. */
function hash(parts: readonly number[], seed: number): string {
  let value = seed;
  for (const part of parts) {
    value = Math.imul(value ^ part, 0x01000193);
    value ^= value >>> 15;
  }
  value = Math.imul(value, 0x85ebca6b);
  return ((value ^ (value >>> 13)) >>> 0).toString(16).padStart(8, '0');
}
