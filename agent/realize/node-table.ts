/**
 * The nodes of the cluster as peers: their addresses, the router addresses and pod CIDRs behind them, their numbers in the
 * tunnel, and which of them runs an API server. This node's own addresses are claimed by desired.ts.
 */
import type { NodeRow, PeerRow } from '../datapath/datapath.ts';
import { type Address, type Family, familyOf, type Prefix, prefixContains } from '../model/address.ts';
import { type IdentityNumber, OUTSIDE_API_SERVER, RESERVED_IDENTITIES, reservedLabels } from '../model/identity.ts';
import type { Labels } from '../model/labels.ts';
import type { Node, NodeRecord } from '../model/object.ts';
import { routerAddress } from '../model/router-address.ts';
import { createNumbers } from './node-numbers.ts';
import { CLAIM_RANK, type PeerTable } from './peer-table.ts';
import { RANGE_RANK, type RangeTable, unmanaged } from './range-table.ts';

export interface NodeTableOptions {
  readonly nodeName: string;
  readonly peers: PeerTable;
  readonly ranges: RangeTable;
  /** Pods of other nodes are reached by the tunnel. */
  readonly tunnel: boolean;
  /** Family of the tunnel's outer packets; 'auto': that of this node's first address. */
  readonly underlay: Family | 'auto';
  /** The node itself is somebody else for policy now: it runs an API server, or runs none any more. */
  readonly setHostLabels: (labels: Labels) => void;
  /** The number of a node came, changed or went: what is behind its tunnel is to be claimed again. */
  readonly onNumber: (name: string) => void;
  /** Where a node is, or its pods, is another now. */
  readonly onChange?: (() => void) | undefined;
}

export interface NodeTable {
  upsert(node: Node): void;
  remove(name: string): void;
  /** What the node's own agent says, which is newer and knows more. */
  upsertRecord(record: NodeRecord): void;
  removeRecord(name: string): void;
  /** Where the API servers are: the endpoints of default/kubernetes. */
  setApiServers(addresses: readonly Address[]): void;
  apiServers(): readonly Address[];
  setLocalAddresses(addresses: readonly Address[]): void;
  /** Number of the node in the tunnel; 0 for this one, unknown ones, and without a tunnel. */
  numberOf(name: string): number;
  /** What is known of every node, this one too. */
  records(): NodeRecord[];
  /** Those on which an agent has spoken, and this one. */
  withAgent(): NodeRecord[];
  rows(): NodeRow[];
  take(): { readonly set: NodeRow[]; readonly remove: number[] };
}

/** Of the last ones that are remembered: far more than are taken out of service at a time, far less than the kernel's table holds. */
const FORMER_PREFIXES = 1024;

export function createNodeTable(options: NodeTableOptions): NodeTable {
  const { nodeName, peers, ranges } = options;
  const nodes = new Map<string, Node>();
  const written = new Map<string, NodeRecord>();
  const numbers = createNumbers(4095);
  const given = new Map<number, NodeRow>();
  /**
   * Pod CIDRs that no node has any more, oldest first. A Node can be deleted while its machine still runs pods: what they
   * send is nobody's until another node has the prefix, and not the world's.
   */
  const former = new Set<Prefix>();
  let apiServers: readonly Address[] = [];
  let local: ReadonlySet<Address> = new Set();
  let hostRunsApiServer = false;

  /** Known by a Node, by what its agent wrote, or by both. */
  const allNames = (): Set<string> => new Set([...nodes.keys(), ...written.keys()]);

  function recordOf(name: string): NodeRecord | undefined {
    const node = nodes.get(name);
    const record = written.get(name);
    if (!node) return record;
    const podCidrs = node.podCidrs.length > 0 ? node.podCidrs : (record?.podCidrs ?? []);
    return {
      name,
      addresses: node.addresses.length > 0 ? node.addresses : (record?.addresses ?? []),
      podCidrs,
      routerAddresses: record?.routerAddresses ?? podCidrs.map(routerAddress),
      ...(record?.age && { age: record.age }),
    };
  }

  /** The node's address the tunnel leads to; undefined: it has none of any family. */
  function underlayOf(record: NodeRecord): Address | undefined {
    const [own] = recordOf(nodeName)?.addresses ?? [];
    const family = options.underlay === 'auto' ? own && familyOf(own) : options.underlay;
    return record.addresses.find((address) => familyOf(address) === family) ?? record.addresses[0];
  }

  function claim(name: string): void {
    const record = recordOf(name);
    const isThis = name === nodeName;
    const before = numbers.of(name);
    const far = record && !isThis && options.tunnel && underlayOf(record) !== undefined;
    const number = far ? numbers.take(name) : 0;
    if (!far) numbers.release(name);
    const identity = isThis ? RESERVED_IDENTITIES.host : RESERVED_IDENTITIES['remote-node'];
    const own = { identity, endpoint: 0, kind: 'node' } as const;
    const behind = number === 0 ? {} : { node: number };
    peers.claim(`node ${name}`, CLAIM_RANK.node, [
      ...(record?.addresses ?? []).map((address) => ({ address, ...own })),
      ...(record?.routerAddresses ?? []).map((address) => ({ address, ...own, ...behind })),
    ]);
    if (!isThis) ranges.claim(`node ${name}`, RANGE_RANK.node, unmanaged(record?.podCidrs ?? [], number));
    if (before !== number) options.onNumber(name);
  }

  /** The tunnel's family follows this node's own addresses. */
  function claimAll(): void {
    for (const name of allNames()) claim(name);
  }

  /** Nodes come by the thousand, and hardly ever is one an API server's. */
  function change(name: string, make: () => void): void {
    const before = recordOf(name);
    make();
    if (name === nodeName) claimAll();
    else claim(name);
    const after = recordOf(name);
    if ([before, after].some((record) => record && apiServers.some((address) => isAt(record, address)))) {
      claimApiServers();
    }
    if (JSON.stringify(before) === JSON.stringify(after)) return;
    if (name !== nodeName) remember(before?.podCidrs ?? [], after?.podCidrs ?? []);
    options.onChange?.();
  }

  function remember(before: readonly Prefix[], after: readonly Prefix[]): void {
    for (const prefix of [...after, ...before]) former.delete(prefix);
    for (const prefix of before) if (!after.includes(prefix)) former.add(prefix);
    for (const prefix of former) {
      if (former.size <= FORMER_PREFIXES) break;
      former.delete(prefix);
    }
    ranges.claim('nodes that went', RANGE_RANK.cluster, unmanaged([...former]));
  }

  /** Is the address the node's own, or of its pods? */
  function isAt({ addresses, podCidrs }: NodeRecord, address: Address): boolean {
    return addresses.includes(address) || podCidrs.some((prefix) => prefixContains(prefix, address));
  }

  /**
   * An address of pods is nobody's but a pod's: whoever may write an EndpointSlice beside that of default/kubernetes could
   * make an API server of one, or cut it off. From the router addresses of its node an API server speaks to pods elsewhere
   * (webhooks), where a tunnel leads to them.
   */
  function claimApiServers(): void {
    const ofPods = records().flatMap(({ podCidrs }) => podCidrs);
    const outsidePods = apiServers.filter((address) => !ofPods.some((prefix) => prefixContains(prefix, address)));
    const others = records().filter(({ name }) => name !== nodeName);
    const ofNodes = new Set(others.flatMap(({ addresses }) => addresses));
    const rows = outsidePods.map((address): PeerRow => {
      const onNode = ofNodes.has(address);
      const identity: IdentityNumber = onNode ? RESERVED_IDENTITIES['kube-apiserver'] : OUTSIDE_API_SERVER;
      return { address, identity, endpoint: 0, kind: onNode ? 'node' : 'outside' };
    });
    const running = others.filter(({ addresses }) => outsidePods.some((address) => addresses.includes(address)));
    const routers = running.flatMap(({ name, routerAddresses }) => {
      const number = numbers.of(name);
      const own = { identity: RESERVED_IDENTITIES['kube-apiserver'], endpoint: 0, kind: 'node' } as const;
      return routerAddresses.map((address): PeerRow => ({ address, ...own, ...(number !== 0 && { node: number }) }));
    });
    peers.claim('API server', CLAIM_RANK.apiServer, [...rows, ...routers]);
    const here = apiServers.some((address) => local.has(address));
    if (here === hostRunsApiServer) return;
    hostRunsApiServer = here;
    options.setHostLabels(
      new Map([...reservedLabels('host'), ...(here ? [['reserved:kube-apiserver', ''] as const] : [])]),
    );
  }

  function records(): NodeRecord[] {
    return [...allNames()].map(recordOf).filter((record) => record !== undefined);
  }

  function rows(): NodeRow[] {
    return [...allNames()].flatMap((name) => {
      const record = recordOf(name);
      const number = numbers.of(name);
      const address = record && underlayOf(record);
      return number === 0 || !address ? [] : [{ number, address, sources: record.addresses }];
    });
  }

  return {
    upsert(node) {
      change(node.name, () => void nodes.set(node.name, node));
    },
    remove(name) {
      change(name, () => void nodes.delete(name));
    },
    upsertRecord(record) {
      change(record.name, () => void written.set(record.name, record));
    },
    removeRecord(name) {
      change(name, () => void written.delete(name));
    },
    setApiServers(addresses) {
      apiServers = addresses;
      claimApiServers();
    },
    apiServers: () => apiServers,
    setLocalAddresses(addresses) {
      local = new Set(addresses);
      claimApiServers();
    },
    numberOf: numbers.of,
    records,
    withAgent: () => records().filter(({ name }) => name === nodeName || written.has(name)),
    rows,
    take() {
      const now = new Map(rows().map((row) => [row.number, row]));
      const set = [...now.values()].filter((row) => JSON.stringify(given.get(row.number)) !== JSON.stringify(row));
      const remove = [...given.keys()].filter((number) => !now.has(number));
      for (const number of remove) given.delete(number);
      for (const row of set) given.set(row.number, row);
      return { set, remove };
    },
  };
}
