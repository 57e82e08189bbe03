/** The endpoints of this node as the agent knows them at the moment, by id and by container. Pure. */
import { WeirError } from '../errors.ts';
import { FIRST_ENDPOINT_ID, LAST_ENDPOINT_ID, type RecordedEndpoint } from './record.ts';

/** What CNI calls one attachment: a container's interface. */
export interface AttachmentKey {
  readonly containerId: string;
  readonly interfaceName: string;
}

/** One string per attachment; neither part can contain a slash (cni/environment.ts). */
export function attachmentKey({ containerId, interfaceName }: AttachmentKey): string {
  return `${containerId}/${interfaceName}`;
}

export interface Entry {
  readonly record: RecordedEndpoint;
  /** 'removing' stays while something of it could not be removed yet; its id and addresses are not given away. */
  phase: 'adding' | 'ready' | 'removing';
  /** Other nodes may have heard of it. */
  isAdmitted: boolean;
}

export interface Registry {
  /** A free id, the lowest after the last one given. @throws IPAM_EXHAUSTED */
  nextId(): number;
  add(entry: Entry): void;
  find(key: AttachmentKey): Entry | undefined;
  get(id: number): Entry | undefined;
  delete(entry: Entry): void;
  all(): Entry[];
}

export function createRegistry(): Registry {
  const byId = new Map<number, Entry>();
  const byKey = new Map<string, Entry>();
  let last = FIRST_ENDPOINT_ID - 1;
  return {
    nextId() {
      const count = LAST_ENDPOINT_ID - FIRST_ENDPOINT_ID + 1;
      for (let step = 1; step <= count; step++) {
        const id = FIRST_ENDPOINT_ID + ((last - FIRST_ENDPOINT_ID + step) % count);
        if (byId.has(id)) continue;
        last = id;
        return id;
      }
      throw new WeirError('IPAM_EXHAUSTED', 'choose an endpoint id', `all ${count} endpoints of this node are in use`);
    },
    add(entry) {
      byId.set(entry.record.id, entry);
      byKey.set(attachmentKey(entry.record), entry);
      last = Math.max(last, entry.record.id);
    },
    find: (key) => byKey.get(attachmentKey(key)),
    get: (id) => byId.get(id),
    delete(entry) {
      if (byId.get(entry.record.id) === entry) byId.delete(entry.record.id);
      if (byKey.get(attachmentKey(entry.record)) === entry) byKey.delete(attachmentKey(entry.record));
    },
    all: () => [...byId.values()],
  };
}
