/** Looks at every attachment and puts back what is gone: hooks wiped by other software, pins removed by hand. */
import { linkList } from '../../../native/index.ts';
import type { Repair } from '../datapath.ts';
import { ifindexOf } from '../map/addresses.ts';
import { type Attachment, DIRECTIONS } from '../program/attach.ts';

export interface RepairTarget {
  readonly id: number;
  readonly hostInterface: string;
}

/** A device that is gone took the pod's end with it: that is not repaired here. `onError` hears why a repair failed. */
export async function repairEndpoints(
  endpoints: readonly RepairTarget[],
  attachment: Attachment,
  onError: (endpoint: number, cause: unknown) => void,
): Promise<Repair[]> {
  if (endpoints.length === 0) return [];
  const names = new Map((await linkList({})).map(({ index, name }) => [index, name]));
  const repairs: Repair[] = [];
  for (const { id, hostInterface } of endpoints) {
    if (names.get(ifindexOf(id)) !== hostInterface) {
      repairs.push({ endpoint: id, what: 'device gone', repaired: false });
      continue;
    }
    for (const direction of DIRECTIONS) {
      try {
        const what = attachment.fault(id, direction);
        if (what === undefined) continue;
        await attachment.restore(id, direction);
        repairs.push({ endpoint: id, what, repaired: attachment.fault(id, direction) === undefined });
      } catch (cause) {
        onError(id, cause);
        repairs.push({ endpoint: id, what: 'program detached', repaired: false });
      }
    }
  }
  return repairs;
}
