/** Whether one selector, peer or port list includes all of another, by what is written: sure of "yes", silent else. */
import { prefixContains } from '../../model/address.ts';
import type { Peer, PolicyRule, PortMatch } from '../rule.ts';
import type { Requirement, Selector } from '../select/selector.ts';

/** Everybody `inner` selects is selected by `outer` too. */
export function selectorCovers(outer: Selector, inner: Selector): boolean {
  return inner.alternatives.every((narrow) =>
    outer.alternatives.some((wide) => wide.every((need) => narrow.some((given) => implies(given, need)))),
  );
}

/** Whoever satisfies `given` satisfies `need`. */
function implies(given: Requirement, need: Requirement): boolean {
  const sameKey = given.key === need.key || (need.key.startsWith('any:') && plain(given.key) === plain(need.key));
  if (!sameKey) return false;
  if (need.operator === 'Exists') return given.operator === 'Exists' || given.operator === 'In';
  if (given.operator !== need.operator) return false;
  if (given.operator === 'In' && need.operator === 'In') return given.values.every((one) => need.values.includes(one));
  if (given.operator === 'NotIn' && need.operator === 'NotIn')
    return need.values.every((one) => given.values.includes(one));
  return true;
}

function plain(key: string): string {
  return key.slice(key.indexOf(':') + 1);
}

function peerCovers(outer: Peer, inner: Peer): boolean {
  if (outer.type === 'any') return true;
  if (outer.type === 'selector' && inner.type === 'selector') return selectorCovers(outer.selector, inner.selector);
  if (outer.type === 'cidr' && inner.type === 'cidr') {
    const kinds = inner.cidr.kinds.every((kind) => outer.cidr.kinds.includes(kind));
    return kinds && outer.cidr.except.length === 0 && prefixContains(outer.cidr.prefix, inner.cidr.prefix);
  }
  return JSON.stringify(outer) === JSON.stringify(inner);
}

function portCovers(outer: PortMatch, inner: PortMatch): boolean {
  if (outer.type === 'range' && inner.type === 'range') {
    return outer.protocol === inner.protocol && outer.first <= inner.first && inner.last <= outer.last;
  }
  if (outer.type === 'range' && inner.type === 'named') {
    return outer.first === 0 && outer.last === 65535 && inner.protocols.every((one) => one === outer.protocol);
  }
  if (outer.type === 'named' && inner.type === 'named') {
    return outer.name === inner.name && inner.protocols.every((one) => outer.protocols.includes(one));
  }
  return false;
}

/** Every packet `inner` is about, `outer` is about too. */
export function ruleCovers(outer: PolicyRule, inner: PolicyRule): boolean {
  if (outer.direction !== inner.direction || inner.peers.length === 0) return false;
  if (!inner.peers.every((peer) => outer.peers.some((one) => peerCovers(one, peer)))) return false;
  if (outer.ports === undefined) return true;
  const wide = outer.ports;
  return inner.ports?.every((port) => wide.some((one) => portCovers(one, port))) ?? false;
}
