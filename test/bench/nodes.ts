/**
 * From pod to pod across nodes, native and through the tunnel, against plain kernel routing and a plain kernel VXLAN
 * between the same namespaces; and a Service's ClusterIP against the pod behind it, however many Services there are.
 */
import type { KubernetesObject } from '../../agent/kubernetes/client.ts';
import { until } from '../kit/until.ts';
import { create, inParallel } from '../scale/crowd.ts';
import type { Bench } from './bench.ts';
import { type Figure, figureOf, noiseOf } from './figure.ts';
import { SERVER_PORTS } from './load.ts';
import { baselineAround, compare, type NetworkWorkload } from './network.ts';
import { NAMESPACE, plainNodes, type RoutingMode, type WeirNodes, weirNodes } from './nodes-sites.ts';
import { contest, numbers, type Sample } from './rounds.ts';
import { IPERF_PORT, type Site } from './site.ts';
import { iperf } from './w1-stream.ts';

const SERVICES = [1, 1000, 10_000];
const SERVICES_QUICKLY = [1, 200];

export async function nodes(bench: Bench): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const mode of ['native', 'tunnel'] as const) {
    await using closing = new AsyncDisposableStack();
    const weir = await weirNodes(mode, closing);
    const plain = await plainNodes(bench.bed, mode);
    await bench.serve(weir.site);
    await bench.serve(plain);
    const sites = { ours: weir.site, bare: plain, others: [] };
    for (const workload of workloads(bench, mode)) figures.push(...(await compare(sites, workload, bench.rounds)));
    // Translation is the same in both modes; here least else is in its way.
    if (mode === 'native') figures.push(...(await services(bench, weir)));
  }
  return figures;
}

interface Run {
  readonly what: string;
  /** In the sample: what is to be as much as possible. */
  readonly key: string;
  readonly unit: string;
  run(site: Site): Promise<Sample>;
}

function runs({ load, seconds }: Bench): Run[] {
  return [
    { what: 'stream', key: 'gbitPerSecond', unit: 'Gbit/s', run: (site) => iperf(site, 1, seconds) },
    {
      ...{ what: 'request/response', key: 'perSecond', unit: '1/s' },
      run: (site) => load.requestResponse(site.client, site.ipv4, 1, seconds),
    },
    {
      ...{ what: 'connections', key: 'perSecond', unit: '1/s' },
      run: (site) => load.connections(site.client, site.ipv4, 8, seconds),
    },
  ];
}

function workloads(bench: Bench, mode: RoutingMode): NetworkWorkload[] {
  return runs(bench).map(({ what, key, unit, run }) => ({
    workload: 'nodes',
    variants: [{ name: mode, run }],
    metrics: [
      { key, metric: what, unit, better: 'more', goal: { ratioAtLeast: 0.97 } },
      key === 'gbitPerSecond'
        ? { key: 'cpuPerGb', metric: `${what} CPU`, unit: 's/GB', better: 'less' }
        : { key: 'cpuUs', metric: `${what} CPU`, unit: 'us', better: 'less' },
    ],
  }));
}

/** ClusterIP against the pod itself, and that ratio against the same with one Service. */
async function services(bench: Bench, weir: WeirNodes): Promise<Figure[]> {
  const figures: Figure[] = [];
  const atOne = new Map<string, number[]>();
  let made = 0;
  const address = await firstService(weir);
  for (const count of bench.quick ? SERVICES_QUICKLY : SERVICES) {
    await moreServices(weir, made === 0 ? 1 : made, count);
    made = count;
    const some = count === 1 ? '1 Service' : `${count} Services`;
    for (const { what, key, unit, run } of runs(bench)) {
      const virtual = { ...weir.site, ipv4: address };
      const result = await contest(
        {
          ours: { name: 'ClusterIP', run: () => run(virtual) },
          baseline: { name: 'direct', run: () => run(weir.site) },
        },
        bench.rounds,
      );
      const [ours, direct] = [numbers(result.ours, key), baselineAround(result, key)];
      const noise = noiseOf(numbers(result.baseline, key), numbers(result.again, key));
      const metric = { workload: 'nodes', better: 'more' } as const;
      figures.push(
        figureOf(
          { ...metric, metric: `${what} to a ClusterIP, ${some}`, unit, goal: { ratioAtLeast: 0.97 } },
          { ours, baseline: direct, baselineName: 'the pod', noise },
        ),
      );
      const ratios = ours.map((value, round) => value / (direct[round] ?? Number.NaN));
      const first = atOne.get(what);
      if (first === undefined) atOne.set(what, ratios);
      else
        figures.push(
          figureOf(
            { ...metric, metric: `the same, ${what}`, unit: 'of direct', goal: { ratioAtLeast: 0.95 } },
            { ours: ratios, baseline: first, baselineName: '1 Service', noise },
          ),
        );
    }
  }
  return figures;
}

/** The one that is measured: all ports of the servers. Returns its address. */
async function firstService(weir: WeirNodes): Promise<string> {
  const ports = [Number(IPERF_PORT), ...Array.from({ length: SERVER_PORTS.count }, (_, i) => SERVER_PORTS.first + i)];
  return makeService(weir, 0, ports);
}

/** Services up to `count`, each with its EndpointSlice; resolves when the last one works. */
async function moreServices(weir: WeirNodes, from: number, count: number): Promise<void> {
  const { first } = SERVER_PORTS;
  let last = '';
  await inParallel(
    Array.from({ length: Math.max(0, count - from) }, (_, i) => from + i),
    async (number) => {
      last = await makeService(weir, number, [first]);
    },
  );
  const held = async () => {
    const { maps } = await weir.clientNode.getJson<{ maps: readonly { name: string; entries: number }[] }>(
      '/v1/status',
    );
    return (maps.find(({ name }) => name === 'services')?.entries ?? 0) >= count;
  };
  await until(held, { what: `${count} Services in the kernel`, timeoutMs: 120_000, everyMs: 200 });
  if (last === '') return;
  await until(async () => (await answers(weir.site, last, first)) === true, {
    what: `${last}:${first} to answer`,
    timeoutMs: 60_000,
    everyMs: 200,
  });
}

async function answers({ client }: Site, address: string, port: number): Promise<boolean> {
  return (await client.tryRun(['timeout', '2', 'bash', '-c', `exec 3<>/dev/tcp/${address}/${port}`])).code === 0;
}

async function makeService(
  { client, serverPod }: WeirNodes,
  number: number,
  ports: readonly number[],
): Promise<string> {
  const name = `service-${number}`;
  const named = ports.map((port) => ({ name: `p${port}`, protocol: 'TCP', port }));
  const service = (await create(client, {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: NAMESPACE },
    spec: { selector: { app: 'server' }, ports: named },
  } as KubernetesObject)) as KubernetesObject & { readonly spec: { readonly clusterIP: string } };
  const targetRef = { kind: 'Pod', namespace: NAMESPACE, name: serverPod.name };
  await create(client, {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name, namespace: NAMESPACE, labels: { 'kubernetes.io/service-name': name } },
    ...{ addressType: 'IPv4', ports: named },
    endpoints: [{ addresses: [serverPod.ipv4], conditions: { ready: true }, nodeName: 'node2', targetRef }],
  } as KubernetesObject);
  return service.spec.clusterIP;
}
