/**
 * Pods of other nodes as those nodes publish them: claims on addresses, and port names. A claim belongs to the slice, the
 * pod's uid and its interface, so a slice that goes takes its own claims along and no others.
 */
import type { PublishedEndpoint, PublishedEndpoints } from '../model/object.ts';
import type { NamedPorts } from './named-ports.ts';
import { CLAIM_RANK, type PeerTable } from './peer-table.ts';

export interface RemoteEndpointsOptions {
  readonly nodeName: string;
  readonly peers: PeerTable;
  readonly namedPorts: NamedPorts;
  /** Number of a node in the tunnel, 0 for none. */
  readonly numberOf: (node: string) => number;
}

export interface RemoteEndpoints {
  upsert(slice: string, published: PublishedEndpoints): void;
  remove(slice: string): void;
  /** The node has another number in the tunnel. */
  renumber(node: string): void;
  /** The pod behind an owner in the peer table. */
  find(owner: string): RemoteEndpoint | undefined;
  list(): RemoteEndpoint[];
  readonly size: number;
}

/** A pod of another node. */
export interface RemoteEndpoint {
  readonly node: string;
  readonly endpoint: PublishedEndpoint;
}

/** What owners of remote pods begin with. */
export const REMOTE_OWNER = 'remote ';

export function createRemoteEndpoints(options: RemoteEndpointsOptions): RemoteEndpoints {
  const { peers, namedPorts } = options;
  const slices = new Map<string, PublishedEndpoints>();
  const byOwner = new Map<string, RemoteEndpoint>();

  /** A pod may have several interfaces, each with an entry of its own. */
  const ownerOf = (slice: string, { uid, addresses }: PublishedEndpoint): string =>
    `${REMOTE_OWNER}${slice}/${uid}/${addresses.join()}`;

  function claim(slice: string, { node, endpoints }: PublishedEndpoints): void {
    const number = options.numberOf(node);
    const behind = number === 0 ? {} : { node: number };
    for (const endpoint of endpoints) {
      const owner = ownerOf(slice, endpoint);
      const { identity, addresses } = endpoint;
      byOwner.set(owner, { node, endpoint });
      namedPorts.set(owner, identity, endpoint.namedPorts);
      peers.claim(
        owner,
        CLAIM_RANK.remotePod,
        addresses.map((address) => ({ address, identity, endpoint: 0, kind: 'pod', ...behind })),
      );
    }
  }

  function forget(owner: string): void {
    byOwner.delete(owner);
    peers.withdraw(owner);
    namedPorts.remove(owner);
  }

  return {
    upsert(slice, published) {
      if (published.node === options.nodeName) return; // This node knows its own pods better.
      const before = slices.get(slice);
      slices.set(slice, published);
      const same = new Set(before?.node === published.node ? before.endpoints : []);
      const staying = new Set(published.endpoints.map((endpoint) => ownerOf(slice, endpoint)));
      for (const endpoint of before?.endpoints ?? []) {
        const owner = ownerOf(slice, endpoint);
        if (!staying.has(owner)) forget(owner);
      }
      // Whoever reads slices keeps the objects of endpoints that are as they were; any other is claimed again.
      const changed = published.endpoints.filter((one) => !same.has(one));
      claim(slice, { node: published.node, endpoints: changed });
    },
    remove(slice) {
      for (const endpoint of slices.get(slice)?.endpoints ?? []) forget(ownerOf(slice, endpoint));
      slices.delete(slice);
    },
    renumber(node) {
      for (const [slice, published] of slices) if (published.node === node) claim(slice, published);
    },
    find: (owner) => byOwner.get(owner),
    list: () => [...byOwner.values()],
    get size() {
      return byOwner.size;
    },
  };
}
