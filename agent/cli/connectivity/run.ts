/** Makes the world of a connectivity test, tries what scenarios ask for, and takes the world away again. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { PoliciesAnswer } from '../../api/policies.ts';
import type { NodeObject } from '../../cluster/objects.ts';
import { ApiError } from '../../kubernetes/api-error.ts';
import type { KubernetesObject } from '../../kubernetes/client.ts';
import { collectionPath, objectPath, type Resource } from '../../kubernetes/path.ts';
import type { Agents } from '../agents.ts';
import type { Cluster } from '../cluster/cluster.ts';
import { run } from '../cluster/exec.ts';
import { runsLinux } from '../cluster/places.ts';
import { CliError } from '../command.ts';
import { nodesWithout, POLICY_RESOURCES } from '../policy/in-force.ts';
import { type Probe, type Result, readResults, scriptOf } from './probe.ts';
import { type Addresses, allProbes } from './probes.ts';
import type { TestReport } from './report.ts';
import type { Scenario } from './scenarios.ts';
import { CONTAINER, manifestsOf, podsOf, type WorldOptions } from './world.ts';

const NAMESPACES: Resource = { apiVersion: 'v1', plural: 'namespaces' };
const NODES: Resource = { apiVersion: 'v1', plural: 'nodes' };
const PODS: Resource = { apiVersion: 'v1', plural: 'pods' };
const SERVICES: Resource = { apiVersion: 'v1', plural: 'services' };

export interface RunOptions extends WorldOptions {
  readonly cluster: Cluster;
  readonly agents: Agents;
  /** "HOST:PORT" outside. */
  readonly externalTarget: string | undefined;
  /** How long a connection may take before it counts as denied. */
  readonly timeoutMs: number;
  /** How long pods may take to be Ready, and policies to be in force. */
  readonly patienceMs: number;
  readonly signal: AbortSignal;
  say(line: string): void;
}

/** Nodes that take pods, at most two. Throws CliError when there is none. */
export async function chooseNodes({ client }: Cluster): Promise<string[]> {
  const { items } = await client.list<NodeObject & { readonly spec?: { readonly unschedulable?: boolean } }>(
    collectionPath(NODES),
  );
  const usable = items.filter(runsLinux).filter(({ spec, status }) => {
    const isReady = status?.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True') === true;
    const isTainted = spec?.taints?.some(({ effect }) => effect !== 'PreferNoSchedule') === true;
    return isReady && !isTainted && spec?.unschedulable !== true;
  });
  if (usable.length === 0) throw new CliError('no node takes pods: none is Ready and without taints');
  return usable
    .map(({ metadata }) => metadata.name ?? '')
    .sort()
    .slice(0, 2);
}

/** Creates everything; resolves with the addresses when all pods are Ready. */
export async function makeWorld(options: RunOptions): Promise<Addresses> {
  const { cluster, namespace, signal, patienceMs } = options;
  const { client } = cluster;
  for (const { path, object } of manifestsOf(options)) await client.create(path, object, { signal });
  const wanted = podsOf(options).length;
  const pods = await waitFor(
    async () => {
      const { items } = await client.list<TestPodObject>(collectionPath(PODS, namespace), { signal });
      const waiting = items.filter((pod) => !isReady(pod));
      return items.length === wanted && waiting.length === 0
        ? { done: items }
        : { why: `pods are not Ready: ${waiting.map(stateOf).join('; ')}` };
    },
    patienceMs,
    signal,
  );
  const { items: services } = await client.list<ServiceObject>(collectionPath(SERVICES, namespace), { signal });
  return {
    pods: new Map(
      pods.map(({ metadata, status }) => [metadata.name ?? '', (status?.podIPs ?? []).map(({ ip }) => ip)]),
    ),
    services: new Map(services.map(({ metadata, spec }) => [metadata.name ?? '', spec?.clusterIPs ?? []])),
  };
}

/** Deletes the namespace and waits until it is gone: also after Ctrl-C, so not by the signal. */
export async function removeWorld({ cluster, namespace }: Pick<RunOptions, 'cluster' | 'namespace'>): Promise<void> {
  const path = objectPath(NAMESPACES, '', namespace);
  const isGone = async (): Promise<{ done: true } | { why: string }> => {
    try {
      await cluster.client.get(path);
      return { why: `namespace ${namespace} is still there` };
    } catch (error) {
      if (error instanceof ApiError && error.code === 'NOT_FOUND') return { done: true };
      throw error;
    }
  };
  await cluster.client.remove(path).catch((error) => {
    if (!(error instanceof ApiError && error.code === 'NOT_FOUND')) throw error;
  });
  await waitFor(isGone, REMOVAL_MS);
}
const REMOVAL_MS = 120_000;

/** One test, from applying its policies to their being gone again everywhere. */
export async function runScenario(
  options: RunOptions,
  addresses: Addresses,
  scenario: Scenario,
  isChosen: (probe: Probe) => boolean,
): Promise<TestReport> {
  const started = performance.now();
  const { name, sentence } = scenario;
  const probes = allProbes(podsOf(options), addresses, options.externalTarget).filter(
    (probe) => (scenario.actions?.includes(probe.action) ?? true) && isChosen(probe),
  );
  const report = { name, sentence, results: [] as TestReport['results'] };
  const seconds = () => (performance.now() - started) / 1000;
  try {
    await applyPolicies(options, scenario.policies);
    const results = await tryAll(options, probes, scenario);
    return { ...report, results, seconds: seconds() };
  } catch (error) {
    if (options.signal.aborted) throw error;
    return { ...report, error: (error as Error).message, seconds: seconds() };
  } finally {
    if (!options.signal.aborted) await removePolicies(options, scenario.policies);
  }
}

interface PolicyObject extends KubernetesObject {
  readonly kind: string;
}

async function applyPolicies(options: RunOptions, policies: readonly object[]): Promise<void> {
  const { cluster, namespace, agents, patienceMs, signal } = options;
  for (const policy of policies as readonly PolicyObject[]) {
    const created = await cluster.client.create<PolicyObject>(pathOf(policy, namespace), policy, { signal });
    const { name = '', generation = 0 } = created.metadata;
    const wanted = { kind: policy.kind, namespace, name, generation };
    await waitFor(
      async () => {
        const behind = await nodesWithout(agents, wanted);
        if (behind.length === 0) return { done: true };
        return { why: `${name} is not in force: ${behind.map(({ node, why }) => `${node}: ${why}`).join('; ')}` };
      },
      patienceMs,
      signal,
    );
  }
}

async function removePolicies(options: RunOptions, policies: readonly object[]): Promise<void> {
  const { cluster, namespace, agents, patienceMs, signal } = options;
  if (policies.length === 0) return;
  for (const policy of policies as readonly PolicyObject[]) {
    const path = `${pathOf(policy, namespace)}/${policy.metadata.name}`;
    await cluster.client.remove(path).catch((error) => {
      // It was never made: the test has failed with the reason already.
      if (!(error instanceof ApiError && error.code === 'NOT_FOUND')) throw error;
    });
  }
  await waitFor(
    async () => {
      const { answers, silent } = await agents.ask(async (client) => {
        const { policies: left } = await client.get<PoliciesAnswer>('/v1/policies');
        const { revision } = await client.get<{ revision: { desired: number; realized: number } }>('/v1/status');
        return !left.some((one) => one.namespace === namespace) && revision.realized >= revision.desired;
      });
      const late = [...silent, ...answers.filter(({ value }) => !value)].map(({ node }) => node);
      return late.length === 0 ? { done: true } : { why: `policies are still in force on ${late.join(', ')}` };
    },
    patienceMs,
    signal,
  );
}

function pathOf({ kind }: PolicyObject, namespace: string): string {
  const resource = POLICY_RESOURCES.find((each) => each.kind === kind);
  if (!resource) throw new CliError(`no policy is of kind ${kind}`);
  return collectionPath(resource, resource.clusterWide ? '' : namespace);
}

/** A connection that should work gets so many tries: an address may be minutes old on this node and not yet on that one. */
const TRIES = 3;
const BETWEEN_TRIES_MS = 500;

async function tryAll(
  options: RunOptions,
  probes: readonly Probe[],
  { allows }: Scenario,
): Promise<TestReport['results']> {
  const expected = (probe: Probe) => (allows(probe) ? 'allowed' : 'denied');
  let results = await probeAll(options, probes);
  for (let tries = 1; tries < TRIES; tries++) {
    const again = results.filter(({ probe, outcome }) => allows(probe) && outcome !== 'allowed');
    if (again.length === 0) break;
    await sleep(BETWEEN_TRIES_MS, undefined, { signal: options.signal });
    const retried = new Map(
      (
        await probeAll(
          options,
          again.map(({ probe }) => probe),
        )
      ).map((result) => [result.probe, result]),
    );
    results = results.map((result) => retried.get(result.probe) ?? result);
  }
  return results.map((result) => ({ ...result, expected: expected(result.probe) }));
}

/** All pods at once, each with all of its probes at once. */
async function probeAll(options: RunOptions, probes: readonly Probe[]): Promise<Result[]> {
  const { cluster, namespace, timeoutMs, signal } = options;
  const byPod = [...Map.groupBy(probes, ({ from }) => from)];
  const results = await Promise.all(
    byPod.map(async ([pod, own]) => {
      const program = { namespace, pod, container: CONTAINER, words: scriptOf(own, timeoutMs), signal };
      const { code, stdout, stderr, reason } = await run(cluster.connection, program);
      signal.throwIfAborted();
      if (code !== 0) throw new CliError(`the probes of pod ${pod} did not run: ${stderr || reason}`);
      return readResults(own, stdout);
    }),
  );
  return results.flat();
}

interface TestPodObject extends KubernetesObject {
  readonly status?: {
    readonly podIPs?: readonly { readonly ip: string }[];
    readonly phase?: string;
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
    readonly containerStatuses?: readonly {
      readonly state?: { readonly waiting?: { readonly reason?: string; readonly message?: string } };
    }[];
  };
}

interface ServiceObject extends KubernetesObject {
  readonly spec?: { readonly clusterIPs?: readonly string[] };
}

function isReady({ status }: TestPodObject): boolean {
  return status?.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True') === true;
}

/** "client: ImagePullBackOff (...)". */
function stateOf({ metadata, status }: TestPodObject): string {
  const waiting = status?.containerStatuses?.[0]?.state?.waiting;
  const why = waiting?.message ? `${waiting.reason} (${waiting.message})` : waiting?.reason;
  return `${metadata.name}: ${why ?? status?.phase ?? 'unknown'}`;
}

const LOOK_EVERY_MS = 300;

async function waitFor<T>(
  look: () => Promise<{ readonly done: T } | { readonly why: string }>,
  patienceMs: number,
  signal?: AbortSignal,
): Promise<T> {
  const end = performance.now() + patienceMs;
  for (;;) {
    const seen = await look();
    if ('done' in seen) return seen.done;
    if (performance.now() > end) throw new CliError(`after ${patienceMs / 1000} s ${seen.why}`);
    await sleep(LOOK_EVERY_MS, undefined, signal ? { signal } : {});
  }
}
