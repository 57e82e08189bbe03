/**
 * ClusterNetworkPolicy v1alpha2, and AdminNetworkPolicy and BaselineAdminNetworkPolicy v1alpha1 read as the same
 * (policy.networking.k8s.io). Facts: kubernetes-sigs/network-policy-api apis/v1alpha2, apis/v1alpha1.
 */
import type { Document, Path } from '../../model/object.ts';
import type { Action, Direction, Tier } from '../../model/verdict.ts';
import { ALL_KINDS, type Peer, type PolicyRule, type PolicySpec, type PortMatch } from '../rule.ts';
import { type Selector, selector } from '../select/selector.ts';
import { cidrPeer } from './cilium-peers.ts';
import { portsOf } from './cluster-ports.ts';
import { CLUSTER_POLICIES, type Dialect, SUBJECT } from './cluster-schema.ts';
import { IS_POD, type RawSelector, requirements } from './label-selector.ts';
import type { ParsedLanguage } from './language.ts';
import { createReport, type Report } from './report.ts';
import { ruleMaker } from './rule-maker.ts';
import { checkSchema, type Fields, isFields } from './schema.ts';

interface RawPods {
  readonly namespaceSelector?: RawSelector;
  readonly podSelector: RawSelector;
}
interface RawPeer {
  readonly namespaces?: RawSelector;
  readonly pods?: RawPods;
  readonly nodes?: RawSelector;
  readonly networks?: readonly string[];
}
interface RawRule {
  readonly name?: string;
  readonly action: string;
  readonly from?: readonly RawPeer[];
  readonly to?: readonly RawPeer[];
}

const ACTIONS: Readonly<Record<string, Action>> = { Accept: 'allow', Allow: 'allow', Deny: 'deny', Pass: 'pass' };
/** Rules of one policy keep their order below the next priority: more than any document may have. */
const RULES_PER_PRIORITY = 1000;

export function parseClusterNetworkPolicy(document: Document, report: Report): ParsedLanguage {
  const dialect = document.ref.kind as Dialect;
  const written = dialect === 'ClusterNetworkPolicy' ? document.raw : withFlatPeers(document.raw);
  checkSchema(written, CLUSTER_POLICIES[dialect], [], report);
  if (report.failed()) return { specs: [], isolation: isolation(document) };
  const spec = (written as Fields).spec as Fields;
  const make = ruleMaker(document, tierOf(dialect, spec));
  const priority = (spec.priority as number | undefined) ?? 0;
  const rulesOf = (direction: Direction): PolicyRule[] =>
    ((spec[direction] ?? []) as RawRule[]).map((raw, i) => {
      const path: Path = ['spec', direction, i];
      const peers = ((direction === 'ingress' ? raw.from : raw.to) ?? []).flatMap(rulePeers);
      const ports = portsOf(raw as unknown as Fields);
      warnNamedPorts(direction, peers, ports, path, report);
      const order = priority * RULES_PER_PRIORITY + i;
      return make({
        path,
        name: raw.name ?? '',
        order,
        direction,
        action: ACTIONS[raw.action] as Action,
        peers,
        ports,
      });
    });
  // These policies isolate nobody: what none of their rules decides goes on to the next tier.
  const isolates = { ingress: false, egress: false };
  const rules = [...rulesOf('ingress'), ...rulesOf('egress')];
  return { specs: [{ subject: subject(spec.subject as RawPeer), rules, isolates }], isolation: [] };
}

/**
 * v1alpha1 up to v0.1.1 wrote a peer as {namespaces: {namespaceSelector}} and {pods: {namespaces: {namespaceSelector},
 * podSelector}}; from v0.1.2 on, under the same apiVersion, without the inner field. Both stand in clusters. (What else
 * it had there, sameLabels and notSameLabels, is refused as an unknown field.)
 */
function withFlatPeers(raw: unknown): unknown {
  if (!isFields(raw) || !isFields(raw.spec)) return raw;
  const { spec } = raw;
  const flat = (direction: string, side: string) => {
    if (!Array.isArray(spec[direction])) return {};
    const rules = spec[direction].map((rule: unknown) =>
      isFields(rule) && Array.isArray(rule[side]) ? { ...rule, [side]: rule[side].map(flatPeer) } : rule,
    );
    return { [direction]: rules };
  };
  return { ...raw, spec: { ...spec, ...flat('ingress', 'from'), ...flat('egress', 'to') } };
}

function flatPeer(peer: unknown): unknown {
  if (!isFields(peer)) return peer;
  const { namespaces, pods } = peer;
  if (isWrapped(namespaces)) return { ...peer, namespaces: namespaces.namespaceSelector };
  if (!isFields(pods) || !isWrapped(pods.namespaces)) return peer;
  const { namespaces: around, ...rest } = pods;
  return { ...peer, pods: { ...rest, namespaceSelector: pods.namespaces.namespaceSelector } };
}

function isWrapped(value: unknown): value is { readonly namespaceSelector: unknown } {
  return isFields(value) && Object.keys(value).join() === 'namespaceSelector';
}

function tierOf(dialect: Dialect, spec: Fields): Tier {
  if (dialect === 'AdminNetworkPolicy') return 'admin';
  if (dialect === 'BaselineAdminNetworkPolicy') return 'baseline';
  return spec.tier === 'Admin' ? 'admin' : 'baseline';
}

function subject({ namespaces, pods }: RawPeer): Selector {
  return pods ? podsSelector(pods) : podsSelector({ namespaceSelector: namespaces ?? {}, podSelector: {} });
}

/** Pods only: pods in the host's network are nodes and selected by neither field. */
function podsSelector({ namespaceSelector = {}, podSelector }: RawPods): Selector {
  return selector([IS_POD, ...requirements(namespaceSelector, 'namespaces'), ...requirements(podSelector, 'pods')]);
}

function rulePeers(raw: RawPeer): Peer[] {
  if (raw.networks) return raw.networks.map((cidr) => cidrPeer(cidr, [], ALL_KINDS));
  if (raw.nodes) return [{ type: 'nodes', selector: selector(requirements(raw.nodes, 'objects')) }];
  return [{ type: 'selector', selector: subject(raw) }];
}

function warnNamedPorts(
  direction: Direction,
  peers: readonly Peer[],
  ports: readonly PortMatch[] | undefined,
  path: Path,
  report: Report,
): void {
  if (direction === 'ingress' || !ports?.some((port) => port.type === 'named')) return;
  if (peers.some((peer) => peer.type !== 'selector')) {
    report.error('not-exactly-one', path, 'networks and nodes have no port names: write the port as a number');
  }
}

/** A refused policy isolates its subjects like any other; being cluster-wide does not make it open more. */
function isolation(document: Document): PolicySpec[] {
  const spec = isFields(document.raw) ? document.raw.spec : undefined;
  if (!isFields(spec)) return [];
  const report = createReport(document);
  checkSchema(spec.subject, SUBJECT, [], report);
  if (report.failed()) return [];
  const isolates = { ingress: spec.ingress !== undefined, egress: spec.egress !== undefined };
  if (!isolates.ingress && !isolates.egress) return [];
  return [{ subject: subject(spec.subject as RawPeer), rules: [], isolates }];
}
