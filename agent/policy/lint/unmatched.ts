/** selects-nothing, peer-matches-nothing: selectors that none of the pods at hand has the labels for. Silent without pods. */
import type { Labels } from '../../model/labels.ts';
import type { Namespace, Path, Pod, Problem } from '../../model/object.ts';
import { podLabels } from '../../model/pod-labels.ts';
import type { Peer } from '../rule.ts';
import { type Selector, selectorMatches } from '../select/selector.ts';
import { type Policy, specsOf, warning } from './policy.ts';

export function unmatchedSelectors(
  policies: readonly Policy[],
  pods: readonly Pod[],
  namespaces: ReadonlyMap<string, Namespace>,
): Problem[] {
  const known = pods
    .filter(({ hostNetwork }) => !hostNetwork)
    .map((pod) => podLabels(pod, namespaces.get(pod.namespace), { clusterName: 'default' }));
  if (known.length === 0) return [];
  return policies.flatMap((policy) =>
    specsOf(policy).flatMap(({ spec, path }) => [
      ...(matches(spec.subject, known)
        ? []
        : [nothing(policy, 'selects-nothing', subjectPath(policy, path), spec.subject)]),
      ...spec.rules.flatMap((rule) =>
        rule.peers
          .filter((peer) => isPodSelector(peer))
          .filter(({ selector }) => !matches(selector, known))
          .map(({ selector }) => nothing(policy, 'peer-matches-nothing', rule.path, selector)),
      ),
    ]),
  );
}

function matches(selector: Selector, known: readonly Labels[]): boolean {
  return known.some((labels) => selectorMatches(selector, labels));
}

/** Reserved labels belong to nodes and the world, which are no pods. */
function isPodSelector(peer: Peer): peer is Extract<Peer, { type: 'selector' }> {
  if (peer.type !== 'selector' || peer.selector.alternatives.length === 0) return false;
  return !peer.selector.alternatives.some((all) => all.some(({ key }) => key.startsWith('reserved:')));
}

function subjectPath({ document }: Policy, path: Path): Path {
  const names: Readonly<Record<string, string>> = {
    NetworkPolicy: 'podSelector',
    CiliumNetworkPolicy: 'endpointSelector',
    CiliumClusterwideNetworkPolicy: 'endpointSelector',
  };
  return [...path, names[document.ref.kind] ?? 'subject'];
}

function nothing(policy: Policy, code: string, path: Path, selector: Selector): Problem {
  return warning(policy, code, path, `none of the pods in these files has ${selector.key}`);
}
