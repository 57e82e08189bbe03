/** CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy, from policy-language.md B1 to B5. */
import { inside, insideExcept } from './address.ts';
import { type Case, type Effect, type Match, NO_EFFECT } from './effect.ts';
import { podParty } from './party.ts';
import { matchesNamed, matchesRange, NUMBERS } from './ports.ts';
import type { RawDocument } from './scenario.ts';
import { matchesCilium, matchesKubernetes, type RawSelector, splitKey } from './selector.ts';

interface RawRule {
  readonly [field: string]: unknown;
  readonly toPorts?: readonly { readonly ports?: readonly RawPort[] }[];
  readonly icmps?: readonly {
    readonly fields?: readonly { readonly family?: string; readonly type: number | string }[];
  }[];
}
interface RawPort {
  readonly port?: string;
  readonly endPort?: number;
  readonly protocol?: string;
}
interface RawSpec {
  readonly [field: string]: unknown;
  readonly endpointSelector: RawSelector;
  readonly enableDefaultDeny?: { readonly ingress?: boolean; readonly egress?: boolean };
}

/** Fields the engine must refuse by name; such a document isolates what it selects. */
const REFUSED = ['toFQDNs', 'rules', 'authentication', 'serverNames', 'listener', 'fromGroups', 'toGroups'];

export function ciliumEffect(document: RawDocument, asked: Case): Effect {
  const { direction } = asked.packet;
  const specs = [
    ...(document.spec ? [['spec', document.spec]] : []),
    ...(document.specs ?? []).map((s, i) => [`specs[${i}]`, s]),
  ];
  const refused = REFUSED.some((field) => JSON.stringify(specs).includes(`"${field}":`));
  let isolates = false;
  const matches: Match[] = [];
  for (const [place, raw] of specs as [string, RawSpec][]) {
    if (!selects(document, raw, asked)) continue;
    const named = [direction, `${direction}Deny`].filter((field) => raw[field] !== undefined);
    if (refused) {
      isolates ||= named.length > 0;
      continue;
    }
    const entries = named.some((field) => (raw[field] as unknown[]).length > 0);
    isolates ||= raw.enableDefaultDeny?.[direction] ?? entries;
    for (const field of named) {
      for (const [i, rule] of (raw[field] as RawRule[]).entries()) {
        if (!matchesRule(document, rule, asked)) continue;
        const action = field.endsWith('Deny') ? 'deny' : 'allow';
        matches.push({ tier: 'normal', order: 0, action, rule: `${place}.${field}[${i}]` });
      }
    }
  }
  return isolates || matches.length > 0 ? { isolates, matches } : NO_EFFECT;
}

function selects(document: RawDocument, spec: RawSpec, { scenario, subject }: Case): boolean {
  const { namespace } = document.metadata;
  if (document.kind === 'CiliumNetworkPolicy' && namespace !== subject.namespace) return false;
  return matchesCilium(spec.endpointSelector, podParty(scenario, subject, 4).labels);
}

/** Who and what, both. A rule that says neither matches nothing (B5.4). */
function matchesRule(document: RawDocument, rule: RawRule, asked: Case): boolean {
  const prefix = asked.packet.direction === 'ingress' ? 'from' : 'to';
  const peers = Object.keys(rule).filter((field) => field.startsWith(prefix) && field !== 'toPorts');
  const blocks = (rule.toPorts?.length ?? 0) + (rule.icmps?.length ?? 0);
  if (peers.length === 0 && blocks === 0) return false;
  if (blocks > 0 && !matchesPorts(rule, asked)) return false;
  if (peers.length === 0) return true;
  return peers.some((field) =>
    (rule[field] as unknown[]).some((item) => matchesPeer(field.slice(prefix.length), item, document, asked)),
  );
}

function matchesPeer(member: string, item: unknown, document: RawDocument, asked: Case): boolean {
  const { peer, scenario } = asked;
  const outside = peer.kind === 'outside';
  switch (member) {
    case 'Endpoints':
      return matchesEndpoint(item as RawSelector, document, asked);
    case 'CIDR':
      return outside && inside(peer.address, item as string);
    case 'CIDRSet':
      return outside && matchesCidrRule(item as RawCidrRule, asked);
    case 'Entities':
      return matchesEntity(item as string, asked);
    case 'Nodes': {
      const node = scenario.nodes.find(({ name }) => name === peer.node);
      return (
        node !== undefined &&
        matchesCilium(
          item as RawSelector,
          Object.entries(node.labels).map(([key, value]) => ({ source: 'k8s', key, value })),
        )
      );
    }
    case 'Services':
      return matchesService(item as RawService, asked);
    default:
      throw new Error(`the oracle does not know ${member}`);
  }
}

/** B2: own namespace unless the peer selector speaks of namespaces; reserved labels stand outside namespaces. */
function matchesEndpoint(selector: RawSelector, document: RawDocument, { peer }: Case): boolean {
  if (!matchesCilium(selector, peer.labels)) return false;
  const positive = [
    ...Object.keys(selector.matchLabels ?? {}),
    ...(selector.matchExpressions ?? [])
      .filter(({ operator }) => operator === 'In' || operator === 'Exists')
      .map(({ key }) => key),
  ];
  if (positive.some((key) => splitKey(key).source === 'reserved')) return true;
  if (!peer.pod) return false;
  if (document.kind === 'CiliumClusterwideNetworkPolicy') return true;
  const all = [...Object.keys(selector.matchLabels ?? {}), ...(selector.matchExpressions ?? []).map(({ key }) => key)];
  const namesNamespace = all.some((written) => {
    const { source, key } = splitKey(written);
    return (
      source !== 'reserved' &&
      (key === 'io.kubernetes.pod.namespace' || key.startsWith('io.cilium.k8s.namespace.labels.'))
    );
  });
  return namesNamespace || peer.pod.namespace === document.metadata.namespace;
}

interface RawCidrRule {
  readonly cidr?: string;
  readonly except?: readonly string[];
  readonly cidrGroupRef?: string;
  readonly cidrGroupSelector?: RawSelector;
}

function matchesCidrRule(rule: RawCidrRule, { peer, scenario }: Case): boolean {
  if (rule.cidr !== undefined) return insideExcept(peer.address, rule.cidr, rule.except ?? []);
  return scenario.documents.some(({ kind, metadata, spec }) => {
    if (kind !== 'CiliumCIDRGroup') return false;
    const chosen =
      rule.cidrGroupRef !== undefined
        ? metadata.name === rule.cidrGroupRef
        : matchesCilium(
            rule.cidrGroupSelector ?? {},
            Object.entries(metadata.labels ?? {}).map(([key, value]) => ({ source: 'k8s', key, value })),
          );
    return chosen && (spec as { externalCIDRs: string[] }).externalCIDRs.some((cidr) => inside(peer.address, cidr));
  });
}

function matchesEntity(entity: string, { peer }: Case): boolean {
  const has = (name: string): boolean => peer.labels.some(({ source, key }) => source === 'reserved' && key === name);
  if (entity === 'all') return true;
  if (entity === 'none') return false;
  if (entity !== 'cluster' && entity !== 'cluster-mesh') return has(entity);
  // One cluster only: its pods, and everything of it that is no pod.
  return (
    peer.pod !== undefined ||
    ['host', 'remote-node', 'init', 'ingress', 'health', 'unmanaged', 'kube-apiserver'].some(has)
  );
}

interface RawService {
  readonly k8sService?: { readonly serviceName: string; readonly namespace?: string };
  readonly k8sServiceSelector?: { readonly selector: RawSelector; readonly namespace?: string };
}

/** The pods behind the Services that are meant; none if there is no such Service (B7, case 20). */
function matchesService({ k8sService, k8sServiceSelector }: RawService, { scenario, peer }: Case): boolean {
  const { pod } = peer;
  if (!pod) return false;
  const namespace = k8sService?.namespace ?? k8sServiceSelector?.namespace ?? '';
  return scenario.services.some((service) => {
    if (namespace !== '' && namespace !== service.namespace) return false;
    const meant = k8sService
      ? k8sService.serviceName === service.name
      : matchesCilium(
          k8sServiceSelector?.selector ?? {},
          Object.entries(service.labels).map(([key, value]) => ({ source: 'k8s', key, value })),
        );
    if (!meant || !service.selector || Object.keys(service.selector).length === 0) return false;
    return service.namespace === pod.namespace && matchesKubernetes({ matchLabels: service.selector }, pod.labels);
  });
}

const WITH_PORTS = ['TCP', 'UDP', 'SCTP'];
const ICMP_NAMES: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  IPv4: { EchoReply: 0, DestinationUnreachable: 3, EchoRequest: 8, TimeExceeded: 11 },
  IPv6: { DestinationUnreachable: 1, PacketTooBig: 2, EchoRequest: 128, EchoReply: 129 },
};

function matchesPorts(rule: RawRule, asked: Case): boolean {
  const { packet } = asked;
  for (const { ports = [] } of rule.toPorts ?? []) if (ports.some((port) => matchesPort(port, asked))) return true;
  for (const { fields = [] } of rule.icmps ?? []) {
    for (const { family = 'IPv4', type } of fields) {
      const number = ICMP_NAMES[family]?.[String(type)] ?? Number(type);
      const protocol = family === 'IPv6' ? NUMBERS.ICMPv6 : NUMBERS.ICMP;
      if (packet.protocol === protocol && packet.port >> 8 === number) return true;
    }
  }
  return false;
}

function matchesPort({ port = '0', endPort = 0, protocol: written = 'ANY' }: RawPort, asked: Case): boolean {
  const protocol = written.toUpperCase();
  const protocols = protocol === 'ANY' ? WITH_PORTS : [protocol];
  if (!protocols.every((name) => WITH_PORTS.includes(name))) return NUMBERS[protocol] === asked.packet.protocol;
  if (/[a-zA-Z]/.test(port)) return matchesNamed(port.toLowerCase(), protocols, asked);
  const first = Number(port);
  if (first === 0) return matchesRange(protocols, 0, 65535, asked);
  return matchesRange(protocols, first, endPort === 0 ? first : endPort, asked);
}
