/**
 * The smallest policies that allow what was seen: for each workload one CiliumNetworkPolicy that isolates it both ways and
 * allows exactly the recorded peers and ports. A drop is never made into a rule: it is told beside.
 */
import { NAMESPACE_LABEL } from '../../model/labels.ts';
import type { RecordedFlow } from '../diff-flows.ts';
import type { Target } from '../workbench/port.ts';
import {
  peerOf,
  type SeenPeer,
  type Selector,
  selectorOf,
  type Workload,
  workloadKey,
  workloadOf,
  workloadText,
} from './workload.ts';

/** A first packet with the time it was seen, RFC 3339. */
export interface SeenFlow extends RecordedFlow {
  readonly time: string;
}

export interface GenerateOptions {
  /** Whose pods get policies; undefined: all that were seen. */
  readonly namespaces?: readonly string[] | undefined;
  /** Label sets there are beside those that were seen: selectors must not select them. */
  readonly known?: readonly Workload[];
}

/** The flows behind a rule or a drop, in words. */
export interface Evidence {
  readonly from: string;
  readonly to: string;
  readonly target: Target;
  readonly count: number;
  /** Newest. */
  readonly time: string;
}

interface Rule {
  readonly fromEndpoints?: readonly Selector[];
  readonly toEndpoints?: readonly Selector[];
  readonly fromEntities?: readonly string[];
  readonly toEntities?: readonly string[];
  readonly fromCIDR?: readonly string[];
  readonly toCIDR?: readonly string[];
  readonly toPorts?: readonly { readonly ports: readonly { readonly port: string; readonly protocol: string }[] }[];
  readonly icmps?: readonly { readonly fields: readonly { readonly family: string; readonly type: number }[] }[];
}

export interface GeneratedPolicy {
  readonly apiVersion: 'cilium.io/v2';
  readonly kind: 'CiliumNetworkPolicy';
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly spec: {
    readonly endpointSelector: Selector;
    readonly ingress: readonly Rule[];
    readonly egress: readonly Rule[];
  };
}

export interface Generated {
  readonly policies: readonly {
    readonly policy: GeneratedPolicy;
    readonly workload: Workload;
    /** By rule, in the order of the policy. */
    readonly ingress: readonly (readonly Evidence[])[];
    readonly egress: readonly (readonly Evidence[])[];
  }[];
  /** What was dropped, and is denied by the policies too unless `alsoAllowed` says that it was let through as well. */
  readonly drops: readonly (Evidence & { readonly alsoAllowed: boolean })[];
  /** Flows of these workloads with a side that no rule can name. */
  readonly unclear: readonly Evidence[];
}

type Direction = 'ingress' | 'egress';
interface Seen {
  readonly workload: Workload;
  readonly ingress: Map<string, PeerPorts>;
  readonly egress: Map<string, PeerPorts>;
}
interface PeerPorts {
  readonly peer: SeenPeer;
  readonly targets: Map<string, Evidence>;
}

export function generatePolicies(flows: Iterable<SeenFlow>, options: GenerateOptions = {}): Generated {
  const seen = new Map<string, Seen>();
  const known = new Map<string, Workload>((options.known ?? []).map((one) => [workloadKey(one), one]));
  const drops = new Map<string, Evidence>();
  const unclear = new Map<string, Evidence>();
  const allowed = new Set<string>();
  const isWanted = (workload: Workload | undefined): workload is Workload =>
    workload !== undefined && (options.namespaces?.includes(workload.namespace) ?? true);

  for (const flow of flows) {
    const workloads = { egress: workloadOf(flow.from.labels), ingress: workloadOf(flow.to.labels) };
    for (const one of Object.values(workloads)) if (one) known.set(workloadKey(one), one);
    const key = JSON.stringify([sideText(flow, 'egress'), sideText(flow, 'ingress'), flow.target]);
    for (const direction of ['egress', 'ingress'] as const) {
      const workload = workloads[direction];
      if (!isWanted(workload)) continue;
      const of = seen.get(workloadKey(workload)) ?? { workload, ingress: new Map(), egress: new Map() };
      seen.set(workloadKey(workload), of);
      if (flow.verdict === 'DROPPED') continue;
      const peer = peerOf(direction === 'egress' ? flow.to : flow.from);
      if (peer === undefined) addTo(unclear, key, flow);
      else addPeer(of[direction], peer, flow);
    }
    if (!isWanted(workloads.egress) && !isWanted(workloads.ingress)) continue;
    if (flow.verdict === 'DROPPED') addTo(drops, key, flow);
    else allowed.add(key);
  }
  const all = [...known.values()];
  const names = new Map<string, number>();
  const policies = [...seen.values()]
    .sort((a, b) => (workloadKey(a.workload) < workloadKey(b.workload) ? -1 : 1))
    .map(({ workload, ...directions }) => {
      const ingress = rulesOf(directions.ingress, 'ingress', all);
      const egress = rulesOf(directions.egress, 'egress', all);
      const policy: GeneratedPolicy = {
        apiVersion: 'cilium.io/v2',
        kind: 'CiliumNetworkPolicy',
        metadata: { name: nameOf(workload, names), namespace: workload.namespace },
        // a rule that names nobody allows nothing, and isolates
        spec: {
          endpointSelector: selectorOf(workload, all),
          ingress: ingress.length > 0 ? ingress.map(({ rule }) => rule) : [{}],
          egress: egress.length > 0 ? egress.map(({ rule }) => rule) : [{}],
        },
      };
      const evidence = (rules: typeof ingress) => rules.map((one) => one.evidence);
      return { policy, workload, ingress: evidence(ingress), egress: evidence(egress) };
    });
  return {
    policies,
    drops: [...drops].map(([key, one]) => ({ ...one, alsoAllowed: allowed.has(key) })),
    unclear: [...unclear.values()],
  };
}

function addPeer(peers: Map<string, PeerPorts>, peer: SeenPeer, flow: SeenFlow): void {
  const key = peer.kind === 'workload' ? workloadKey(peer.workload) : JSON.stringify(peer);
  const known = peers.get(key) ?? { peer, targets: new Map() };
  peers.set(key, known);
  addTo(known.targets, JSON.stringify(flow.target), flow);
}

function addTo(evidence: Map<string, Evidence>, key: string, flow: SeenFlow): void {
  const before = evidence.get(key);
  const time = before !== undefined && before.time > flow.time ? before.time : flow.time;
  const { target } = flow;
  evidence.set(key, {
    from: before?.from ?? sideText(flow, 'egress'),
    to: before?.to ?? sideText(flow, 'ingress'),
    target,
    count: (before?.count ?? 0) + 1,
    time,
  });
}

/** The side that sends ("egress") or that receives. */
function sideText(flow: SeenFlow, side: Direction): string {
  const { pod, address, labels } = side === 'egress' ? flow.from : flow.to;
  const workload = workloadOf(labels);
  return pod ?? (workload ? workloadText(workload) : address);
}

/** Peers of one kind with the same ports share a rule; ICMP types stand in rules of their own. */
function rulesOf(peers: ReadonlyMap<string, PeerPorts>, direction: Direction, known: readonly Workload[]) {
  const groups = new Map<
    string,
    { readonly peers: SeenPeer[]; readonly targets: Target[]; readonly evidence: Evidence[] }
  >();
  for (const { peer, targets } of peers.values()) {
    const [icmp, ports] = [[...targets.values()].filter(isIcmp), [...targets.values()].filter((one) => !isIcmp(one))];
    for (const some of [ports, icmp]) {
      if (some.length === 0) continue;
      const wanted = some.map(({ target }) => target).sort(byTarget);
      const key = JSON.stringify([peer.kind, wanted]);
      const group = groups.get(key) ?? { peers: [], targets: wanted, evidence: [] };
      groups.set(key, group);
      group.peers.push(peer);
      group.evidence.push(...some);
    }
  }
  return [...groups.values()].map(({ peers: those, targets, evidence }) => ({
    rule: { ...peersField(those, direction, known), ...targetsField(targets) } satisfies Rule,
    evidence,
  }));
}

function isIcmp({ target }: Evidence): boolean {
  return target.protocol.startsWith('ICMP');
}

function byTarget(a: Target, b: Target): number {
  return a.protocol === b.protocol ? a.number - b.number : a.protocol < b.protocol ? -1 : 1;
}

function peersField(peers: readonly SeenPeer[], direction: Direction, known: readonly Workload[]): Rule {
  const [way, endpoints, entities, addresses] = ['from', 'Endpoints', 'Entities', 'CIDR'].map((word, i) =>
    i === 0 ? (direction === 'ingress' ? 'from' : 'to') : word,
  ) as [string, string, string, string];
  const selectors = peers.flatMap((peer) => (peer.kind === 'workload' ? [peerSelector(peer.workload, known)] : []));
  if (selectors.length > 0) return { [`${way}${endpoints}`]: selectors };
  const names = peers.flatMap((peer) => (peer.kind === 'entity' ? [peer.entity] : []));
  if (names.length > 0) return { [`${way}${entities}`]: names.sort() };
  return { [`${way}${addresses}`]: peers.flatMap((peer) => (peer.kind === 'address' ? [peer.cidr] : [])).sort() };
}

function peerSelector(workload: Workload, known: readonly Workload[]): Selector {
  const { matchLabels, ...rest } = selectorOf(workload, known);
  return { matchLabels: { ...matchLabels, [NAMESPACE_LABEL]: workload.namespace }, ...rest };
}

function targetsField(targets: readonly Target[]): Rule {
  if (targets[0]?.protocol.startsWith('ICMP')) {
    const fields = targets.map(({ protocol, number }) => ({
      family: protocol === 'ICMPv4' ? 'IPv4' : 'IPv6',
      type: number,
    }));
    return { icmps: [{ fields }] };
  }
  return { toPorts: [{ ports: targets.map(({ protocol, number }) => ({ port: String(number), protocol })) }] };
}

const NAME_LABELS = ['app.kubernetes.io/name', 'k8s-app', 'app'];

/** After the label that names the application; numbered where several are named alike. */
function nameOf({ namespace, labels }: Workload, taken: Map<string, number>): string {
  const label = NAME_LABELS.map((key) => labels[key]).find((value) => value !== undefined);
  const base = `seen-${
    (label ?? 'pods')
      .toLowerCase()
      .replace(/[^a-z0-9-]+/g, '-')
      .replace(/^-+|-+$/g, '') || 'pods'
  }`;
  const key = `${namespace}/${base}`;
  const number = (taken.get(key) ?? 0) + 1;
  taken.set(key, number);
  return number === 1 ? base : `${base}-${number}`;
}
