/**
 * What people ask of the policies of now: answered on a bench of its own, from the objects and documents the agent works
 * with, so that neither the engine nor the kernel is touched. Pods of other nodes are judged too: their policies are known.
 */
import type { State } from '../api/state.ts';
import { WeirError } from '../errors.ts';
import { RESERVED_IDENTITIES } from '../model/identity.ts';
import { type Labels, labelsKey } from '../model/labels.ts';
import type { Document, Pod } from '../model/object.ts';
import { nodeAddresses } from '../model/router-address.ts';
import { explain } from '../policy/explain/explain.ts';
import { matrix, readMatrixQuestion } from '../policy/matrix.ts';
import { byName, type Objects, podName } from '../policy/workbench/objects.ts';
import { readPort } from '../policy/workbench/port.ts';
import { createWorkbench, type Workbench, type WorkbenchOptions } from '../policy/workbench/workbench.ts';
import type { Desired } from './desired.ts';
import { publishedPod } from './published-pod.ts';

export interface QuestionOptions {
  readonly desired: Desired;
  readonly nodeName: string;
  /** The settings and documents of the engine in force, and its time. */
  readonly policy: () => WorkbenchOptions;
}

/** Pairs of parties, times ports, that are judged for one answer: about a second's work. */
const MOST_MATRIX_QUESTIONS = 50_000;

export function createQuestions({ desired, nodeName, policy }: QuestionOptions): Pick<State, 'explain' | 'matrix'> {
  /** Without `namespaces` all documents count, else those of these namespaces and the clusterwide ones. */
  function bench(namespaces?: ReadonlySet<string>): Workbench {
    const numbers = new Map([...desired.identities.labels].map(([number, labels]) => [labelsKey(labels), number]));
    const identityOf = (labels: Labels): number | undefined => numbers.get(labelsKey(labels));
    const objects = objectsNow(desired, nodeName);
    const counts = ({ ref }: Document): boolean => !namespaces || ref.namespace === '' || namespaces.has(ref.namespace);
    const documents = objects.documents.filter(counts);
    const present = new Set(documents);
    const options = policy();
    const lastValid = options.lastValid?.filter((one) => counts(one) && !present.has(one)) ?? [];
    return createWorkbench({ ...objects, documents }, { ...options, lastValid, identityOf });
  }
  return {
    explain({ from, to, port }) {
      const question = readPort(port);
      // Documents are what costs: first who is meant, then only theirs.
      const everybody = bench(new Set());
      const parties = [everybody.party(from), everybody.party(to)];
      const on = bench(new Set(parties.flatMap(({ pod }) => pod?.namespace ?? [])));
      return explain(on, { from: on.party(from), to: on.party(to), port: question });
    },
    matrix(ports, peers) {
      const on = bench();
      const question = readMatrixQuestion(on, ports, peers);
      const parties = on.pods.length + question.peers.length;
      const questions = parties * parties * question.ports.length;
      if (questions > MOST_MATRIX_QUESTIONS) {
        const hint = 'ask about fewer ports, or use weir policy matrix --manifests';
        const message = `${parties} parties and ${question.ports.length} ports are ${questions} questions, more than ${MOST_MATRIX_QUESTIONS}: ${hint}`;
        throw new WeirError('TOO_LARGE', 'judge every pair', message);
      }
      return [...matrix(on, question)];
    },
  };
}

/** Pods wired here have the addresses they were given, whether or not their status shows them already. */
function objectsNow(desired: Desired, nodeName: string): Objects {
  const { inventory, members, peers, services } = desired;
  const published = desired.remote
    .list()
    .map((one) => publishedPod(one, desired.identities.labels.get(one.endpoint.identity)));
  const pods = new Map<string, Pod>([...published.map((pod) => [podName(pod), pod] as const), ...inventory.pods]);
  for (const { record, pod } of members.values()) {
    if (pod) pods.set(podName(pod), { ...pod, addresses: record.addresses, nodeName });
  }
  const nodes = new Map(
    [...inventory.nodes].map(([name, node]) => [name, { ...node, addresses: nodeAddresses(node) }]),
  );
  const own = nodes.get(nodeName) ?? { name: nodeName, labels: {}, podCidrs: [], addresses: [] };
  const local = peers.rows().filter(({ identity }) => identity === RESERVED_IDENTITIES.host);
  const addresses = [...new Set([...own.addresses, ...local.map(({ address }) => address)])];
  nodes.set(nodeName, { ...own, addresses });
  return {
    namespaces: inventory.namespaces,
    pods: byName(pods.values()),
    nodes,
    services: [...inventory.services.values()],
    serviceAddresses: new Map(
      [...inventory.services.values()].map(({ namespace, name }) => [
        `${namespace}/${name}`,
        services.addressesWithoutSelector(namespace, name),
      ]),
    ),
    documents: [...inventory.documents.values()],
  };
}
