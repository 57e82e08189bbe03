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
  let denied: readonly Prefix[] | undefined;
  /** As the table has it; undefined: not read yet. */
  let held: Map<Prefix, number> | undefined;

  async function write(): Promise<void> {
    held ??= new Map([...table.entries()].map(([key, reason]) => [decodeRangeKey(key), reason]));
    const wanted = new Map<Prefix, number>([
      ...(denied ?? []).map((prefix) => [prefix, DropReason.DROP_DENY_CIDR] as const),
      ...(own ?? []).map((prefix) => [prefix, DropReason.DROP_HOST_SPOOF] as const),
    ]);
    const isKnown = (reason: number): boolean => (reason === DropReason.DROP_DENY_CIDR ? denied : own) !== undefined;
    const set = [...wanted].filter(([prefix, reason]) => held?.get(prefix) !== reason);
    const gone = [...held].flatMap(([prefix, reason]) => (wanted.has(prefix) || !isKnown(reason) ? [] : [prefix]));
    for (let at = 0; at < set.length; at += AT_ONCE) {
      const part = set.slice(at, at + AT_ONCE);
      table.setAll(part.map(([prefix, reason]) => [encodeRangeKey(prefix), reason]));
      for (const [prefix, reason] of part) held.set(prefix, reason);
      await new Promise(setImmediate);
    }
    for (let at = 0; at < gone.length; at += AT_ONCE) {
      const part = gone.slice(at, at + AT_ONCE);
      table.deleteAll(part.map(encodeRangeKey));
      for (const prefix of part) held.delete(prefix);
      await new Promise(setImmediate);
    }
  }

  return {
    async setOwn(prefixes) {
      if (held && prefixes.length === own?.length && prefixes.every((prefix, i) => prefix === own?.[i])) return;
      own = prefixes;
      await write();
    },
    async setDenied(prefixes) {
      denied = prefixes;
      await write();
    },
  };
}
