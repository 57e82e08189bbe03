/** no-dns-egress: pods whose egress is closed and who may not ask for names either. The most common way to break a pod. */
import type { Problem } from '../../model/object.ts';
import type { Peer, PolicyRule, PortMatch } from '../rule.ts';
import { PROTOCOL } from '../rule.ts';
import { selectorMatches } from '../select/selector.ts';
import { specPath } from '../spec-path.ts';
import { selectorCovers } from './cover.ts';
import { type Policy, specsOf, warning } from './policy.ts';

const DNS_PORT = 53;
/** Any of these may answer names: the cluster's DNS pods, as charts label them. */
const DNS_PODS = ['kube-dns', 'coredns', 'node-local-dns'].map(
  (name) =>
    new Map([
      ['k8s:k8s-app', name],
      ['k8s:app', name],
      ['k8s:app.kubernetes.io/name', name],
      ['k8s:io.kubernetes.pod.namespace', 'kube-system'],
      ['k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name', 'kube-system'],
      ['k8s:io.cilium.k8s.policy.serviceaccount', name],
      ['k8s:io.cilium.k8s.policy.cluster', 'default'],
    ]),
);
const MESSAGE =
  'egress is closed but for what is listed, and nothing allows port 53 (UDP or TCP) to anything that could be DNS: names stop resolving';

export function noDnsEgress(policies: readonly Policy[]): Problem[] {
  return policies.flatMap((policy) => {
    const { parsed, document } = policy;
    if (!parsed.document) return refusedWithoutDns(policy);
    return specsOf(policy).flatMap(({ spec, path }) => {
      if (!spec.isolates.egress || spec.rules.some(allowsDns)) return [];
      const elsewhere = policies
        .filter(
          (other) => other.document.ref.namespace === '' || other.document.ref.namespace === document.ref.namespace,
        )
        .flatMap(specsOf)
        .some((other) => other.spec.rules.some(allowsDns) && selectorCovers(other.spec.subject, spec.subject));
      return elsewhere ? [] : [warning(policy, 'no-dns-egress', [...path, 'egress'], MESSAGE)];
    });
  });
}

/** A refused document closes egress and allows nothing; what it was meant to allow can only be guessed at. */
function refusedWithoutDns(policy: Policy): Problem[] {
  const { parsed, document } = policy;
  if (/\b53\b/.test(JSON.stringify(document.raw))) return [];
  return (parsed.isolation?.specs ?? []).flatMap((spec, i) => {
    if (!spec.isolates.egress) return [];
    return [warning(policy, 'no-dns-egress', [...specPath(document, i), 'egress'], MESSAGE)];
  });
}

function allowsDns({ direction, action, peers, ports }: PolicyRule): boolean {
  if (direction !== 'egress' || action !== 'allow' || peers.length === 0) return false;
  if (ports?.some(isDnsPort)) return true;
  return (ports === undefined || ports.some(isEveryPort)) && peers.some(couldBeDns);
}

/** Written by somebody who thought of DNS, whoever the peer is. */
function isDnsPort(port: PortMatch): boolean {
  if (port.type === 'named') return /dns/.test(port.name);
  return hasNames(port) && !isEveryPort(port) && port.first <= DNS_PORT && DNS_PORT <= port.last;
}

function isEveryPort(port: PortMatch): boolean {
  return port.type === 'range' && hasNames(port) && port.first === 0 && port.last === 65535;
}

function hasNames({ protocol }: Extract<PortMatch, { type: 'range' }>): boolean {
  return protocol === PROTOCOL.UDP || protocol === PROTOCOL.TCP;
}

/** Outside, nodes (a node-local cache) and Services may be; of pods those that are labelled like DNS. */
function couldBeDns(peer: Peer): boolean {
  if (peer.type !== 'selector') return true;
  const reserved = peer.selector.alternatives.some((all) => all.some(({ key }) => key.startsWith('reserved:')));
  return reserved || DNS_PODS.some((labels) => selectorMatches(peer.selector, labels));
}
