/** Pods for tests, and what they say of each other. They run agnhost, which has a shell too. */
import type { CommandResult } from '../kit/command.ts';
import { Peer } from '../kit/traffic.ts';
import type { Cluster } from './cluster.ts';
import { AGNHOST_IMAGE } from './images.ts';
import { endOf, joined } from './program.ts';

export interface PodWish {
  readonly name: string;
  /** Default "default". */
  readonly namespace?: string;
  /** Where it is to run; absent: the scheduler's choice. */
  readonly node?: string | undefined;
  readonly labels?: Readonly<Record<string, string>>;
  /** Served by agnhost netexec: HTTP (/hostname, /clientip), and as many UDP. Default 8080. */
  readonly port?: number;
  readonly hostNetwork?: boolean;
}

/** A pod that serves on a port and can be told to connect elsewhere. */
export function podManifest({
  name,
  namespace = 'default',
  node,
  labels = {},
  port = 8080,
  hostNetwork = false,
}: PodWish) {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace, labels: { app: name, ...labels } },
    spec: {
      hostNetwork,
      terminationGracePeriodSeconds: 0,
      ...(node === undefined ? {} : { nodeSelector: { 'kubernetes.io/hostname': node } }),
      containers: [
        {
          name: 'agnhost',
          image: AGNHOST_IMAGE,
          imagePullPolicy: 'Never',
          args: ['netexec', `--http-port=${port}`, `--udp-port=${port}`],
          ports: [{ name: 'http', containerPort: port }],
          readinessProbe: { httpGet: { path: '/healthz', port }, periodSeconds: 1 },
        },
      ],
    },
  };
}

/** Applies them and waits until they are Ready. Their addresses by name, of each family the cluster has. */
export async function runPods(cluster: Cluster, wishes: readonly PodWish[]): Promise<Map<string, string[]>> {
  await cluster.apply(wishes.map((wish) => JSON.stringify(podManifest(wish))).join('\n---\n'));
  const addresses = new Map<string, string[]>();
  await Promise.all(
    wishes.map(async ({ name, namespace = 'default' }) => {
      const wait = ['wait', '-n', namespace, '--for=condition=Ready', `pod/${name}`, '--timeout=60s'];
      const { code, stderr } = await cluster.tryKubectl(...wait);
      if (code !== 0) throw new Error(`${stderr}\n${await historyOf(cluster, name, namespace)}`);
      const { status } = await cluster.get<{ status: { podIPs: { ip: string }[] } }>('pod', '-n', namespace, name);
      addresses.set(
        name,
        status.podIPs.map(({ ip }) => ip),
      );
    }),
  );
  return addresses;
}

const AGENT_LOGS = ['logs', '-n', 'kube-system', '-l', 'k8s-app=weir', '-c', 'weir-agent', '--prefix', '--tail=20'];

/** Why it does not run: what Kubernetes says of it, and the last its node's programs said. */
async function historyOf(cluster: Cluster, pod: string, namespace: string): Promise<string> {
  const { stdout } = await cluster.tryKubectl('describe', 'pod', '-n', namespace, pod);
  const node = cluster.nodes.find(({ name }) => stdout.includes(`${name}/`));
  if (node === undefined) return stdout;
  const agents = await cluster.tryKubectl(...AGENT_LOGS);
  return [
    stdout,
    ...['containerd:', endOf(node.log('containerd')), 'kubelet:', endOf(node.log('kubelet'))],
    ...['agents:', agents.stdout],
  ].join('\n');
}

/**
 * A source and sink of traffic inside a pod (test/kit/traffic.ts): a process in its network namespace and in its node's control
 * group. A hundred connections take what one `kubectl exec` does. Close it.
 */
export async function podPeer(cluster: Cluster, pod: string, namespace = 'default'): Promise<Peer> {
  const { spec } = await cluster.get<{ spec: { nodeName: string } }>('pod', '-n', namespace, pod);
  const node = cluster.nodes.find(({ name }) => name === spec.nodeName);
  if (node === undefined)
    throw new Error(`pod ${namespace}/${pod} runs on no node of this cluster: "${spec.nodeName}"`);
  const pid = await node.processOf('agnhost', pod, namespace);
  return Peer.start(joined(`${node.cgroup}/system`, ['nsenter', `--net=/proc/${pid}/ns/net`, '--'], []));
}

/** What a connection came to: agnhost's own words, ok instead of nothing. */
export type Outcome = 'ok' | 'TIMEOUT' | 'REFUSED' | 'DNS' | 'OTHER';

/** One TCP connection from a pod, or a datagram and its answer. `host` may be a name or an address of either family. */
export async function connect(
  cluster: Cluster,
  pod: string,
  host: string,
  port = 8080,
  {
    namespace = 'default',
    timeoutMs = 1000,
    protocol = 'tcp',
  }: { namespace?: string; timeoutMs?: number; protocol?: 'tcp' | 'udp' } = {},
): Promise<Outcome> {
  const target = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
  const words = ['/agnhost', 'connect', `--protocol=${protocol}`, `--timeout=${timeoutMs}ms`, target];
  const result = await cluster.tryKubectl('exec', '-n', namespace, pod, '--', ...words);
  return outcomeOf(result);
}

function outcomeOf({ code, stdout, stderr }: CommandResult): Outcome {
  if (code === 0) return 'ok';
  const word = /^(TIMEOUT|REFUSED|DNS|OTHER)/m.exec(stdout + stderr)?.[1];
  // Everything else says that kubectl itself failed.
  if (word === undefined) throw new Error(`kubectl exec: exit code ${code}: ${stdout}${stderr}`);
  return word as Outcome;
}
