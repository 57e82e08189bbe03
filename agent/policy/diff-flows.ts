/** Recorded flows, judged by two sets of manifests: which would change verdict. */
import { type Address, familyOf } from '../model/address.ts';
import type { MatrixEntry } from '../model/explanation.ts';
import { CLUSTER_LABEL, NAMESPACE_LABEL, NAMESPACE_LABELS_PREFIX, SERVICE_ACCOUNT_LABEL } from '../model/labels.ts';
import type { Pod } from '../model/object.ts';
import { PARTY_ENTITIES, type Party } from './workbench/party.ts';
import type { Target } from './workbench/port.ts';
import { verdictOf, type Workbench } from './workbench/workbench.ts';

/** One side of a recorded flow: named as far as it was known then. */
export interface RecordedSide {
  /** "ns/pod". */
  readonly pod: string | undefined;
  readonly address: Address;
  /** "k8s:app=frontend", "reserved:world". */
  readonly labels: readonly string[];
}

/** A first packet, as it was recorded. */
export interface RecordedFlow {
  readonly from: RecordedSide;
  readonly to: RecordedSide;
  readonly target: Target;
  readonly verdict: 'FORWARDED' | 'DROPPED' | 'AUDIT';
}

export interface FlowChange extends Pick<MatrixEntry, 'from' | 'to' | 'port' | 'protocol' | 'family'> {
  readonly old: MatrixEntry['verdict'];
  readonly new: MatrixEntry['verdict'];
  /** How many flows of the record this is about, by what became of them then. */
  readonly recorded: Readonly<Partial<Record<RecordedFlow['verdict'], number>>>;
}

/** Flows between the same two to the same port are one. */
export function diffFlows(before: Workbench, after: Workbench, flows: Iterable<RecordedFlow>): FlowChange[] {
  const changes = new Map<string, FlowChange | undefined>();
  for (const flow of flows) {
    const key = JSON.stringify([sideKey(flow.from), sideKey(flow.to), flow.target, familyOf(flow.to.address)]);
    const known = changes.has(key) ? changes.get(key) : changeOf(before, after, flow);
    const count = (known?.recorded[flow.verdict] ?? 0) + 1;
    changes.set(key, known && { ...known, recorded: { ...known.recorded, [flow.verdict]: count } });
  }
  return [...changes.values()].filter((change) => change !== undefined);
}

function sideKey({ pod, address, labels }: RecordedSide): unknown {
  return [pod ?? address, labels];
}

function changeOf(before: Workbench, after: Workbench, flow: RecordedFlow): FlowChange | undefined {
  const old = judged(before, flow);
  const now = judged(after, flow);
  if (old === now) return undefined;
  const { from, to, target } = flow;
  return {
    from: nameOf(from),
    to: nameOf(to),
    port: target.number,
    protocol: target.protocol,
    family: familyOf(to.address) === 4 ? 'IPv4' : 'IPv6',
    old,
    new: now,
    recorded: {},
  };
}

function nameOf({ pod, address }: RecordedSide): string {
  return pod ?? `ip:${address}`;
}

/** What the bench says of the flow. */
export function judged(bench: Workbench, { from, to, target }: RecordedFlow): MatrixEntry['verdict'] {
  const family = familyOf(to.address);
  return verdictOf(bench.judge({ from: partyOf(bench, from), to: partyOf(bench, to), target, family }));
}

/** The pod of that name; else a pod with the labels of then; else the entity or stranger at the address. */
function partyOf(bench: Workbench, side: RecordedSide): Party {
  const { pod, address, labels } = side;
  const known = bench.pods.find(({ name }) => name === pod);
  if (known) return known;
  const namespace = labelValue(labels, NAMESPACE_LABEL);
  if (namespace !== undefined) return { ...bench.imagine(podOf(side, namespace)), name: nameOf(side) };
  const party = bench.party(`ip:${address}`);
  const entity = PARTY_ENTITIES.find((name) => labels.includes(`reserved:${name}`));
  if (!entity || entity.startsWith('world') || party.kind === 'node') return party;
  return { ...bench.party(`entity:${entity}`), addresses: [address] };
}

function labelValue(labels: readonly string[], key: string): string | undefined {
  return labels.find((label) => label.startsWith(`${key}=`))?.slice(key.length + 1);
}

/** A pod that is gone, from the labels its flows were recorded with. */
function podOf({ pod, address, labels }: RecordedSide, namespace: string): Pod {
  const cluster = [NAMESPACE_LABEL, NAMESPACE_LABELS_PREFIX, SERVICE_ACCOUNT_LABEL, CLUSTER_LABEL];
  const own = labels.filter((label) => label.startsWith('k8s:') && !cluster.some((key) => label.startsWith(key)));
  const pairs = own.map((label): [string, string] => {
    const equals = label.indexOf('=');
    return [label.slice('k8s:'.length, equals), label.slice(equals + 1)];
  });
  return {
    namespace,
    name: pod?.slice(pod.indexOf('/') + 1) ?? address,
    uid: '',
    labels: Object.fromEntries(pairs),
    annotations: {},
    serviceAccount: labelValue(labels, SERVICE_ACCOUNT_LABEL) ?? 'default',
    nodeName: '',
    hostNetwork: false,
    addresses: [address],
    namedPorts: [],
    workload: undefined,
  };
}
