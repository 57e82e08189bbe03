/** What a sysdump holds. Each thing by itself: what cannot be had leaves a file that says why, and hides nothing else. */
import { collectionPath, type Resource } from '../../kubernetes/path.ts';
import { createRateLimit } from '../../kubernetes/rate-limit.ts';
import { createTransport } from '../../kubernetes/transport.ts';
import type { Agents } from '../agents.ts';
import type { Client } from '../client.ts';
import type { Cluster } from '../cluster/cluster.ts';
import { AGENT_SELECTOR, CONTAINER } from '../cluster/places.ts';
import { json } from '../table.ts';
import type { ArchiveFile } from './archive.ts';
import { withoutSecrets } from './without-secrets.ts';

/** Of each agent: file -> what is asked. */
const OF_AGENT: Readonly<Record<string, (client: Client) => Promise<string>>> = {
  'status.json': resource('/v1/status'),
  'endpoints.json': resource('/v1/endpoints'),
  'identities.json': resource('/v1/identities'),
  'policies.json': resource('/v1/policies'),
  'map-ipcache.json': resource('/v1/maps/ipcache'),
  'map-policy.json': resource('/v1/maps/policy'),
  'map-services.json': resource('/v1/maps/services'),
  'map-ct.json': resource('/v1/maps/ct'),
  'flows.json': resource('/v1/flows', { last: '2000' }),
  'metrics.txt': (client) => client.text('/metrics'),
};

const WEIR = 'weir.dev/v1alpha1';
/** Of the cluster, all namespaces. Secrets are not among them. */
const OF_CLUSTER: readonly Resource[] = [
  { apiVersion: 'v1', plural: 'nodes' },
  { apiVersion: 'v1', plural: 'namespaces' },
  { apiVersion: 'v1', plural: 'services' },
  { apiVersion: 'discovery.k8s.io/v1', plural: 'endpointslices' },
  { apiVersion: 'networking.k8s.io/v1', plural: 'networkpolicies' },
  { apiVersion: 'cilium.io/v2', plural: 'ciliumnetworkpolicies' },
  { apiVersion: 'cilium.io/v2', plural: 'ciliumclusterwidenetworkpolicies' },
  ...['weirnodes', 'weiridentities', 'weirendpointslices', 'weiridentityranges', 'weirdenylists'].map((plural) => ({
    apiVersion: WEIR,
    plural,
  })),
];
/** Of the agents' namespace. */
const OF_NAMESPACE: readonly Resource[] = [
  { apiVersion: 'apps/v1', plural: 'daemonsets' },
  { apiVersion: 'v1', plural: 'pods' },
  { apiVersion: 'v1', plural: 'events' },
];
const LOG_LINES = 5000;
const LOG_RATE = { perSecond: 20, burst: 20 };
const DEADLINE_MS = 30_000;

/** In the order in which they come. `onProblem` hears of each file that is only an excuse. */
export async function* gather(agents: Agents, onProblem: (what: string) => void): AsyncGenerator<ArchiveFile> {
  const attempt = async (name: string, read: () => Promise<string>): Promise<ArchiveFile> => {
    try {
      return { name, content: await read() };
    } catch (error) {
      onProblem(`${name}: ${(error as Error).message}`);
      return { name: `${name}.missing.txt`, content: `${(error as Error).message}\n` };
    }
  };
  for (const { node, client, why } of agents.all) {
    const folder = node === '' ? 'agent' : `nodes/${node}`;
    for (const [file, ask] of Object.entries(OF_AGENT)) {
      yield await attempt(`${folder}/${file}`, () =>
        client === undefined ? Promise.reject(new Error(why)) : ask(client),
      );
    }
  }
  if (agents.cluster === undefined) return;
  const { client, namespace } = agents.cluster;
  const list = async (path: string, selectors = {}): Promise<string> =>
    json(withoutSecrets((await client.list(path, { deadlineMs: DEADLINE_MS, ...selectors })).items));
  for (const one of OF_CLUSTER) yield await attempt(`cluster/${one.plural}.json`, () => list(collectionPath(one)));
  for (const one of OF_NAMESPACE) {
    const selectors = one.plural === 'pods' ? { labelSelector: AGENT_SELECTOR } : {};
    yield await attempt(`cluster/${namespace}/${one.plural}.json`, () =>
      list(collectionPath(one, namespace), selectors),
    );
  }
  yield* logs(agents.cluster, attempt);
}

/** Of each agent, and of the one before it where there was one. */
async function* logs(
  { client, connection, namespace }: Cluster,
  attempt: (name: string, read: () => Promise<string>) => Promise<ArchiveFile>,
): AsyncGenerator<ArchiveFile> {
  const transport = createTransport({ connection, rateLimit: createRateLimit(LOG_RATE) });
  const pods = collectionPath({ apiVersion: 'v1', plural: 'pods' }, namespace);
  const read = async (pod: string, previous: boolean): Promise<string> => {
    const query = new URLSearchParams({
      container: CONTAINER,
      tailLines: String(LOG_LINES),
      previous: String(previous),
    });
    const path = `${pods}/${encodeURIComponent(pod)}/log?${query}`;
    const answer = await transport.stream({ method: 'GET', path, deadlineMs: DEADLINE_MS });
    const chunks: Buffer[] = [];
    for await (const chunk of answer) chunks.push(chunk as Buffer);
    return Buffer.concat(chunks).toString();
  };
  try {
    const { items } = await client.list<LoggedPod>(pods, { deadlineMs: DEADLINE_MS, labelSelector: AGENT_SELECTOR });
    for (const { metadata, status } of items) {
      const pod = metadata.name;
      yield await attempt(`logs/${pod}.log`, () => read(pod, false));
      if ((status?.containerStatuses ?? []).some(({ restartCount }) => restartCount > 0)) {
        yield await attempt(`logs/${pod}.previous.log`, () => read(pod, true));
      }
    }
  } finally {
    transport.close();
  }
}

interface LoggedPod {
  readonly metadata: { readonly name: string };
  readonly status?: { readonly containerStatuses?: readonly { readonly restartCount: number }[] };
}

function resource(path: string, query: Readonly<Record<string, string>> = {}): (client: Client) => Promise<string> {
  return async (client) => json(await client.get<object>(path, query));
}
