/** Kernel records and names for tests of the flow river: what a datapath with three pods would send. */
import {
  Direction,
  DropReason,
  EventType,
  Family,
  type FlowEvent,
  flowEvent,
} from '../../agent/datapath/layout.gen.ts';
import { IPPROTO } from '../../agent/flow/filter.ts';
import { FlowHistory, type HistoryOptions } from '../../agent/flow/history.ts';
import type { Names, PartyName, ServiceName } from '../../agent/flow/names.ts';
import { emptyEvent } from '../../agent/flow/record.ts';
import { RECORD_BYTES } from '../../agent/flow/store.ts';
import { type Address, addressBytes, familyOf, parseAddress } from '../../agent/model/address.ts';
import { RESERVED, RESERVED_IDENTITIES } from '../../agent/model/identity.ts';
import type { Labels } from '../../agent/model/labels.ts';
import type { ObjectRef } from '../../agent/model/object.ts';
import type { PolicyInfo, RuleInfo } from '../../agent/model/verdict.ts';

export const address = (text: string): Address => {
  const parsed = parseAddress(text);
  if (parsed === undefined) throw new TypeError(`no address: ${text}`);
  return parsed;
};

/** A field of struct ip_address: IPv4 in the first four bytes. */
export function addressField(text: string): Uint8Array {
  const bytes = new Uint8Array(16);
  bytes.set(addressBytes(address(text)));
  return bytes;
}

export const FRONTEND = { id: 1, identity: 300, ip: '10.1.0.1', ip6: 'fd00::1' } as const;
export const BACKEND = { id: 2, identity: 301, ip: '10.1.0.2', ip6: 'fd00::2' } as const;
export const POSTGRES = { id: 3, identity: 302, ip: '10.1.0.3', ip6: 'fd00::3' } as const;
/** A pod of another node. */
export const REMOTE = { id: 0, identity: 303, ip: '10.2.0.9', ip6: 'fd00:2::9' } as const;
export const WORLD = {
  id: 0,
  identity: RESERVED_IDENTITIES['world-ipv4'],
  ip: '198.51.100.7',
  ip6: '2001:db8::7',
} as const;
export type Party = { readonly id: number; readonly identity: number; readonly ip: string; readonly ip6: string };

export const ALLOW_RULE = 1001;
export const DENY_RULE = 1002;
export const BACKEND_POLICY = 17;
export const POLICY_REF: ObjectRef = {
  apiVersion: 'cilium.io/v2',
  kind: 'CiliumNetworkPolicy',
  namespace: 'default',
  name: 'backend-policy',
  uid: 'u-policy',
};

export function rule(id: number, action: 'allow' | 'deny'): RuleInfo {
  const list = action === 'deny' ? 'ingressDeny' : 'ingress';
  return {
    id,
    policy: POLICY_REF,
    tier: 'normal',
    direction: 'ingress',
    action,
    audit: false,
    match: { anyPeer: false, protocols: [{ number: IPPROTO.TCP, ports: true }] },
    path: ['spec', list, 0],
    place: 'backend.yaml',
    line: 12,
    description: `${list}[0] of CiliumNetworkPolicy default/backend-policy`,
    log: '',
  };
}

const policyInfo: PolicyInfo = {
  id: BACKEND_POLICY,
  revision: 7,
  subject: 'backend',
  ingressIsolatedBy: [POLICY_REF],
  egressIsolatedBy: [],
  ingressAuditedBy: [],
  egressAuditedBy: [],
};

export function podName(name: string, party: Party, namespace = 'default'): PartyName {
  const addresses = [address(party.ip), address(party.ip6)];
  return { namespace, pod: name, uid: `u-${name}`, node: '', workload: { kind: 'Deployment', name }, addresses };
}

const appLabels = (app: string, namespace = 'default'): Labels =>
  new Map([
    ['k8s:app', app],
    ['k8s:io.kubernetes.pod.namespace', namespace],
  ]);

/** Names that a test may change between events; every change makes the remembered addresses stale. */
export function fakeNames() {
  const endpoints = new Map<number, PartyName>([
    [FRONTEND.id, podName('frontend-abc', FRONTEND)],
    [BACKEND.id, podName('backend-xyz', BACKEND)],
    [POSTGRES.id, podName('postgres-0', POSTGRES, 'database')],
  ]);
  const addresses = new Map<string, PartyName>([[REMOTE.ip, podName('remote-1', REMOTE)]]);
  const labels = new Map<number, Labels>([
    ...RESERVED.map((one) => [one.number, one.labels] as const),
    [FRONTEND.identity, appLabels('frontend')],
    [BACKEND.identity, appLabels('backend')],
    [POSTGRES.identity, appLabels('postgres', 'database')],
    [REMOTE.identity, appLabels('remote')],
  ]);
  const rules = new Map<number, RuleInfo>([
    [ALLOW_RULE, rule(ALLOW_RULE, 'allow')],
    [DENY_RULE, rule(DENY_RULE, 'deny')],
  ]);
  const asked: string[] = [];
  /** By "address port protocol". */
  const services = new Map<string, ServiceName>();
  let revision = 1;
  const names: Names = {
    endpointName: (id) => endpoints.get(id),
    nameOfAddress(ip) {
      asked.push(ip);
      return addresses.get(ip);
    },
    serviceAt(ip, port, protocol) {
      asked.push(`${ip} ${port} ${protocol}`);
      return services.get(`${ip} ${port} ${protocol}`);
    },
    identityLabels: (number) => labels.get(number),
    rule: (id) => rules.get(id),
    isThere: ({ uid }) => [...endpoints.values(), ...addresses.values()].some((one) => one.uid === uid),
    policy: (id) => (id === BACKEND_POLICY ? policyInfo : undefined),
    get revision() {
      return revision;
    },
    get serviceRevision() {
      return revision;
    },
  };
  const changed = () => {
    revision++;
  };
  return { names, endpoints, addresses, services, labels, rules, asked, changed };
}

/** A history of so many records, with its names; time is the machine's. */
export function makeHistory(records: number, options: Partial<HistoryOptions> = {}) {
  const fake = fakeNames();
  const ring = { lost: 0 };
  const history = new FlowHistory({
    node: 'node-1',
    names: fake.names,
    memoryBytes: records * RECORD_BYTES,
    ringLost: () => ring.lost,
    ...options,
  });
  return { ...fake, history, ring };
}

export interface EventSpec extends Partial<Omit<FlowEvent, 'source' | 'destination' | 'service'>> {
  /** Virtual address that was asked for. */
  readonly service?: string;
  readonly from?: Party;
  readonly to?: Party;
  readonly version?: 4 | 6;
}

/** A record: by default TCP, new, frontend:40000 -> backend:8080, allowed at ingress by ALLOW_RULE. */
export function event({ from = FRONTEND, to = BACKEND, version = 4, service, ...fields }: EventSpec = {}): Uint8Array {
  const [source, destination] = version === 4 ? [from.ip, to.ip] : [from.ip6, to.ip6];
  return flowEvent.encode({
    ...emptyEvent(),
    time: process.hrtime.bigint(),
    created: 1_000n,
    packets: [1n, 0n],
    bytes: [60n, 0n],
    source: addressField(source),
    destination: addressField(destination),
    ...(service !== undefined && { service: addressField(service) }),
    sourcePort: 40000,
    destinationPort: 8080,
    family: familyOf(address(source)) === 4 ? Family.FAMILY_IPV4 : Family.FAMILY_IPV6,
    protocol: IPPROTO.TCP,
    type: EventType.EVENT_NEW,
    direction: Direction.DIRECTION_INGRESS,
    tcpFlags: 2,
    identity: [from.identity, to.identity],
    endpoint: [from.id, to.id],
    policy: [BACKEND_POLICY, 0],
    rule: [ALLOW_RULE, 0],
    length: 60,
    ...fields,
  });
}

/** A default-deny drop at the backend's ingress. */
export const drop = (fields: EventSpec = {}): Uint8Array =>
  event({ type: EventType.EVENT_DROP, reason: DropReason.DROP_POLICY_DENIED, rule: [0, 0], created: 0n, ...fields });

export function batch(...records: Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(records));
}

/** Records whose destination ports count up from `firstPort`, so that a test can tell which arrived. */
export function numbered(count: number, firstPort = 1): Uint8Array {
  return batch(...Array.from({ length: count }, (_, i) => event({ destinationPort: firstPort + i })));
}
