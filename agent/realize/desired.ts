/**
 * What the kernel should hold: the source's objects and this node's endpoints, resolved into identities, policy subjects
 * and claims on addresses. Touches no kernel; the only thing it waits for is a new label set's number.
 */
import type { DatapathDelta, DatapathRows } from '../datapath/datapath.ts';
import { asWeirError, type WeirError } from '../errors.ts';
import {
  type Address,
  bitsOf,
  type Family,
  familyOf,
  type Prefix,
  prefixAddress,
  prefixLength,
} from '../model/address.ts';
import type { EndpointRecord } from '../model/endpoint.ts';
import { RESERVED_IDENTITIES } from '../model/identity.ts';
import type { Labels } from '../model/labels.ts';
import type { Document, Namespace, Node, ObjectRef, Pod, SourceChange } from '../model/object.ts';
import { nodeAddresses } from '../model/router-address.ts';
import type { DocumentResult, Engine } from '../policy/engine.ts';
import { createServiceTable, type ServiceTable } from '../service/table.ts';
import { createDenyLists, type DenyLists } from './deny-list.ts';
import { createIdentitiesInUse, type IdentitiesInUse, type IdentityNumbers } from './identities-in-use.ts';
import { createInventory, type Inventory, podKey } from './inventory.ts';
import type { Member } from './members.ts';
import { createNamedPorts } from './named-ports.ts';
import { createNodeTable, type NodeTable } from './node-table.ts';
import { createOwnEndpoints } from './own-endpoints.ts';
import { CLAIM_RANK, createPeerTable, type PeerTable, THIS_NODE } from './peer-table.ts';
import { createPublished } from './published.ts';
import { createRangeTable, RANGE_RANK, unmanaged } from './range-table.ts';
import { createRemoteEndpoints, type RemoteEndpoints } from './remote-endpoints.ts';
import { createStatusPods } from './status-pods.ts';

/** kubernetes.io "Well-Known Labels". */
const ZONE_LABEL = 'topology.kubernetes.io/zone';

export interface DesiredOptions {
  readonly engine: Engine;
  readonly identities: IdentityNumbers;
  readonly nodeName: string;
  /** The labels of a pod's identity. */
  readonly labelsOf: (pod: Pod, namespace: Namespace | undefined) => Labels;
  readonly podCidrs: readonly Prefix[];
  /** Prefixes of pods anywhere in the cluster, besides the nodes' pod CIDRs. */
  readonly clusterPodCidrs?: readonly Prefix[];
  /** Pods of other nodes are reached by the tunnel; and the family of its outer packets. */
  readonly tunnel?: boolean;
  readonly underlay?: Family | 'auto';
  /** Pods elsewhere are known by what their nodes publish, not by Pod objects. */
  readonly podsArePublished?: boolean;
  /** Services are translated. */
  readonly services?: boolean;
  /** A policy document came or changed, with what the engine says of it. */
  readonly onDocument: (document: Document, result: DocumentResult) => void;
  /** A node came, moved or went: its addresses, or those of its pods. */
  readonly onNodes?: () => void;
  /** An endpoint has a new identity, or its pod changed. */
  readonly onEndpoint: (member: Member) => void;
}

export interface Desired {
  readonly inventory: Inventory;
  readonly peers: PeerTable;
  readonly members: ReadonlyMap<number, Member>;
  readonly identities: Pick<IdentitiesInUse, 'labels' | 'users'>;
  readonly nodes: Pick<NodeTable, 'records' | 'withAgent' | 'apiServers'>;
  readonly denied: Pick<DenyLists, 'prefixes'>;
  readonly remote: Pick<RemoteEndpoints, 'find' | 'list' | 'size'>;
  readonly services: Pick<ServiceTable, 'rows' | 'addressesWithoutSelector' | 'ownerOf' | 'revision'>;
  /** Takes one change of the source over. */
  take(change: SourceChange): void;
  addEndpoint(record: EndpointRecord, pod: Pod | undefined): void;
  removeEndpoint(id: number): void;
  /** Pods that got `init` because no number was free ask again with the next resolve. True if there are any. */
  askAgain(): boolean;
  /** Endpoints with these labels ask for their number anew with the next resolve. True if there are any. */
  renumber(labels: Labels): boolean;
  /** Everything that is the node itself, replacing what was said before. */
  setLocalAddresses(prefixes: readonly Prefix[]): void;
  /**
   * Gives everything that changed its identity and subject. What could not get a number stays as it was, delays nothing
   * else, and is tried again with the next call; the first such error is returned.
   */
  resolve(): Promise<WeirError | undefined>;
  /** What changed since the last call, and the endpoints whose own row is part of it. */
  delta(): { readonly delta: DatapathDelta; readonly endpoints: readonly number[] };
  /** Everything, as of the last {@link delta}. */
  everything(): DatapathRows;
}

export function createDesired(options: DesiredOptions): Desired {
  const { engine } = options;
  const inventory = createInventory();
  const peers = createPeerTable();
  const identities = createIdentitiesInUse(options.identities, engine);
  const ranges = createRangeTable();
  ranges.claim('own pods', RANGE_RANK.ownPods, unmanaged(options.podCidrs));
  ranges.claim('cluster', RANGE_RANK.cluster, unmanaged(options.clusterPodCidrs ?? []));
  const services = createServiceTable(options.nodeName);
  const namedPorts = createNamedPorts((identity, ports) => engine.setNamedPorts(identity, ports));
  const { labelsOf, onEndpoint } = options;
  const endpoints = createOwnEndpoints({ engine, inventory, identities, peers, namedPorts, labelsOf, onEndpoint });
  const pods = options.podsArePublished
    ? undefined
    : createStatusPods({ inventory, identities, peers, namedPorts, labelsOf });
  const nodes = createNodeTable({
    nodeName: options.nodeName,
    peers,
    ranges,
    tunnel: options.tunnel ?? false,
    underlay: options.underlay ?? 'auto',
    setHostLabels: (labels) => engine.upsertIdentity(RESERVED_IDENTITIES.host, labels),
    onNumber: (name) => remote.renumber(name),
    onChange: options.onNodes,
  });
  const remote = createRemoteEndpoints({
    nodeName: options.nodeName,
    peers,
    namedPorts,
    numberOf: (name) => nodes.numberOf(name),
  });
  const denied = createDenyLists();
  const published = createPublished({ engine, services, nodes, identities, remote, denied });
  let localAddresses: readonly Address[] = [];

  /**
   * Rules about nodes mean them by all their addresses, the routers' too, and this node by everything it answers to.
   */
  function withAllAddresses(node: Node): Node {
    const own = node.name === options.nodeName ? localAddresses : [];
    return { ...node, addresses: [...new Set([...nodeAddresses(node), ...own])] };
  }

  function takeNode(name: string): void {
    const node = inventory.nodes.get(name);
    if (name === options.nodeName) services.setZone(node?.labels[ZONE_LABEL] ?? '');
    if (node) {
      engine.upsertNode(withAllAddresses(node));
      nodes.upsert(node);
    } else {
      engine.removeNode(name);
      nodes.remove(name);
    }
  }

  function takeService(change: SourceChange, ref: ObjectRef): void {
    if (change.type === 'delete') {
      engine.removeService(ref.namespace, ref.name);
      services.removeService(ref.namespace, ref.name);
    } else if (change.object.kind === 'Service') {
      engine.upsertService(change.object.value);
      services.upsertService(change.object.value);
    }
    published.serviceChanged(ref.namespace, ref.name);
  }

  function takeNamespace(name: string): void {
    endpoints.namespaceChanged(name);
    pods?.namespaceChanged(name);
  }

  function takePod(key: string): void {
    const pod = inventory.pods.get(key);
    if (pod) endpoints.podChanged(pod);
    pods?.podChanged(key);
  }

  return {
    inventory,
    peers,
    members: endpoints.members,
    identities,
    nodes,
    denied,
    remote,
    services,
    take(change) {
      inventory.apply(change);
      const kind = change.type === 'upsert' ? change.object.kind : change.kind;
      const ref = change.type === 'upsert' ? change.object.ref : change.ref;
      if (kind === 'Namespace') takeNamespace(ref.name);
      else if (kind === 'Pod') takePod(podKey(ref.namespace, ref.name));
      else if (kind === 'Node') takeNode(ref.name);
      else if (kind === 'Service') takeService(change, ref);
      else if (kind !== 'Document') published.take(change);
      else if (change.type === 'delete') engine.removeDocument(ref);
      else if (change.object.kind === 'Document') {
        options.onDocument(change.object.value, engine.upsertDocument(change.object.value));
      }
    },
    addEndpoint: endpoints.add,
    removeEndpoint: endpoints.remove,
    askAgain: endpoints.askAgain,
    renumber: endpoints.renumber,
    setLocalAddresses(prefixes) {
      const host = { identity: RESERVED_IDENTITIES.host, kind: 'node' } as const;
      const isOne = (prefix: Prefix): boolean => prefixLength(prefix) === bitsOf(familyOf(prefix));
      const addresses = prefixes.filter(isOne).map(prefixAddress);
      peers.claim(
        THIS_NODE,
        CLAIM_RANK.local,
        addresses.map((address) => ({ address, endpoint: 0, ...host })),
      );
      nodes.setLocalAddresses(addresses);
      localAddresses = addresses;
      const self = inventory.nodes.get(options.nodeName);
      if (self) engine.upsertNode(withAllAddresses(self));
      ranges.claim(
        THIS_NODE,
        RANGE_RANK.local,
        prefixes.filter((prefix) => !isOne(prefix)).map((prefix) => ({ prefix, ...host })),
      );
    },
    async resolve() {
      let failure: WeirError | undefined;
      const failed = (cause: unknown): void => {
        failure ??= asWeirError(cause, 'number an identity');
      };
      // Side by side: each may have to ask for a number, and an API server that is away answers none of them.
      await Promise.all([...(pods?.resolve(failed) ?? []), ...endpoints.resolve(failed)]);
      return failure;
    },
    delta() {
      const policy = engine.take();
      const changed = endpoints.point();
      const change = peers.take();
      const range = ranges.take();
      const node = nodes.take();
      const service = options.services ? services.take() : { set: [], remove: [] };
      const delta: DatapathDelta = {
        policy,
        setEndpoints: endpoints.rows(changed),
        removeEndpoints: endpoints.takeRemoved(),
        setPeers: change.set,
        removePeers: change.remove,
        setRanges: range.set,
        removeRanges: range.remove,
        setNodes: node.set,
        removeNodes: node.remove,
        setServices: service.set,
        removeServices: service.remove,
      };
      return { delta, endpoints: changed };
    },
    everything: () => ({
      policy: engine.rows(),
      endpoints: endpoints.rows(endpoints.members.keys()),
      peers: peers.rows(),
      ranges: ranges.rows(),
      nodes: nodes.rows(),
      services: options.services ? services.rows() : [],
    }),
  };
}
