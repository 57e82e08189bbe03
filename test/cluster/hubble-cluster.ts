/** A cluster with the stock hubble-relay over two agents, the guide's pods, and a client for each server that can be asked. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Attempt, type Party, TRUTH_TABLE } from '../../demo/truth-table.ts';
import { tryCommand } from '../kit/command.ts';
import { type PrintedFlow, StockHubble } from '../kit/stock-hubble.ts';
import { type Cluster, clusterName } from './cluster.ts';
import { GuideOnCluster } from './guide.ts';
import { RELAY_IMAGE, relayImage } from './images.ts';
import { guidePolicies } from './policy-documents.ts';
import { NAMESPACE, startWeirCluster } from './weir.ts';

export const FAMILIES = ['v4', 'v6'] as const;
export type Family = (typeof FAMILIES)[number];
/** How long a denied packet's silence is listened to. */
const SILENCE_MS = 800;
const TLS_PORT = 4244;

/** One attempt as it was made: its ports tell its flows from all others. */
export interface Sent extends Attempt {
  readonly family: Family;
  readonly sourcePort: number;
  /** By the ClusterIP of a Service: what the pod asked for, beside `destination`, where it went. */
  readonly service: string | undefined;
  readonly source: string;
  readonly destination: string;
}

export class HubbleCluster implements AsyncDisposable {
  readonly cluster: Cluster;
  readonly guide: GuideOnCluster;
  /** For certificates and the clients' settings. */
  readonly folder: string;
  /** The node each of the guide's pods runs on. */
  readonly nodeOf: ReadonlyMap<Party, string>;
  /** The stock relay's address. */
  readonly relay: string;
  #lastPort = 41_000;

  private constructor(
    cluster: Cluster,
    guide: GuideOnCluster,
    folder: string,
    nodeOf: ReadonlyMap<Party, string>,
    relay: string,
  ) {
    this.cluster = cluster;
    this.guide = guide;
    this.folder = folder;
    this.nodeOf = nodeOf;
    this.relay = relay;
  }

  /** The relay is on node1: node2 can be taken away under it. */
  static async start(): Promise<HubbleCluster> {
    const cluster = await startWeirCluster({
      name: clusterName('hubble'),
      nodes: 2,
      routingMode: 'tunnel',
      images: [await relayImage()],
      values: [
        'hubble.relay.enabled=true',
        `hubble.relay.image.repository=${RELAY_IMAGE.split(':')[0]}`,
        'hubble.relay.image.pullPolicy=Never',
        'hubble.relay.nodeSelector.kubernetes\\.io/hostname=node1',
      ],
    });
    try {
      return await HubbleCluster.over(cluster);
    } catch (error) {
      await cluster.down();
      throw error;
    }
  }

  static async over(cluster: Cluster): Promise<HubbleCluster> {
    const guide = await GuideOnCluster.start(cluster);
    await cluster.apply((await guidePolicies()).CiliumNetworkPolicy);
    const { items } = await cluster.get<{
      items: { metadata: { namespace: string; name: string }; spec: { nodeName: string }; status: { podIP: string } }[];
    }>('pods', '-A');
    const nodeOf = new Map(
      items.map(({ metadata, spec }) => [`${metadata.namespace}/${metadata.name}` as Party, spec.nodeName]),
    );
    const relay = items.find(({ metadata }) => metadata.name.startsWith('hubble-relay-'))?.status.podIP;
    const folder = await mkdtemp(join(tmpdir(), 'wt-hubble-cluster-'));
    await writeSecret(cluster, 'hubble-relay-client-certs', folder);
    return new HubbleCluster(cluster, guide, folder, nodeOf, `${relay}:4245`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.guide.close();
    await rm(this.folder, { recursive: true, force: true });
    await this.cluster.down();
  }

  /** The agent's socket, as root on its node. */
  socket(node: string): StockHubble {
    return this.#client({ server: `unix://${this.#node(node).path('/run/weir/hubble.sock')}` });
  }

  /** The agent's TLS port, from node1. */
  tls(node: string, flags: readonly string[] = this.certificates(node)): StockHubble {
    return this.#client({
      server: `${this.#node(node).addresses.v4}:${TLS_PORT}`,
      flags,
      netns: this.#node('node1').netns,
    });
  }

  /** Flags of a client who has the relay's certificate. */
  certificates(node: string): string[] {
    const file = (name: string) => join(this.folder, name);
    return [
      ...['--tls', '--tls-server-name', `${node}.default.hubble-grpc.cilium.io`],
      ...['--tls-ca-cert-files', file('ca.crt')],
      ...['--tls-client-cert-file', file('tls.crt'), '--tls-client-key-file', file('tls.key')],
    ];
  }

  /** The stock relay, from node1. */
  get relayed(): StockHubble {
    return this.#client({ server: this.relay, netns: this.#node('node1').netns });
  }

  /** Every attempt of the guide's truth table in both families, by address, and those with ports by ClusterIP too. */
  async sendAll(): Promise<Sent[]> {
    const sent: Sent[] = [];
    for (const attempt of TRUTH_TABLE) {
      for (const family of FAMILIES) {
        sent.push(await this.send(attempt, family, false));
        const hasService = attempt.protocol !== 'ICMP' && ![attempt.from, attempt.to].includes('world');
        if (hasService) sent.push(await this.send(attempt, family, true));
      }
    }
    return sent;
  }

  async send(attempt: Attempt, family: Family, byService: boolean): Promise<Sent> {
    const { from, to, protocol, port } = attempt;
    const { peer, netns, addresses } = this.guide.pod(from);
    const destination = this.guide.pod(to).addresses[family];
    const service = byService ? await this.#clusterIp(to, family) : undefined;
    const sourcePort = protocol === 'ICMP' ? 0 : ++this.#lastPort;
    const target = { address: service ?? destination, port, sourcePort, timeoutMs: SILENCE_MS };
    let passed: boolean;
    if (protocol === 'ICMP') {
      const ping = ['ping', '-n', '-q', '-c', '1', '-W', String(SILENCE_MS / 1000), destination];
      passed = (await tryCommand([...netns, ...ping])).code === 0;
    } else passed = (await (protocol === 'TCP' ? peer.tcp(target) : peer.udp(target))) === 'ok';
    if (passed !== attempt.allowed)
      throw new Error(`${from} -> ${to} ${protocol} ${port} ${family}: passed ${passed}, not what the policy says`);
    return { ...attempt, family, sourcePort, service, source: addresses[family], destination };
  }

  async #clusterIp(party: Party, family: Family): Promise<string> {
    const [namespace = '', name] = party.split('/');
    const { spec } = await this.cluster.get<{ spec: { clusterIP: string } }>(
      'service',
      '-n',
      namespace,
      `${name}-${family}`,
    );
    return spec.clusterIP;
  }

  #client(how: Omit<ConstructorParameters<typeof StockHubble>[0], 'home'>): StockHubble {
    return new StockHubble({ ...how, home: this.folder });
  }

  #node(name: string) {
    const node = this.cluster.nodes.find((one) => one.name === name);
    if (node === undefined) throw new Error(`no node ${name}`);
    return node;
  }
}

/** In the attempt's own direction. */
export function isOf(sent: Sent, flow: PrintedFlow): boolean {
  const l4 = sent.protocol !== 'ICMP' ? sent.protocol : sent.family === 'v4' ? 'ICMPv4' : 'ICMPv6';
  const ports = flow.l4?.[l4];
  return (
    flow.IP?.source === sent.source &&
    flow.IP.destination === sent.destination &&
    ports !== undefined &&
    (ports.source_port ?? 0) === sent.sourcePort &&
    (ports.destination_port ?? 0) === sent.port &&
    flow.is_reply === false
  );
}

/** Where an attempt is seen, and as what: "node1 EGRESS FORWARDED". The guide's policy isolates backend both ways, and nobody else. */
export function expectedOf({ from, to, allowed }: Attempt, nodeOf: ReadonlyMap<Party, string>): string[] {
  const [here, there] = [nodeOf.get(from), nodeOf.get(to)];
  if (!allowed && from === 'default/backend') return [`${here} EGRESS DROPPED`];
  const sent = here === undefined ? [] : [`${here} EGRESS FORWARDED`];
  const arrived = there === undefined ? [] : [`${there} INGRESS ${allowed ? 'FORWARDED' : 'DROPPED'}`];
  // Within a node a packet is judged for both sides at once, and told once.
  if (here === there) return allowed ? sent : arrived;
  return [...sent, ...arrived].sort();
}

/** A Secret's entries as files of a folder. */
async function writeSecret(cluster: Cluster, name: string, folder: string): Promise<void> {
  const { data } = await cluster.get<{ data: Record<string, string> }>('secret', '-n', NAMESPACE, name);
  for (const [file, text] of Object.entries(data)) await writeFile(join(folder, file), Buffer.from(text, 'base64'));
}
