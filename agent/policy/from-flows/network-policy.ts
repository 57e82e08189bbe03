/**
 * What was seen as NetworkPolicies. They tell pods apart by namespace and labels alone and know addresses and ports, no
 * nodes and no ICMP types. So pods that only the service account tells apart share one policy, and a rule stands in it only
 * if each of them was seen doing what it says; all other flows are told and not allowed.
 */
import type { Target } from '../workbench/port.ts';
import { byTarget, isIcmp } from './cilium-policy.ts';
import type { Explained, Unsaid, Written } from './generate.ts';
import { policyNames } from './name.ts';
import { DIRECTIONS, type Direction, type Evidence, flowKey, peerKey, type Seen, type SeenWorkload } from './seen.ts';
import { type SeenPeer, type Selector, selectorOf, type Workload, withoutAccount, workloadKey } from './workload.ts';

export interface KubernetesPolicy {
  readonly apiVersion: 'networking.k8s.io/v1';
  readonly kind: 'NetworkPolicy';
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly spec: {
    readonly podSelector: Selector;
    readonly policyTypes: readonly ['Ingress', 'Egress'];
    readonly ingress: readonly Rule[];
    readonly egress: readonly Rule[];
  };
}

interface Rule {
  readonly from?: readonly Peer[];
  readonly to?: readonly Peer[];
  readonly ports: readonly { readonly port: number; readonly protocol: string }[];
}
type Peer =
  | { readonly podSelector: Selector; readonly namespaceSelector?: Selector }
  | { readonly ipBlock: { readonly cidr: string } };

/** Set by the API server on every namespace. */
const NAMESPACE_NAME = 'kubernetes.io/metadata.name';

export function kubernetesPolicies(seen: Seen): Written<KubernetesPolicy> {
  const nameOf = policyNames();
  const alike = Map.groupBy(seen.known, likenessOf);
  const known = [...alike.values()].flatMap(([one]) => (one ? [withoutAccount(one)] : []));
  const unsaid: Unsaid[] = [];
  const policies: Explained<KubernetesPolicy>[] = [];
  for (const [likeness, subjects] of Map.groupBy(seen.subjects, ({ workload }) => likenessOf(workload))) {
    const workload = withoutAccount((subjects[0] as SeenWorkload).workload);
    const { namespace } = workload;
    const [egress, ingress] = DIRECTIONS.map((direction) => {
      const peers = sayablePeers(subjects, direction, { alike, likeness, unsaid });
      return rulesOf(peers, direction, { namespace, known });
    }) as [GroupedRule[], GroupedRule[]];
    policies.push({
      policy: {
        apiVersion: 'networking.k8s.io/v1',
        kind: 'NetworkPolicy',
        metadata: { name: nameOf(workload), namespace },
        spec: {
          podSelector: selectorOf(workload, known),
          policyTypes: ['Ingress', 'Egress'],
          ingress: ingress.map(({ rule }) => rule),
          egress: egress.map(({ rule }) => rule),
        },
      },
      ingress: ingress.map(({ evidence }) => evidence),
      egress: egress.map(({ evidence }) => evidence),
    });
  }
  return { policies, unsaid: onlyOnce(unsaid) };
}

/** Equal for pods that a NetworkPolicy cannot tell apart. */
function likenessOf(workload: Workload): string {
  return workloadKey(withoutAccount(workload));
}

interface SayablePeer {
  readonly peer: SeenPeer;
  readonly targets: Target[];
  readonly evidence: Evidence[];
}

interface Likenesses {
  /** All workloads there are, by likeness. */
  readonly alike: ReadonlyMap<string, readonly Workload[]>;
  /** Of the subjects. */
  readonly likeness: string;
  /** Gets what cannot be said. */
  readonly unsaid: Unsaid[];
}

/** Peers of pods that are alike, those that are alike as one, with what each of the pods was seen doing with each of them. */
function sayablePeers(
  subjects: readonly SeenWorkload[],
  direction: Direction,
  { alike, likeness, unsaid }: Likenesses,
): SayablePeer[] {
  const sayable = new Map<string, SayablePeer>();
  const all = subjects.flatMap((subject) => [...subject[direction].values()]);
  const sameSubjects = alike.get(likeness)?.length ?? 1;
  for (const [key, several] of Map.groupBy(all, ({ peer }) => peerLikeness(peer))) {
    const { peer } = several[0] as SayablePeer & (typeof several)[0];
    const samePeers = peer.kind === 'workload' ? (alike.get(key)?.length ?? 1) : 1;
    const byTargets = Map.groupBy(
      several.flatMap(({ targets }) => [...targets]),
      ([target]) => target,
    );
    for (const found of byTargets.values()) {
      const evidence = found.map(([, one]) => one);
      const why = whyUnsayable(peer, evidence, found.length, sameSubjects * samePeers);
      if (why !== undefined) {
        unsaid.push(...evidence.map((one) => ({ ...one, why })));
        continue;
      }
      const said = sayable.get(key) ?? { peer, targets: [], evidence: [] };
      sayable.set(key, said);
      said.targets.push((evidence[0] as Evidence).target);
      said.evidence.push(...evidence);
    }
  }
  return [...sayable.values()];
}

function peerLikeness(peer: SeenPeer): string {
  return peer.kind === 'workload' ? likenessOf(peer.workload) : peerKey(peer);
}

/** Pairs of workloads were seen, of all that a rule would allow. Undefined: a rule can say it, and nothing more. */
function whyUnsayable(peer: SeenPeer, evidence: readonly Evidence[], pairs: number, allPairs: number) {
  if (peer.kind === 'entity') return `a NetworkPolicy has no name for ${peer.entity}`;
  if (evidence.some(isIcmp)) return 'a NetworkPolicy knows no ICMP types';
  if (pairs < allPairs) return 'other pods with the same labels, of another service account, were not seen doing this';
  return undefined;
}

interface GroupedRule {
  readonly rule: Rule;
  readonly evidence: readonly Evidence[];
}

/** Peers with the same ports share a rule. */
function rulesOf(
  peers: readonly SayablePeer[],
  direction: Direction,
  where: { readonly namespace: string; readonly known: readonly Workload[] },
): GroupedRule[] {
  const way = direction === 'ingress' ? 'from' : 'to';
  const groups = Map.groupBy(peers, ({ targets }) => JSON.stringify(targets.sort(byTarget)));
  return [...groups.values()].map((group) => ({
    rule: {
      [way]: group.map(({ peer }) => peerField(peer, where)),
      ports: (group[0] as SayablePeer).targets.map(({ protocol, number }) => ({ port: number, protocol })),
    },
    evidence: group.flatMap(({ evidence }) => evidence),
  }));
}

function peerField(
  peer: SeenPeer,
  { namespace, known }: { readonly namespace: string; readonly known: readonly Workload[] },
): Peer {
  if (peer.kind === 'address') return { ipBlock: { cidr: peer.cidr } };
  if (peer.kind === 'entity') throw new TypeError(`a NetworkPolicy has no name for ${peer.entity}`);
  const podSelector = selectorOf(withoutAccount(peer.workload), known);
  if (peer.workload.namespace === namespace) return { podSelector };
  return { podSelector, namespaceSelector: { matchLabels: { [NAMESPACE_NAME]: peer.workload.namespace } } };
}

/** Both sides of a flow may be subjects; it is told once. */
function onlyOnce(unsaid: readonly Unsaid[]): Unsaid[] {
  return [...new Map(unsaid.map((one) => [flowKey(one.flow), one])).values()];
}
