/**
 * Names for events, as they are now. What is gone is answered until its index or address is somebody else's, because
 * the end of a connection may be reported minutes after its pod was deleted.
 */
import type { Names, PartyName, ServiceName } from '../flow/names.ts';
import type { Address } from '../model/address.ts';
import { keepNewest } from '../model/keep-newest.ts';
import type { Pod, PublishedEndpoint } from '../model/object.ts';
import type { Engine } from '../policy/engine.ts';
import type { Desired } from './desired.ts';
import type { Member } from './members.ts';
import { THIS_NODE } from './peer-table.ts';

/** Addresses of pods that are gone, remembered; the oldest go first. */
const GONE_ADDRESSES_MAX = 8192;
/** Virtual addresses of Services that are gone, likewise. */
const GONE_SERVICES_MAX = 8192;
/** By IP protocol number: those that Services have here. */
const SERVICE_PROTOCOLS: Readonly<Record<number, 'TCP' | 'UDP'>> = { 6: 'TCP', 17: 'UDP' };

export function createNames(
  desired: Desired,
  engine: Engine,
  nodeName: string,
): Names & { remember(member: Member): void } {
  const byEndpoint = new Map<number, PartyName>();
  const byAddress = new Map<Address, PartyName>();
  const byFrontend = new Map<string, ServiceName>();
  /** The same object for the same pod object: see the contract of Names. */
  const ofPod = new WeakMap<Pod | PublishedEndpoint, PartyName>();

  const thisNode: PartyName = { namespace: '', pod: '', uid: '', node: nodeName, workload: undefined, addresses: [] };

  function podName(pod: Pod): PartyName {
    let name = ofPod.get(pod);
    if (!name) {
      const { namespace, uid, workload, addresses } = pod;
      name = { namespace, pod: pod.name, uid, node: '', workload, addresses };
      ofPod.set(pod, name);
    }
    return name;
  }

  function remoteName(endpoint: PublishedEndpoint): PartyName {
    let name = ofPod.get(endpoint);
    if (!name) {
      const { namespace, pod, uid, workload, addresses } = endpoint;
      name = { namespace, pod, uid, node: '', workload, addresses };
      ofPod.set(endpoint, name);
    }
    return name;
  }

  function keepAddress(address: Address, name: PartyName): void {
    keepNewest(byAddress, address, name, GONE_ADDRESSES_MAX);
  }

  function ownerName(address: Address): PartyName | undefined {
    const owner = desired.peers.ownerOf(address);
    if (owner === undefined) return undefined;
    const cut = owner.indexOf(' ');
    const [kind, rest] = [owner.slice(0, cut), owner.slice(cut + 1)];
    if (kind === 'endpoint') return byEndpoint.get(Number(rest));
    if (owner === THIS_NODE) return thisNode;
    const remote = desired.remote.find(owner);
    if (remote) return remoteName(remote.endpoint);
    const pod = kind === 'pod' ? desired.inventory.pods.get(rest) : undefined;
    if (pod) return podName(pod);
    const node = kind === 'node' ? desired.inventory.nodes.get(rest) : undefined;
    return node && { namespace: '', pod: '', uid: '', node: node.name, workload: undefined, addresses: node.addresses };
  }

  return {
    remember({ record, pod }) {
      const name: PartyName = {
        namespace: record.namespace,
        pod: record.podName,
        uid: record.podUid,
        node: '',
        workload: pod?.workload,
        addresses: record.addresses,
        interface: record.hostInterface,
      };
      byEndpoint.set(record.id, name);
      for (const address of record.addresses) keepAddress(address, name);
    },
    endpointName: (endpoint) => byEndpoint.get(endpoint),
    nameOfAddress(address) {
      const name = ownerName(address);
      if (name) keepAddress(address, name);
      return name ?? byAddress.get(address);
    },
    serviceAt(address, port, number) {
      const protocol = SERVICE_PROTOCOLS[number];
      if (protocol === undefined) return undefined;
      const key = `${address} ${protocol} ${port}`;
      const owner = desired.services.ownerOf({ address, protocol, port });
      const before = byFrontend.get(key);
      if (owner === undefined || (before?.name === owner.name && before.namespace === owner.namespace)) return before;
      keepNewest(byFrontend, key, owner, GONE_SERVICES_MAX);
      return owner;
    },
    isThere: ({ uid, addresses }) => addresses.some((address) => ownerName(address)?.uid === uid),
    identityLabels: (identity) => desired.identities.labels.get(identity),
    rule: (rule) => engine.rule(rule),
    policy: (policy) => engine.policyInfo(policy),
    get revision() {
      return desired.peers.revision;
    },
    get serviceRevision() {
      return desired.services.revision;
    },
  };
}
