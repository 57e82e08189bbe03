/** A party and a port as each policy language writes them: what an edit consists of. */
import { type Family, familyOf, hostPrefix } from '../../model/address.ts';
import { NAMESPACE_LABEL } from '../../model/labels.ts';
import type { Direction } from '../../model/verdict.ts';
import type { Party } from '../workbench/party.ts';
import type { Target } from '../workbench/port.ts';

/** Whom and what a rule is to be about. */
export interface Wanted {
  readonly direction: Direction;
  readonly peer: Party;
  /** What the subject sees of the peer, of reserved identities: "host". */
  readonly entity: string | undefined;
  readonly family: Family;
  readonly target: Target;
}

/** A list in a rule, and an item for it. */
export interface Member {
  readonly field: string;
  readonly item: unknown;
}
/** Undefined: the language cannot say it. */
export interface Expression {
  readonly peer: Member | undefined;
  readonly port: Member | undefined;
}

/** Labels by which people tell workloads apart, the most usual first. */
const TELLING = ['app', 'app.kubernetes.io/name', 'k8s-app', 'name', 'app.kubernetes.io/component', 'role'];

/** The fewest labels that name the pod's workload; {} for a pod without labels of its own. */
export function tellingLabels({ subject }: Party): Record<string, string> {
  const own = [...(subject?.labels ?? [])].filter(([key]) => key.startsWith('k8s:') && !key.startsWith('k8s:io.'));
  const labels = new Map(own.map(([key, value]) => [key.slice('k8s:'.length), value]));
  const key = TELLING.find((name) => labels.has(name)) ?? [...labels.keys()].sort()[0];
  return key === undefined ? {} : { [key]: labels.get(key) as string };
}

function namespaceOf({ subject }: Party): string {
  return subject?.labels.get(NAMESPACE_LABEL) ?? '';
}

/** The address as a prefix of its full length, where it is known. */
function prefixOf({ peer, family }: Wanted): string | undefined {
  const address = peer.addresses.find((one) => familyOf(one) === family);
  return address && hostPrefix(address);
}

/** `scope`: namespace of the document, '' for a clusterwide one. */
export function inCilium(wanted: Wanted, scope: string): Expression {
  return { peer: ciliumPeer(wanted, scope), port: ciliumPort(wanted.target) };
}

function ciliumPeer(wanted: Wanted, scope: string): Member | undefined {
  const prefix = wanted.direction === 'ingress' ? 'from' : 'to';
  const { peer, entity } = wanted;
  if (peer.subject) {
    const labels = tellingLabels(peer);
    const namespace = namespaceOf(peer);
    const needed = scope !== namespace || Object.keys(labels).length === 0;
    const matchLabels = { ...labels, ...(needed && { [NAMESPACE_LABEL]: namespace }) };
    return { field: `${prefix}Endpoints`, item: { matchLabels } };
  }
  if (peer.kind === 'outside') return { field: `${prefix}CIDR`, item: prefixOf(wanted) };
  return entity === undefined ? undefined : { field: `${prefix}Entities`, item: entity };
}

function ciliumPort({ protocol, number }: Target): Member {
  if (protocol === 'ICMPv4') return { field: 'icmps', item: { family: 'IPv4', type: number } };
  if (protocol === 'ICMPv6') return { field: 'icmps', item: { family: 'IPv6', type: number } };
  return { field: 'toPorts', item: { port: String(number), protocol } };
}

/** A whole rule of Cilium's. */
export function ciliumRule({ peer, port }: Expression): unknown {
  if (!peer || !port) return undefined;
  const inner = port.field === 'icmps' ? 'fields' : 'ports';
  return { [peer.field]: [peer.item], [port.field]: [{ [inner]: [port.item] }] };
}

export function inNetworkPolicy(wanted: Wanted, scope: string): Expression {
  const field = wanted.direction === 'ingress' ? 'from' : 'to';
  const item = networkPolicyPeer(wanted, scope);
  const { protocol, number } = wanted.target;
  return {
    peer: item === undefined ? undefined : { field, item },
    port: protocol.startsWith('ICMP') ? undefined : { field: 'ports', item: { protocol, port: number } },
  };
}

function networkPolicyPeer(wanted: Wanted, scope: string): unknown {
  if (wanted.peer.subject) {
    const podSelector = selectorOf(tellingLabels(wanted.peer));
    const namespace = namespaceOf(wanted.peer);
    return namespace === scope ? { podSelector } : { namespaceSelector: namespaceSelector(namespace), podSelector };
  }
  const cidr = prefixOf(wanted);
  return cidr && { ipBlock: { cidr } };
}

function selectorOf(matchLabels: Record<string, string>): unknown {
  return Object.keys(matchLabels).length === 0 ? {} : { matchLabels };
}

function namespaceSelector(name: string): unknown {
  return { matchLabels: { 'kubernetes.io/metadata.name': name } };
}

/** A whole rule of NetworkPolicy. */
export function networkPolicyRule({ peer, port }: Expression): unknown {
  return peer && port && { [peer.field]: [peer.item], [port.field]: [port.item] };
}

/** A whole rule of ClusterNetworkPolicy, or of its forerunners with `ports` instead of `protocols`. */
export function clusterRule(wanted: Wanted, action: string, forerunner: boolean): unknown {
  const { peer, direction, target } = wanted;
  const { protocol, number } = target;
  if (protocol.startsWith('ICMP')) return undefined;
  const cidr = direction === 'egress' ? prefixOf(wanted) : undefined;
  const pods = peer.subject && {
    namespaceSelector: namespaceSelector(namespaceOf(peer)),
    podSelector: selectorOf(tellingLabels(peer)),
  };
  if (!pods && !cidr) return undefined;
  const who = pods ? { pods } : { networks: [cidr] };
  const ports = forerunner
    ? { ports: [{ portNumber: { protocol, port: number } }] }
    : { protocols: [{ [protocol.toLowerCase()]: { destinationPort: { number } } }] };
  return { action, [direction === 'ingress' ? 'from' : 'to']: [who], ...ports };
}
