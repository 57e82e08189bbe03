/**
 * This node's endpoints on their way into force: which pod each one is, and with that its identity, its policy subject and
 * its claims. What an endpoint has stays until there is something new to put in its place.
 */
import type { EndpointRow } from '../datapath/datapath.ts';
import type { EndpointRecord } from '../model/endpoint.ts';
import { RESERVED_IDENTITIES, reservedLabels } from '../model/identity.ts';
import { type Labels, labelsKey } from '../model/labels.ts';
import type { Namespace, Pod } from '../model/object.ts';
import { isSamePod } from '../model/pod-uid.ts';
import type { Engine } from '../policy/engine.ts';
import { drain } from './drain.ts';
import type { IdentitiesInUse } from './identities-in-use.ts';
import { type Inventory, podKey } from './inventory.ts';
import { endpointRow, type Member, newMember, peerRows } from './members.ts';
import type { NamedPorts } from './named-ports.ts';
import { CLAIM_RANK, type PeerTable } from './peer-table.ts';

export interface OwnEndpointsOptions {
  readonly engine: Pick<Engine, 'addSubject' | 'removeSubject' | 'policyOf'>;
  readonly inventory: Pick<Inventory, 'pods' | 'namespaces'>;
  readonly identities: Pick<IdentitiesInUse, 'acquire' | 'release'>;
  readonly peers: Pick<PeerTable, 'claim' | 'withdraw'>;
  readonly namedPorts: NamedPorts;
  readonly labelsOf: (pod: Pod, namespace: Namespace | undefined) => Labels;
  /** An endpoint has a new identity, or its pod changed. */
  readonly onEndpoint: (member: Member) => void;
}

export interface OwnEndpoints {
  readonly members: ReadonlyMap<number, Member>;
  add(record: EndpointRecord, pod: Pod | undefined): void;
  remove(id: number): void;
  /** The pod came or changed. That it went changes nothing: its endpoint stays what it was until DEL. */
  podChanged(pod: Pod): void;
  namespaceChanged(name: string): void;
  /** Pods that got `init` because no number was free ask again with the next resolve. True if there are any. */
  askAgain(): boolean;
  /** Endpoints with these labels ask for their number anew with the next resolve. True if there are any. */
  renumber(labels: Labels): boolean;
  /** Begins with everything that changed. What fails is told, stays as it was and is tried again with the next call. */
  resolve(failed: (cause: unknown) => void): Promise<void>[];
  /** Points endpoints to their policies; returns the ids whose row changed. */
  point(): number[];
  /** Ids that went and did not come back since the last call. */
  takeRemoved(): number[];
  /** Of those that have been resolved once. */
  rows(ids: Iterable<number>): EndpointRow[];
}

export function createOwnEndpoints(options: OwnEndpointsOptions): OwnEndpoints {
  const { engine, inventory, identities, peers, namedPorts } = options;
  const members = new Map<number, Member>();
  const dirty = new Set<number>();
  const removed = new Set<number>();
  /** Members whose label set has another number now. */
  const renumbered = new Set<number>();
  /** Members whose new numbers are asked for: their removal waits for that. */
  const resolving = new Set<Member>();

  async function resolveMember(member: Member): Promise<void> {
    const { id, namespace, podName } = member.record;
    const named = podName === '' ? undefined : inventory.pods.get(podKey(namespace, podName));
    if (named && isPodOf(member, named)) member.pod = named;
    const { pod } = member;
    const labels = pod ? options.labelsOf(pod, inventory.namespaces.get(pod.namespace)) : reservedLabels('init');
    if (renumbered.has(id) || member.subject === '' || labelsKey(labels) !== labelsKey(member.labels)) {
      const before = { identity: member.identity, labels: member.labels };
      member.identity = pod ? await identities.acquire(labels) : RESERVED_IDENTITIES.init;
      member.labels = member.identity === RESERVED_IDENTITIES.init ? reservedLabels('init') : labels;
      identities.release(before.identity, before.labels);
      renumbered.delete(id);
    }
    member.namedPorts = pod?.namedPorts ?? [];
    const oldSubject = member.subject;
    member.subject = engine.addSubject({
      identity: member.identity,
      labels: member.labels,
      namedPorts: member.namedPorts,
    });
    if (oldSubject !== '') engine.removeSubject(oldSubject);
    namedPorts.set(`endpoint ${id}`, member.identity, member.namedPorts);
    member.state = 'regenerating';
    peers.claim(`endpoint ${id}`, CLAIM_RANK.endpoint, peerRows(member));
    options.onEndpoint(member);
  }

  /** Undoes what resolveMember did. */
  function forget(member: Member): void {
    if (member.subject !== '') engine.removeSubject(member.subject);
    identities.release(member.identity, member.labels);
    if (members.has(member.record.id)) return;
    peers.withdraw(`endpoint ${member.record.id}`);
    namedPorts.remove(`endpoint ${member.record.id}`);
  }

  return {
    members,
    add(record, pod) {
      members.set(record.id, newMember(record, pod));
      dirty.add(record.id);
    },
    remove(id) {
      const member = members.get(id);
      if (!member) return;
      members.delete(id);
      dirty.delete(id);
      removed.add(id);
      if (!resolving.has(member)) forget(member);
    },
    podChanged(pod) {
      for (const [id, member] of members) {
        if (!isPodOf(member, pod)) continue;
        member.pod = pod;
        dirty.add(id);
      }
    },
    namespaceChanged(name) {
      for (const [id, { record }] of members) if (record.namespace === name) dirty.add(id);
    },
    askAgain() {
      const unnumbered = [...members].filter(([, { pod, identity }]) => pod && identity === RESERVED_IDENTITIES.init);
      for (const [id] of unnumbered) dirty.add(id);
      return unnumbered.length > 0;
    },
    renumber(labels) {
      const key = labelsKey(labels);
      const having = [...members].filter(([, member]) => labelsKey(member.labels) === key);
      for (const [id] of having) {
        renumbered.add(id);
        dirty.add(id);
      }
      return having.length > 0;
    },
    resolve(failed) {
      return drain(dirty).map(async (id) => {
        const member = members.get(id);
        if (!member) return;
        resolving.add(member);
        await resolveMember(member).catch((cause: unknown) => {
          if (members.get(id) === member) dirty.add(id);
          failed(cause);
        });
        resolving.delete(member);
        if (members.get(id) !== member) forget(member);
      });
    },
    point() {
      const changed: number[] = [];
      for (const [id, member] of members) {
        const policy = engine.policyOf(member.subject);
        if (member.subject === '' || policy === undefined) continue;
        if (policy !== member.policy || member.state === 'regenerating') changed.push(id);
        member.policy = policy;
      }
      return changed;
    },
    // An id freed and taken again before this turn is written, not removed.
    takeRemoved: () => drain(removed).filter((id) => !members.has(id)),
    rows(ids) {
      return [...ids].flatMap((id) => {
        const member = members.get(id);
        return member && member.subject !== '' ? [endpointRow(member)] : [];
      });
    },
  };
}

/** A pod of the same name but another uid is a new pod: the endpoint stays the old one's until its DEL. */
function isPodOf({ record }: Member, pod: Pod): boolean {
  return record.namespace === pod.namespace && record.podName === pod.name && isSamePod(record.podUid, pod);
}
