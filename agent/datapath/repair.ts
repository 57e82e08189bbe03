/** Looks at every attachment and puts back what is gone: hooks wiped by other software, pins removed by hand. */
import { linkList } from '../../native/index.ts';
import { type Attachment, DIRECTIONS } from './attach.ts';
import type { Repair } from './datapath.ts';
import { ifindexOf } from './rows.ts';

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
  return endpoints.flatMap(({ id, hostInterface }): Repair[] => {
    if (names.get(ifindexOf(id)) !== hostInterface) return [{ endpoint: id, what: 'device gone', repaired: false }];
    return DIRECTIONS.flatMap((direction): Repair[] => {
      try {
        const what = attachment.fault(id, direction);
        if (what === undefined) return [];
        attachment.attach(id, direction);
        return [{ endpoint: id, what, repaired: attachment.fault(id, direction) === undefined }];
      } catch (cause) {
        onError(id, cause);
        return [{ endpoint: id, what: 'program detached', repaired: false }];
      }
    });
  });
}
