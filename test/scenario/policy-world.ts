/** A scenario of the oracle put into the engine: identities for label sets, peers for parties, documents as they are. */
import type { Address } from '../../agent/model/address.ts';
import { type IdentityNumber, OUTSIDE_API_SERVER, RESERVED_IDENTITIES } from '../../agent/model/identity.ts';
import { type Labels, labelsKey } from '../../agent/model/labels.ts';
import type { Document, NamedPort, ObjectRef } from '../../agent/model/object.ts';
import { podLabels } from '../../agent/model/pod-labels.ts';
import type { PolicyDelta, PolicyRows } from '../../agent/model/verdict.ts';
import { createEngine, type Engine } from '../../agent/policy/engine.ts';
import type { Question } from '../../agent/policy/evaluate.ts';
import type { SubjectKey } from '../../agent/policy/subject.ts';
import { tableKeys } from '../../agent/policy/tables.ts';
import { random as seeded } from '../kit/random.ts';
import { CLUSTER_NAME, type Packet, type RawDocument, type Scenario } from '../oracle/scenario.ts';

export interface World {
  readonly engine: Engine;
  /** The tables as somebody has them who only ever applied the deltas. */
  readonly rows: PolicyRows;
  question(packet: Packet): Question;
}

export function documentOf(raw: RawDocument): Document {
  const { name, namespace = '', annotations = {} } = raw.metadata;
  const ref: ObjectRef = { apiVersion: raw.apiVersion, kind: raw.kind, namespace, name, uid: '' };
  return { ref, annotations, raw, origin: { place: `${name}.yaml`, line: () => undefined } };
}

/** Everything the scenario needs of the engine, in an order that depends on the seed, with detours that must not matter. */
export function buildWorld(scenario: Scenario, seed: number): World {
  const random = seeded(seed);
  const { enforcement } = scenario;
  const engine = createEngine({
    enforcement,
    clusterName: CLUSTER_NAME,
    now: scenario.now - 3_600_000 * random.int(3),
  });
  const identities = numberIdentities(scenario);
  const subjects = new Map<string, SubjectKey>();
  const mirror = createMirror();
  const detours = [...scenario.documents]
    .reverse()
    .map((raw) => renamed(raw, random.pick(scenario.documents).metadata.name));

  const settle = (): void => mirror.apply(engine.take());
  /** Compiling ahead, stopped somewhere in the middle: what comes next must find nothing half done. */
  const begin = (): void => {
    let steps = random.int(200);
    engine.prepare(() => steps-- > 0);
  };
  const facts: (() => void)[] = [
    ...[...identities.byNumber].map(([number, { labels, ports }]) => () => {
      engine.upsertIdentity(number, labels);
      engine.setNamedPorts(number, ports);
    }),
    ...scenario.pods.map((pod) => () => {
      const key = `${pod.namespace}/${pod.name}`;
      const number = identities.ofPod(key);
      const { labels } = identities.byNumber.get(number) as Identity;
      subjects.set(key, engine.addSubject({ identity: number, labels, namedPorts: pod.ports }));
    }),
    ...scenario.nodes.map((node) => () => {
      const { name, labels, ipv4, ipv6 } = node;
      engine.upsertNode({ name, labels, addresses: [ipv4 as Address, ipv6 as Address], podCidrs: [] });
    }),
    ...scenario.services.map((service) => () => {
      engine.upsertService({
        ...service,
        selector: service.selector,
        clusterIps: [],
        ports: [],
        affinitySeconds: 0,
        localOnly: false,
      });
    }),
  ];
  const final = scenario.documents.map((raw) => () => void engine.upsertDocument(documentOf(raw)));
  // What must leave no trace: identity, node and documents that come and go.
  const noise: (() => void)[] = [
    ...detours.map((raw) => () => void engine.upsertDocument(documentOf(raw))),
    () => engine.upsertIdentity(60_000, new Map([['k8s:app', 'frontend']])),
    () =>
      engine.upsertNode({
        name: 'gone',
        labels: { zone: 'east' },
        addresses: ['192.168.0.77' as Address],
        podCidrs: [],
      }),
  ];
  const undo: (() => void)[] = [
    ...detours.map((raw) => () => engine.removeDocument(documentOf(raw).ref)),
    () => engine.removeIdentity(60_000),
    () => engine.removeNode('gone'),
  ];
  const early = facts.filter(() => random.chance(0.5));
  const late = facts.filter((step) => !early.includes(step));
  for (const phase of [[...early, ...noise], undo, [...late, ...final]]) {
    for (const step of random.shuffled(phase)) {
      step();
      if (random.chance(0.3)) begin();
      if (random.chance(0.2)) settle();
    }
  }
  settle();
  // Each of these is undone before the next, so nothing else can hide what it leaves behind.
  for (const [number, { labels, ports }] of random.some([...identities.byNumber], 0, 2)) {
    engine.upsertIdentity(number, new Map([...labels, ['k8s:app', 'detour'], ['k8s:env', 'prod']]));
    engine.setNamedPorts(number, [{ name: 'http', protocol: 'TCP', port: 80 }]);
    begin();
    settle();
    engine.upsertIdentity(number, labels);
    engine.setNamedPorts(number, ports);
  }
  for (const raw of random.some(scenario.documents, 0, 2)) {
    engine.upsertDocument(documentOf(renamed(raw, 'passing')));
    if (random.chance(0.5)) settle();
    else begin();
    engine.removeDocument(documentOf(renamed(raw, 'passing')).ref);
  }
  engine.setNow(scenario.now);
  settle();
  return {
    engine,
    rows: mirror.rows(),
    question: ({ direction, subject, peer, family, protocol, port }) => {
      const policy = engine.policyOf(subjects.get(subject) as SubjectKey) ?? 0;
      return { policy, direction, protocol, port, peer: peerOf(scenario, identities, peer, family) };
    },
  };
}

/** Another document under some other name, so that a later document replaces it, or it has to be removed. */
function renamed(raw: RawDocument, name: string): RawDocument {
  return { ...raw, metadata: { ...raw.metadata, name } };
}

interface Identity {
  readonly labels: Labels;
  readonly ports: readonly NamedPort[];
}
interface Identities {
  readonly byNumber: ReadonlyMap<IdentityNumber, Identity>;
  ofPod(key: string): IdentityNumber;
}

function numberIdentities(scenario: Scenario): Identities {
  const numbers = new Map<string, IdentityNumber>();
  const byNumber = new Map<IdentityNumber, Identity>();
  const byPod = new Map<string, IdentityNumber>();
  for (const pod of scenario.pods) {
    const namespace = scenario.namespaces.find(({ name }) => name === pod.namespace);
    const labels = podLabels(pod, namespace, { clusterName: CLUSTER_NAME });
    const number = numbers.get(labelsKey(labels)) ?? 256 + numbers.size;
    numbers.set(labelsKey(labels), number);
    byNumber.set(number, { labels, ports: [...(byNumber.get(number)?.ports ?? []), ...pod.ports] });
    byPod.set(`${pod.namespace}/${pod.name}`, number);
  }
  return { byNumber, ofPod: (key) => byPod.get(key) as IdentityNumber };
}

function peerOf(scenario: Scenario, identities: Identities, peer: Packet['peer'], family: 4 | 6): Question['peer'] {
  const pick = (from: { ipv4: string; ipv6: string }): Address => (family === 4 ? from.ipv4 : from.ipv6) as Address;
  const reserved = RESERVED_IDENTITIES;
  switch (peer.type) {
    case 'pod': {
      const pod = scenario.pods.find(({ namespace, name }) => `${namespace}/${name}` === peer.pod);
      if (!pod) throw new Error(`the scenario has no pod ${peer.pod}`);
      return { identity: identities.ofPod(peer.pod), address: pick(pod), kind: 'pod' };
    }
    case 'node': {
      const node = scenario.nodes.find(({ name }) => name === peer.node);
      if (!node) throw new Error(`the scenario has no node ${peer.node}`);
      const identity = node === scenario.nodes[0] ? reserved.host : reserved['remote-node'];
      return { identity, address: pick(node), kind: 'node' };
    }
    case 'unmanaged':
      return { identity: reserved.unmanaged, address: pick(peer), kind: 'pod' };
    case 'outside': {
      const world = family === 4 ? reserved['world-ipv4'] : reserved['world-ipv6'];
      return { identity: peer.apiServer ? OUTSIDE_API_SERVER : world, address: pick(peer), kind: 'outside' };
    }
  }
}

interface Mirror {
  apply(delta: PolicyDelta): void;
  rows(): PolicyRows;
}

type Name = keyof PolicyRows;
const NAMES = Object.keys(tableKeys) as Name[];

/** What the kernel would hold: checks that nothing is removed that is not there, and nothing replaced without need. */
export function createMirror(): Mirror {
  const tables = new Map(NAMES.map((name) => [name, new Map<string | number, unknown>()]));
  const keyOf = (name: Name, row: unknown): string | number =>
    (tableKeys[name] as (row: unknown) => string | number)(row);
  return {
    apply(delta) {
      for (const name of NAMES) {
        const table = tables.get(name) as Map<string | number, unknown>;
        for (const row of delta.set[name]) table.set(keyOf(name, row), row);
        for (const row of delta.remove[name]) {
          if (!table.delete(keyOf(name, row))) throw new Error(`${name} ${keyOf(name, row)} was removed but never set`);
        }
      }
    },
    rows: () =>
      Object.fromEntries(NAMES.map((name) => [name, [...(tables.get(name)?.values() ?? [])]])) as unknown as PolicyRows,
  };
}
