/** One rule against one packet: which of its peers and ports are the packet's, in words. */
import { type Address, hostPrefix, type Prefix, prefixContains } from '../../model/address.ts';
import { NAMESPACE_LABEL } from '../../model/labels.ts';
import type { NamedPort } from '../../model/object.ts';
import { type Cidr, type PolicyRule, type PortMatch, PROTOCOL, type Peer as RulePeer } from '../rule.ts';
import {
  type Cluster,
  groupPrefixes,
  nodePrefixes,
  SERVICE_KINDS,
  servicePods,
  servicePrefixes,
} from '../select/cluster.ts';
import { type Selector, selectorMatches } from '../select/selector.ts';
import type { Peer } from './party.ts';
import { type Target, targetKey } from './port.ts';

/** What of a rule is the packet's; undefined: the rule is not about it. */
export interface Match {
  readonly peers: readonly string[];
  readonly ports: readonly string[];
}

/** `owner`: the port names of the destination, with what they stand for. */
export function matchRule(
  rule: PolicyRule,
  peer: Peer,
  target: Target,
  owner: readonly NamedPort[],
  cluster: Cluster,
): Match | undefined {
  const ports = matchingPorts(rule, target, owner);
  // A port name of an egress rule is looked up at the peer, and only who is known by labels has any.
  const byNameOnly = rule.direction === 'egress' && ports.length > 0 && ports.every(({ named }) => named);
  const peers = rule.peers.filter((one) => !byNameOnly || hasPortNames(one, peer));
  const texts = peers.flatMap((one) => matchingPeer(one, peer, cluster));
  if (texts.length === 0 || ports.length === 0) return undefined;
  return { peers: texts, ports: ports.map(({ text }) => text) };
}

function hasPortNames({ type }: RulePeer, peer: Peer): boolean {
  return type === 'selector' || type === 'services' || (type === 'any' && isPod(peer));
}

function matchingPeer(one: RulePeer, peer: Peer, cluster: Cluster): string[] {
  switch (one.type) {
    case 'any':
      return ['everybody'];
    case 'selector':
      return bySelector(one.selector, peer);
    case 'cidr':
      return byCidr(one.cidr, peer);
    case 'group': {
      const name = 'name' in one.group ? one.group.name : one.group.selector.key;
      return groupPrefixes(one.group, cluster)
        .flatMap((prefix) => byCidr({ prefix, except: [], kinds: one.kinds }, peer))
        .map((text) => `${text} of CiliumCIDRGroup ${name}`);
    }
    case 'nodes': {
      const full = hostPrefix(peer.address);
      const matches = peer.kind === 'node' && nodePrefixes(one.selector, cluster).includes(full);
      return matches ? [`nodes ${one.selector.key}`] : [];
    }
    case 'services':
      return [
        ...servicePods(one.services, cluster).flatMap((pods) => bySelector(pods, peer)),
        ...servicePrefixes(one.services, cluster).flatMap((prefix) =>
          byCidr({ prefix, except: [], kinds: SERVICE_KINDS }, peer),
        ),
      ];
  }
}

function isPod({ labels }: Peer): boolean {
  return labels.has(NAMESPACE_LABEL);
}

function bySelector(selector: Selector, { labels }: Peer): string[] {
  return selectorMatches(selector, labels) ? [selector.key] : [];
}

function byCidr({ prefix, except, kinds }: Cidr, { address, kind }: Peer): string[] {
  if (!kinds.includes(kind) || !contains(prefix, address)) return [];
  return except.some((hole) => contains(hole, address)) ? [] : [prefix];
}

function contains(prefix: Prefix, address: Address): boolean {
  return prefixContains(prefix, address);
}

function matchingPorts(
  rule: PolicyRule,
  target: Target,
  owner: readonly NamedPort[],
): { readonly text: string; readonly named: boolean }[] {
  if (rule.ports === undefined) return [{ text: 'every port', named: false }];
  const { protocol, port } = targetKey(target);
  return rule.ports.flatMap((one): { text: string; named: boolean }[] => {
    if (one.type === 'range') {
      const inside = one.protocol === protocol && one.first <= port && port <= one.last;
      return inside ? [{ text: portText(one), named: false }] : [];
    }
    const known = owner.find(
      (own) => own.name === one.name && own.port === port && PROTOCOL[own.protocol] === protocol,
    );
    const meant = known && one.protocols.includes(protocol);
    return meant ? [{ text: `${one.name} (${known.port}/${known.protocol})`, named: true }] : [];
  });
}

const NAMES: Readonly<Record<number, string>> = { 1: 'ICMPv4', 58: 'ICMPv6', 6: 'TCP', 17: 'UDP', 132: 'SCTP' };

/** "8080/TCP", "8000-8999/UDP", "every port of TCP", "type 8 of ICMPv4". */
export function portText({ protocol, first, last }: Extract<PortMatch, { type: 'range' }>): string {
  const name = NAMES[protocol] ?? `protocol ${protocol}`;
  if (first === 0 && last === 65535) return `every port of ${name}`;
  if (protocol === PROTOCOL.ICMP || protocol === PROTOCOL.ICMPv6) return `type ${first >> 8} of ${name}`;
  return first === last ? `${first}/${name}` : `${first}-${last}/${name}`;
}
