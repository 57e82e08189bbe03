/** Who the other side of a Cilium rule may be. Facts: reference policy-language.md, B2. */

import { type Prefix, parsePrefix } from '../../model/address.ts';
import { NAMESPACE_LABEL, NAMESPACE_LABELS_PREFIX } from '../../model/labels.ts';
import type { GroupReference, Peer, PeerKind, ServiceReference } from '../rule.ts';
import { type Entity, entitySelector } from '../select/entity.ts';
import { type Requirement, type Selector, selector } from '../select/selector.ts';
import { PEER_FIELDS } from './cilium-schema.ts';
import { IS_POD, inNamespace, type RawSelector, requirements } from './label-selector.ts';
import type { ParseOptions } from './language.ts';
import type { Fields } from './schema.ts';

/** Where the document lives: a namespace, or '' for a clusterwide one. */
export type Scope = string;

interface RawCidrRule {
  readonly cidr?: string;
  readonly cidrGroupRef?: string;
  readonly cidrGroupSelector?: RawSelector;
  readonly except?: readonly string[];
}
interface RawService {
  readonly k8sService?: { readonly serviceName: string; readonly namespace?: string };
  readonly k8sServiceSelector?: { readonly selector: RawSelector; readonly namespace?: string };
}

/**
 * The rule's peers; undefined if it has no member that names any. A member that is there but empty names nobody, which
 * is not the same: `fromEndpoints: []` allows nobody, no member at all means everybody (B7, case 3; CVE-2026-56743).
 */
export function rulePeers(
  rule: Fields,
  direction: 'ingress' | 'egress',
  scope: Scope,
  options: ParseOptions,
): Peer[] | undefined {
  const members = PEER_FIELDS[direction].filter((name) => rule[name] !== undefined);
  if (members.length === 0) return undefined;
  return members.flatMap((name) =>
    (rule[name] as unknown[]).map((item) => peer(name.replace(/^(from|to)/, ''), item, scope, options)),
  );
}

function peer(member: string, item: unknown, scope: Scope, options: ParseOptions): Peer {
  switch (member) {
    case 'Endpoints':
      return { type: 'selector', selector: peerSelector(item as RawSelector, scope) };
    case 'CIDR':
      return cidrPeer(item as string, [], options.cidrKinds);
    case 'CIDRSet':
      return cidrRulePeer(item as RawCidrRule, options.cidrKinds);
    case 'Entities': {
      const entity = entitySelector(item as Entity, options.clusterName);
      return entity ? { type: 'selector', selector: entity } : { type: 'any' };
    }
    case 'Nodes':
      return { type: 'nodes', selector: selector(requirements(item as RawSelector, 'objects')) };
    case 'Services':
      return { type: 'services', services: serviceReference(item as RawService) };
    default:
      throw new Error(`${member} has no meaning yet and the schema should have refused it`);
  }
}

/**
 * A peer selector with its namespace. Cilium takes the policy's own namespace unless the selector speaks of namespaces
 * itself, and none for `reserved:` selectors. Here the latter needs a label that must be there: `DoesNotExist` on a
 * reserved label does not lift the restriction (CVE-2023-41333), and a selector that only excludes namespaces still
 * means pods.
 */
export function peerSelector(raw: RawSelector, scope: Scope): Selector {
  const all = requirements(raw, 'endpoints');
  if (all.some(isReserved)) return selector(all);
  const restriction = scope === '' || all.some(namesNamespace) ? IS_POD : inNamespace(scope);
  return selector([restriction, ...all]);
}

function isReserved({ key, operator }: Requirement): boolean {
  return key.startsWith('reserved:') && (operator === 'In' || operator === 'Exists');
}

const NAMESPACE_KEY = NAMESPACE_LABEL.slice('k8s:'.length);
const NAMESPACE_LABELS_KEY = NAMESPACE_LABELS_PREFIX.slice('k8s:'.length);

export function namesNamespace({ key }: Requirement): boolean {
  const name = key.replace(/^(k8s|any):/, '');
  return name === NAMESPACE_KEY || name.startsWith(NAMESPACE_LABELS_KEY);
}

function cidrRulePeer(raw: RawCidrRule, kinds: readonly PeerKind[]): Peer {
  if (raw.cidr !== undefined) return cidrPeer(raw.cidr, raw.except ?? [], kinds);
  const group: GroupReference =
    raw.cidrGroupRef !== undefined
      ? { name: raw.cidrGroupRef }
      : { selector: selector(requirements(raw.cidrGroupSelector ?? {}, 'objects')) };
  return { type: 'group', group, kinds };
}

export function cidrPeer(cidr: string, except: readonly string[], kinds: readonly PeerKind[]): Peer {
  const prefixes = except.map((text) => parsePrefix(text) as Prefix);
  return { type: 'cidr', cidr: { prefix: parsePrefix(cidr) as Prefix, except: prefixes, kinds } };
}

function serviceReference({ k8sService, k8sServiceSelector }: RawService): ServiceReference {
  if (k8sService) return { name: k8sService.serviceName, namespace: k8sService.namespace ?? '' };
  const { selector: raw = {}, namespace = '' } = k8sServiceSelector ?? {};
  return { selector: selector(requirements(raw, 'objects')), namespace };
}
