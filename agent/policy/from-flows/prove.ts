/** The proof of generated policies: the recorded flows, judged by the engine itself with these policies and no others. */
import { judged, type RecordedFlow } from '../diff-flows.ts';
import { createWorkbench, type Workbench, type WorkbenchOptions } from '../workbench/workbench.ts';
import type { GeneratedPolicy } from './generate.ts';

/** A bench on which only these policies are; parties come as they are asked about. */
export function benchOf(policies: readonly GeneratedPolicy[], options: WorkbenchOptions): Workbench {
  const documents = policies.map((policy) => ({
    ref: { apiVersion: policy.apiVersion, kind: policy.kind, ...policy.metadata, uid: '' },
    annotations: {},
    raw: policy,
    origin: { place: '', line: () => undefined },
  }));
  const none = { namespaces: new Map(), nodes: new Map(), pods: [], services: [], serviceAddresses: new Map() };
  return createWorkbench({ ...none, documents }, options);
}

/** Those of the flows that were let through and that the policies deny; what the engine refuses of the policies throws. */
export function deniedOf<Flow extends RecordedFlow>(bench: Workbench, flows: Iterable<Flow>): Flow[] {
  const refused = bench.documents.filter(({ status }) => status !== 'valid');
  if (refused.length > 0) {
    const why = refused.flatMap(({ ref, problems }) => problems.map(({ message }) => `${ref.name}: ${message}`));
    throw new TypeError(`the generated policies are no valid policies: ${why.join('; ')}`);
  }
  const known = new Map<string, boolean>();
  return [...flows].filter((flow) => {
    if (flow.verdict === 'DROPPED') return false;
    const key = JSON.stringify([flow.from, flow.to, flow.target]);
    const isDenied = known.get(key) ?? judged(bench, flow) === 'denied';
    known.set(key, isDenied);
    return isDenied;
  });
}
