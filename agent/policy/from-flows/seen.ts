/** What was seen, sorted by who it is about: per workload its peers in each direction, and to which ports. */
import type { RecordedFlow, RecordedSide } from '../diff-flows.ts';
import type { Target } from '../workbench/port.ts';
import { peerOf, type SeenPeer, type Workload, workloadKey, workloadOf, workloadText } from './workload.ts';

/** A first packet with the time it was seen, RFC 3339. */
export interface SeenFlow extends RecordedFlow {
  readonly time: string;
}

/** The flows behind a rule or a drop, in words. */
export interface Evidence {
  readonly from: string;
  readonly to: string;
  readonly target: Target;
  readonly count: number;
  /** Newest. */
  readonly time: string;
  /** One of them. */
  readonly flow: RecordedFlow;
}

export type Direction = 'ingress' | 'egress';
export const DIRECTIONS = ['egress', 'ingress'] as const satisfies readonly Direction[];

export interface PeerPorts {
  readonly peer: SeenPeer;
  /** By {@link targetKey}. */
  readonly targets: ReadonlyMap<string, Evidence>;
}

export interface SeenWorkload {
  readonly workload: Workload;
  /** By {@link peerKey}. */
  readonly ingress: ReadonlyMap<string, PeerPorts>;
  readonly egress: ReadonlyMap<string, PeerPorts>;
}

export interface Seen {
  /** Those who get policies, in order. */
  readonly subjects: readonly SeenWorkload[];
  /** All label sets that there are. */
  readonly known: readonly Workload[];
  /** By pods; with {@link flowKey} of each. */
  readonly drops: readonly Evidence[];
  /** Let through, and no rule can name the other side. */
  readonly nameless: readonly Evidence[];
  /** {@link flowKey} of what was let through. */
  readonly allowed: ReadonlySet<string>;
}

export interface SeenOptions {
  /** Whose pods get policies; undefined: all that were seen. */
  readonly namespaces?: readonly string[] | undefined;
  /** Label sets there are beside those that were seen: selectors must not select them. */
  readonly known?: readonly Workload[];
}

export function sortFlows(flows: Iterable<SeenFlow>, options: SeenOptions): Seen {
  const subjects = new Map<string, MutableWorkload>();
  const known = new Map<string, Workload>((options.known ?? []).map((one) => [workloadKey(one), one]));
  const drops = new Map<string, Evidence>();
  const nameless = new Map<string, Evidence>();
  const allowed = new Set<string>();
  const isWanted = (workload: Workload | undefined): workload is Workload =>
    workload !== undefined && (options.namespaces?.includes(workload.namespace) ?? true);

  for (const flow of flows) {
    const workloads = { egress: workloadOf(flow.from.labels), ingress: workloadOf(flow.to.labels) };
    for (const one of Object.values(workloads)) if (one) known.set(workloadKey(one), one);
    for (const direction of DIRECTIONS) {
      const workload = workloads[direction];
      if (!isWanted(workload)) continue;
      const key = workloadKey(workload);
      const subject = subjects.get(key) ?? { workload, ingress: new Map(), egress: new Map() };
      subjects.set(key, subject);
      if (flow.verdict === 'DROPPED') continue;
      const peer = peerOf(direction === 'egress' ? flow.to : flow.from);
      if (peer === undefined) addTo(nameless, podKey(flow), flow);
      else addPeer(subject[direction], peer, flow);
    }
    if (!isWanted(workloads.egress) && !isWanted(workloads.ingress)) continue;
    if (flow.verdict === 'DROPPED') addTo(drops, podKey(flow), flow);
    else allowed.add(flowKey(flow));
  }
  const order = (key: string) => subjects.get(key) as SeenWorkload;
  return {
    subjects: [...subjects.keys()].sort().map(order),
    known: [...known.values()],
    drops: [...drops.values()],
    nameless: [...nameless.values()],
    allowed,
  };
}

/** What a policy can tell apart: equal for flows that are to be judged alike. */
export function flowKey({ from, to, target }: RecordedFlow): string {
  return JSON.stringify([sideKey(from), sideKey(to), target.protocol, target.number]);
}

function sideKey(side: RecordedSide): string {
  const peer = peerOf(side);
  return peer ? peerKey(peer) : side.address;
}

export function peerKey(peer: SeenPeer): string {
  return peer.kind === 'workload' ? workloadKey(peer.workload) : JSON.stringify(peer);
}

export function targetKey({ protocol, number }: Target): string {
  return `${number}/${protocol}`;
}

type MutableWorkload = { readonly workload: Workload } & Record<Direction, Map<string, MutablePeer>>;
interface MutablePeer extends PeerPorts {
  readonly targets: Map<string, Evidence>;
}

function addPeer(peers: Map<string, MutablePeer>, peer: SeenPeer, flow: SeenFlow): void {
  const key = peerKey(peer);
  const known = peers.get(key) ?? { peer, targets: new Map() };
  peers.set(key, known);
  addTo(known.targets, targetKey(flow.target), flow);
}

function addTo(evidence: Map<string, Evidence>, key: string, flow: SeenFlow): void {
  const before = evidence.get(key);
  evidence.set(key, {
    from: before?.from ?? sideText(flow.from),
    to: before?.to ?? sideText(flow.to),
    target: flow.target,
    count: (before?.count ?? 0) + 1,
    time: before !== undefined && before.time > flow.time ? before.time : flow.time,
    flow: before?.flow ?? flow,
  });
}

/** For people: of which pods. */
function podKey({ from, to, target }: SeenFlow): string {
  return JSON.stringify([sideText(from), sideText(to), targetKey(target)]);
}

function sideText({ pod, address, labels }: RecordedSide): string {
  const workload = workloadOf(labels);
  return pod ?? (workload ? workloadText(workload) : address);
}
