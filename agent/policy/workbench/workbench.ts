/**
 * Policies on a bench: the objects of a cluster, taken from manifests or from a running agent, put into a policy engine of
 * their own, so that anybody may ask what would happen. Answers come from the same rows, by the same lookups, as the
 * kernel's; nothing here touches a kernel or a cluster.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Family } from '../../model/address.ts';
import { FIRST_POD_IDENTITY, type IdentityNumber } from '../../model/identity.ts';
import { type Labels, labelsKey } from '../../model/labels.ts';
import type { NamedPort, Namespace, Pod } from '../../model/object.ts';
import { podLabels } from '../../model/pod-labels.ts';
import { type Direction, POLICY_NONE } from '../../model/verdict.ts';
import { createEngine, type DocumentStatus, type Engine } from '../engine.ts';
import { type Answer, createJudge, type Judge } from '../evaluate.ts';
import { type SubjectKey, subjectKey } from '../subject.ts';
import { blankAddress } from './blank-address.ts';
import { findParty, hostNetworkParty } from './find-party.ts';
import { type Objects, podName } from './objects.ts';
import { type Party, type Peer, type Surroundings, seenBy } from './party.ts';
import { type Target, targetKey } from './port.ts';
import { createTracer, type TraceOptions, type Tracer } from './trace.ts';

export interface WorkbenchOptions extends TraceOptions {
  /** The labels of a pod's identity, where the agent narrows them down. */
  readonly labelsOf?: (pod: Pod, namespace: Namespace | undefined) => Labels;
  /** The number a label set has in the cluster, if it has one. */
  readonly identityOf?: (labels: Labels) => IdentityNumber | undefined;
}

/** A packet, by who sends it to whom. */
export interface Packet {
  readonly from: Party;
  readonly to: Party;
  readonly target: Target;
  readonly family: Family;
}
/** What the policies of one side say; undefined: none is about that side. */
export interface Sides {
  readonly egress: Answer | undefined;
  readonly ingress: Answer | undefined;
}

export interface Workbench {
  readonly objects: Objects;
  readonly options: WorkbenchOptions;
  readonly engine: Engine;
  /** What became of each document. */
  readonly documents: readonly DocumentStatus[];
  /** Every pod, by name; those in their node's network are nodes to policies. */
  readonly pods: readonly Party[];
  /** See findParty. */
  party(text: string): Party;
  /** Somebody described by a pod that is not among the objects. */
  imagine(pod: Pod): Party;
  /** Compiles the policies of these parties, all at once: for many questions. */
  prepare(parties: readonly Party[]): void;
  judge(packet: Packet): Sides;
  /** What port names mean on pods of this identity. */
  portsOf(identity: IdentityNumber): readonly NamedPort[];
  /** The rules behind the verdicts. */
  tracer(): Tracer;
  /** The other side as the subject sees it in this direction. */
  peerOf(packet: Packet, direction: Direction): Peer;
}

/** Above every identity a cluster gives out. */
const FIRST_IMAGINED_IDENTITY = 1 << 16;

export function createWorkbench(objects: Objects, options: WorkbenchOptions = {}): Workbench {
  const { clusterName = 'default' } = options;
  const labelsOf = options.labelsOf ?? ((pod, namespace) => podLabels(pod, namespace, { clusterName }));
  const engine = createEngine(options);
  const numbers = new Map<string, IdentityNumber>();
  const ports = new Map<IdentityNumber, NamedPort[]>();
  const added = new Set<SubjectKey>();
  let nextIdentity = options.identityOf ? FIRST_IMAGINED_IDENTITY : FIRST_POD_IDENTITY;
  let judge: Judge | undefined;
  let around: Surroundings | undefined;
  let tracer: Tracer | undefined;

  function identityOf(labels: Labels): IdentityNumber {
    const key = labelsKey(labels);
    const number = numbers.get(key) ?? options.identityOf?.(labels) ?? nextIdentity++;
    if (!numbers.has(key)) engine.upsertIdentity(number, labels);
    numbers.set(key, number);
    return number;
  }

  function addPorts(identity: IdentityNumber, more: readonly NamedPort[]): void {
    const known = ports.get(identity) ?? [];
    const isKnown = (port: NamedPort): boolean => known.some((one) => isDeepStrictEqual(one, port));
    if (more.every(isKnown)) return;
    ports.set(identity, [...known, ...more]);
    engine.setNamedPorts(identity, [...known, ...more]);
  }

  function podParty(pod: Pod): Party {
    const node = nodeOf(pod, objects);
    if (pod.hostNetwork) return hostNetworkParty(pod, node, objects.nodes);
    const labels = labelsOf(pod, objects.namespaces.get(pod.namespace));
    const identity = identityOf(labels);
    const { namedPorts, addresses } = pod;
    addPorts(identity, namedPorts);
    const subject = { identity, labels, namedPorts };
    const name = podName(pod);
    return { name, kind: 'pod', subject, pod, node, entity: undefined, addresses, fixedFamily: undefined, namedPorts };
  }

  for (const node of objects.nodes.values()) engine.upsertNode(node);
  for (const service of objects.services) engine.upsertService(service);
  for (const document of [...(options.lastValid ?? []), ...objects.documents]) engine.upsertDocument(document);
  const pods = objects.pods.map(podParty);

  function prepare(parties: readonly Party[]): void {
    for (const { subject } of parties) {
      if (subject && !added.has(subjectKey(subject))) added.add(engine.addSubject(subject));
    }
    if (judge && !engine.pending()) return;
    engine.take();
    const rows = engine.rows();
    judge = createJudge(rows);
    const prefixes = rows.addressClasses.map(({ prefix }) => prefix);
    const blanks = { 4: blankAddress(4, prefixes), 6: blankAddress(6, prefixes) };
    around = { nodes: objects.nodes, blank: (family) => blanks[family] };
  }

  function peerOf({ from, to, family }: Packet, direction: Direction): Peer {
    if (!around) prepare([from, to]);
    const [subject, peer] = direction === 'egress' ? [from, to] : [to, from];
    return seenBy(subject, peer, family, around as Surroundings);
  }

  function side(packet: Packet, direction: Direction): Answer | undefined {
    const { subject } = direction === 'egress' ? packet.from : packet.to;
    if (!subject) return undefined;
    const policy = engine.policyOf(subjectKey(subject)) ?? POLICY_NONE;
    return (judge as Judge)({ policy, direction, peer: peerOf(packet, direction), ...targetKey(packet.target) });
  }

  return {
    objects,
    options,
    engine,
    get documents() {
      return engine.documents();
    },
    pods,
    party: (text) => findParty(text, { pods, nodes: objects.nodes, imagine: podParty }),
    imagine: podParty,
    prepare,
    judge(packet) {
      prepare([packet.from, packet.to]);
      return { egress: side(packet, 'egress'), ingress: side(packet, 'ingress') };
    },
    portsOf: (identity) => ports.get(identity) ?? [],
    tracer() {
      tracer ??= createTracer(objects, options);
      return tracer;
    },
    peerOf,
  };
}

/** Where nothing says on which node a pod is, and there is only one, it is there. */
function nodeOf(pod: Pod, { nodes }: Objects): string {
  const [only, ...others] = nodes.keys();
  return pod.nodeName || (others.length === 0 ? (only ?? '') : '');
}

/** Both sides let it pass; a side that nothing judges does. */
export function verdictOf({ egress, ingress }: Sides): 'allowed' | 'denied' {
  return egress?.verdict === 'denied' || ingress?.verdict === 'denied' ? 'denied' : 'allowed';
}
