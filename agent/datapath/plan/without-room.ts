/** What is still to be written when a table that no policy's rows are in has no room. Pure. */
import type { Op } from './plan.ts';
import type { Tables } from './tables.ts';

/** A Service leads to its backends and its address to the Service: where one has no room the others are of no use. */
const OF_SERVICES: readonly Op['kind'][] = ['backends.set', 'service.set', 'virtualAddress.set'];
const OF_ADDRESSES: readonly Op['kind'][] = ['identity.add', 'peer.set', 'range.set', 'node.set'];

/**
 * The operations without those that the table of the first, which has just failed, has no room for: of its kind, rows that
 * would be new. If the first is not even new, all of its kind: some tables need room to replace a row. Undefined: the
 * others depend on the first.
 */
export function withoutRoom(ops: readonly Op[], tables: Pick<Tables, 'peer' | 'knows'>): Op[] | undefined {
  const [first] = ops;
  if (first === undefined) return undefined;
  if (OF_SERVICES.includes(first.kind)) return ops.filter(({ kind }) => !OF_SERVICES.includes(kind));
  if (!OF_ADDRESSES.includes(first.kind)) return undefined;
  const all = !isNew(first, tables);
  return ops.filter((op) => op.kind !== first.kind || !(all || isNew(op, tables)));
}

/** Of other tables it is not asked: their rows count as new. */
function isNew(op: Op, tables: Pick<Tables, 'peer' | 'knows'>): boolean {
  if (op.kind === 'peer.set') return tables.peer(op.row.address) === undefined;
  if (op.kind === 'identity.add') return !tables.knows(op.row);
  return true;
}
