/** From what people write to a party: "ns/pod", "ip:ADDR", "entity:NAME", "app=frontend,env=prod". */
import { WeirError } from '../../errors.ts';
import { type Address, familyOf, parseAddress, prefixContains } from '../../model/address.ts';
import { closest, didYouMean } from '../../model/did-you-mean.ts';
import { NAMESPACE_LABEL } from '../../model/labels.ts';
import type { Node, Pod } from '../../model/object.ts';
import { type Requirement, selector, selectorMatches } from '../select/selector.ts';
import { podName } from './objects.ts';
import { PARTY_ENTITIES, type Party, type PartyEntity } from './party.ts';

export interface Population {
  /** Every pod, those in their node's network too, by name. */
  readonly pods: readonly Party[];
  readonly nodes: ReadonlyMap<string, Node>;
  /** A party for a pod that does not exist but could. */
  imagine(pod: Pod): Party;
}

const EXPECTED = 'NAMESPACE/POD, ip:ADDRESS, entity:NAME or labels like app=frontend';

/** Throws BAD_REQUEST for what cannot be read, NOT_FOUND for what is not there. */
export function findParty(text: string, among: Population): Party {
  const address = parseAddress(text.startsWith('ip:') ? text.slice(3) : text);
  if (address) return addressParty(address, among);
  if (text.startsWith('ip:')) throw wrong(`expected an IP address after "ip:", got "${text.slice(3)}"`);
  if (text.startsWith('entity:')) return entityParty(text.slice('entity:'.length));
  if (text.includes('=')) return labelledParty(text, among);
  if (PARTY_ENTITIES.includes(text as PartyEntity)) throw wrong(`did you mean entity:${text}?`);
  const name = text.includes('/') ? text : `default/${text}`;
  if (!/^[^/]+\/[^/]+$/.test(name)) throw wrong(`expected ${EXPECTED}, got "${text}"`);
  const pod = among.pods.find((party) => party.name === name);
  if (pod) return pod;
  throw new WeirError('NOT_FOUND', 'find a pod', `there is no pod ${name}${hint(name, among.pods)}`);
}

/** A pod of that namespace with a name alike, or one of that name elsewhere. */
function hint(wanted: string, pods: readonly Party[]): string {
  const slash = wanted.indexOf('/') + 1;
  const [namespace, own] = [wanted.slice(0, slash), wanted.slice(slash)];
  const elsewhere = pods.find(({ name }) => name.endsWith(`/${own}`));
  if (elsewhere) return `; did you mean ${elsewhere.name}?`;
  const near = pods.filter(({ name }) => name.startsWith(namespace)).map(({ name }) => name.slice(slash));
  const found = closest(own, near);
  return found === undefined ? '' : `; did you mean ${namespace}${found}?`;
}

/** The pod or node that has the address; else somebody outside, or in a pod range without being known. */
function addressParty(address: Address, { pods, nodes }: Population): Party {
  const name = `ip:${address}`;
  const fixedFamily = familyOf(address);
  const pod = pods.find(({ addresses }) => addresses.includes(address));
  if (pod) return { ...pod, name, addresses: [address], fixedFamily };
  const node = [...nodes.values()].find(({ addresses }) => addresses.includes(address));
  const inPodRange = [...nodes.values()].some(({ podCidrs }) => podCidrs.some((cidr) => prefixContains(cidr, address)));
  return {
    ...NOBODY,
    name,
    kind: node ? 'node' : inPodRange ? 'unmanaged' : 'outside',
    node: node?.name ?? '',
    addresses: [address],
    fixedFamily,
  };
}

function entityParty(entity: string): Party {
  const known = PARTY_ENTITIES.find((name) => name === entity);
  if (!known) {
    const hint = didYouMean(entity, PARTY_ENTITIES);
    throw wrong(`expected entity:NAME with one of ${PARTY_ENTITIES.join(', ')}, got "${entity}"${hint}`);
  }
  const fixedFamily = known === 'world-ipv4' ? 4 : known === 'world-ipv6' ? 6 : undefined;
  return { ...NOBODY, name: `entity:${known}`, kind: 'entity', entity: known, fixedFamily };
}

const NOBODY: Omit<Party, 'name' | 'kind' | 'fixedFamily'> = {
  subject: undefined,
  pod: undefined,
  node: '',
  entity: undefined,
  addresses: [],
  namedPorts: [],
};

/** The first pod with these labels, or an imagined one that has them and nothing else. */
function labelledParty(text: string, { pods, imagine }: Population): Party {
  const pairs = text.split(',').map((pair): [key: string, value: string] => {
    const [, key, value] = /^((?:[a-z0-9]+:)?[A-Za-z0-9][-A-Za-z0-9_./]*)=([-A-Za-z0-9_.]*)$/.exec(pair) ?? [];
    if (key === undefined || value === undefined) throw wrong(`expected KEY=VALUE, got "${pair}"`);
    return [key, value];
  });
  const wanted = selector(
    pairs.map(([key, value]): Requirement => {
      return { operator: 'In', key: key.includes(':') ? key : `any:${key}`, values: [value] };
    }),
  );
  const found = pods.find(({ subject }) => subject && selectorMatches(wanted, subject.labels));
  if (found) return found;
  const namespaceKey = NAMESPACE_LABEL.slice('k8s:'.length);
  const labels = new Map(pairs.map(([key, value]) => [key.replace(/^(k8s|any):/, ''), value]));
  const namespace = labels.get(namespaceKey) ?? 'default';
  labels.delete(namespaceKey);
  const pod: Pod = {
    namespace,
    name: text,
    uid: '',
    labels: Object.fromEntries(labels),
    annotations: {},
    serviceAccount: 'default',
    nodeName: '',
    hostNetwork: false,
    addresses: [],
    namedPorts: [],
    workload: undefined,
  };
  return { ...imagine(pod), name: text };
}

/** The party of a pod in its node's network: to others it is the node, and no policy is about it. */
export function hostNetworkParty(pod: Pod, node: string, nodes: ReadonlyMap<string, Node>): Party {
  const addresses = pod.addresses.length > 0 ? pod.addresses : (nodes.get(node)?.addresses ?? []);
  const { namedPorts } = pod;
  return { ...NOBODY, name: podName(pod), kind: 'node', pod, node, addresses, namedPorts, fixedFamily: undefined };
}

function wrong(message: string): WeirError {
  return new WeirError('BAD_REQUEST', 'read a party', message);
}
