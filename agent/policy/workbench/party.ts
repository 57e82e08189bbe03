/** Who takes part in a question: a pod, an address, an entity, or somebody described by labels. */
import { type Address, type Family, familyOf } from '../../model/address.ts';
import { RESERVED_IDENTITIES, type ReservedName, reservedLabels } from '../../model/identity.ts';
import type { Labels } from '../../model/labels.ts';
import type { NamedPort, Node, Pod } from '../../model/object.ts';
import type { Question } from '../evaluate.ts';
import type { Subject } from '../subject.ts';

/** Entities that are one party each; `all`, `cluster` and `none` are not. */
export const PARTY_ENTITIES = [
  'host',
  'remote-node',
  'kube-apiserver',
  'world',
  'world-ipv4',
  'world-ipv6',
  'health',
  'init',
  'ingress',
  'unmanaged',
] as const satisfies readonly ReservedName[];
export type PartyEntity = (typeof PARTY_ENTITIES)[number];

export interface Party {
  /** As people write it: "ns/pod", "ip:ADDR", "entity:NAME", or labels. */
  readonly name: string;
  /** `node`: a node, or a pod in its network. `outside` and `unmanaged`: an address nobody in the cluster is known to have. */
  readonly kind: 'pod' | 'node' | 'entity' | 'outside' | 'unmanaged';
  /** Whom policies judge; undefined: no policy is about this party. */
  readonly subject: Subject | undefined;
  readonly pod: Pod | undefined;
  /** The node it is, or is on; '' when that is not known. */
  readonly node: string;
  readonly entity: PartyEntity | undefined;
  /** Empty when not known: then it is judged as dual stack. */
  readonly addresses: readonly Address[];
  /** It was asked for by an address, or is of one family by nature: every question is of that family. */
  readonly fixedFamily: Family | undefined;
  readonly namedPorts: readonly NamedPort[];
}

/** The other side as policies see it. */
export type Peer = Question['peer'] & { readonly labels: Labels };

/** Families in which the two may talk. A party asked for by its address decides; others need an address each. */
export function commonFamilies(a: Party, b: Party): Family[] {
  const fixed = [a.fixedFamily, b.fixedFamily].filter((family) => family !== undefined);
  if (fixed.length > 0) return ([4, 6] as const).filter((family) => fixed.every((one) => one === family));
  return ([4, 6] as const).filter((family) => hasFamily(a, family) && hasFamily(b, family));
}

function hasFamily({ addresses }: Party, family: Family): boolean {
  return addresses.length === 0 || addresses.some((address) => familyOf(address) === family);
}

export interface Surroundings {
  readonly nodes: ReadonlyMap<string, Node>;
  /** An address of the family that no rule names, for a party whose own is not known. */
  blank(family: Family): Address;
}

/** What `subject` sees of the party: its own node is `host`, every other one is `remote-node`. */
export function seenBy(subject: Party, party: Party, family: Family, around: Surroundings): Peer {
  const own = party.addresses.find((address) => familyOf(address) === family);
  const address = own ?? around.blank(family);
  const reserved = (name: ReservedName, kind: Peer['kind'], at: Address = address): Peer => {
    return { identity: RESERVED_IDENTITIES[name], labels: reservedLabels(name), address: at, kind };
  };
  const nodeAddress = (isOwn: boolean): Address => {
    if (own) return own;
    const nodes = [...around.nodes.values()].filter(({ name }) => (name === subject.node) === isOwn);
    return nodes.flatMap(({ addresses }) => addresses).find((one) => familyOf(one) === family) ?? address;
  };
  const world = family === 4 ? 'world-ipv4' : 'world-ipv6';
  switch (party.kind) {
    case 'pod': {
      const { identity, labels } = party.subject as Subject;
      return { identity, labels, address, kind: 'pod' };
    }
    case 'node':
      return reserved(party.node === subject.node ? 'host' : 'remote-node', 'node');
    case 'outside':
      return reserved(world, 'outside');
    case 'unmanaged':
      return reserved('unmanaged', 'pod');
    case 'entity':
      switch (party.entity as PartyEntity) {
        case 'host':
          return reserved('host', 'node', nodeAddress(true));
        case 'remote-node':
          return reserved('remote-node', 'node', nodeAddress(false));
        case 'world':
        case 'world-ipv4':
        case 'world-ipv6':
          return reserved(world, 'outside');
        case 'kube-apiserver':
          return reserved('kube-apiserver', 'outside');
        default:
          return reserved(party.entity as PartyEntity, 'pod');
      }
  }
}
