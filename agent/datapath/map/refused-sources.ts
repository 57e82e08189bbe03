/**
 * Whom the uplinks take nothing from: configured deny ranges, and the node's own addresses and pods, which nobody outside
 * has. One table for both, so that a packet costs one lookup; a prefix in both is the node's.
 */
import type { Prefix } from '../../model/address.ts';
import { DropReason } from '../layout.gen.ts';
import type { NodeMaps } from './maps.ts';
import { decodeRangeKey, encodeRangeKey } from './peer-rows.ts';

/** Written at a stretch, a few milliseconds; then the event loop has its turn. */
const AT_ONCE = 2048;

export interface RefusedSources {
  setOwn(prefixes: readonly Prefix[]): Promise<void>;
  setDenied(prefixes: readonly Prefix[]): Promise<void>;
}

/**
 * Starts from what the table holds. Of either kind nothing is removed before it was told once what there is of it: an agent
 * that has just started knows its own addresses long before the deny lists. Calls must not overlap.
 */
export function createRefusedSources(table: NodeMaps['refusedSources']): RefusedSources {
  let own: readonly Prefix[] | undefined;
  let isOwnWritten = false;
  let denied: readonly Prefix[] | undefined;
  /** As the table has it; undefined: not read yet, or not known for certain. */
  let held: Map<Prefix, number> | undefined;

  async function set(rows: readonly (readonly [Prefix, number])[]): Promise<void> {
    for (let at = 0; at < rows.length; at += AT_ONCE) {
      const part = rows.slice(at, at + AT_ONCE);
      table.setAll(part.map(([prefix, reason]) => [encodeRangeKey(prefix), reason]));
      for (const [prefix, reason] of part) held?.set(prefix, reason);
      await new Promise(setImmediate);
    }
  }

  async function remove(prefixes: readonly Prefix[]): Promise<void> {
    for (let at = 0; at < prefixes.length; at += AT_ONCE) {
      const part = prefixes.slice(at, at + AT_ONCE);
      table.deleteAll(part.map(encodeRangeKey));
      for (const prefix of part) held?.delete(prefix);
      await new Promise(setImmediate);
    }
  }

  /** Brings one kind in step; the other is only touched where it has the same prefixes. */
  async function write(kind: number): Promise<void> {
    const before = held ?? new Map([...table.entries()].map(([key, reason]) => [decodeRangeKey(key), reason]));
    held = before;
    const wanted = new Map<Prefix, number>([
      ...(denied ?? []).map((prefix) => [prefix, DropReason.DROP_DENY_CIDR] as const),
      ...(own ?? []).map((prefix) => [prefix, DropReason.DROP_HOST_SPOOF] as const),
    ]);
    const isKnown = (reason: number): boolean => (reason === DropReason.DROP_DENY_CIDR ? denied : own) !== undefined;
    const added = [...wanted].filter(
      ([prefix, reason]) => before.get(prefix) !== reason && (reason === kind || before.has(prefix)),
    );
    const gone = [...before].flatMap(([prefix, reason]) => (wanted.has(prefix) || !isKnown(reason) ? [] : [prefix]));
    try {
      await set(added).catch(async () => {
        await remove(gone); // That makes room.
        await set(added);
      });
      await remove(gone);
    } catch (error) {
      held = undefined;
      throw error;
    }
  }

  return {
    async setOwn(prefixes) {
      if (isOwnWritten && prefixes.length === own?.length && prefixes.every((prefix, i) => prefix === own?.[i])) return;
      own = prefixes;
      isOwnWritten = false;
      await write(DropReason.DROP_HOST_SPOOF);
      isOwnWritten = true;
    },
    async setDenied(prefixes) {
      denied = prefixes;
      await write(DropReason.DROP_DENY_CIDR);
    },
  };
}
