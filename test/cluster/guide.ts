/** The guide's pods on two nodes of a real cluster, and every attempt of its truth table (demo/truth-table.ts) between them. */
import { type Attempt, type Party, PODS, SERVED_PORTS, TRUTH_TABLE } from '../../demo/truth-table.ts';
import { tryCommand } from '../kit/command.ts';
import { Peer } from '../kit/traffic.ts';
import { WORLD } from './addresses.ts';
import type { Cluster } from './cluster.ts';
import { connect, podPeer, runPods } from './pods.ts';

const FAMILIES = ['v4', 'v6'] as const;
type Family = (typeof FAMILIES)[number];

/** Backend is alone: all that its policy judges crosses nodes, but for stranger, who is its neighbour. */
const NODE_OF: ReadonlyMap<Party, string> = new Map([
  ['default/frontend', 'node1'],
  ['default/backend', 'node2'],
  ['default/stranger', 'node2'],
  ['database/postgres', 'node1'],
  ['other/frontend', 'node1'],
]);
/** For the readiness probe; no port of the guide's. */
const PROBED_PORT = 9090;
/** How long a denied packet's silence is listened to. */
const SILENCE_MS = 800;
/** Of `kubectl exec` at once. */
const AT_ONCE = 4;

interface GuidePod {
  readonly peer: Peer;
  readonly netns: readonly string[];
  readonly addresses: Readonly<Record<Family, string>>;
}

export class GuideOnCluster {
  readonly cluster: Cluster;
  readonly #pods: ReadonlyMap<Party, GuidePod>;

  private constructor(cluster: Cluster, pods: ReadonlyMap<Party, GuidePod>) {
    this.cluster = cluster;
    this.#pods = pods;
  }

  /** Namespaces, the five pods serving TCP and UDP, a Service for each and family ("backend-v6"), and a way from the world to pods. */
  static async start(cluster: Cluster): Promise<GuideOnCluster> {
    await cluster.apply(
      [...new Set(PODS.map(namespaceOf))]
        .filter((name) => name !== 'default')
        .map(namespace)
        .join('\n---\n'),
    );
    await cluster.apply(PODS.flatMap((party) => FAMILIES.map((family) => service(party, family))).join('\n---\n'));
    const pods = new Map<Party, GuidePod>();
    for (const namespace of new Set(PODS.map(namespaceOf))) {
      const parties = PODS.filter((party) => namespaceOf(party) === namespace);
      const addresses = await runPods(
        cluster,
        parties.map((party) => ({ name: nameOf(party), namespace, node: nodeOf(party), port: PROBED_PORT })),
      );
      for (const party of parties) {
        const [v4 = '', v6 = ''] = addresses.get(nameOf(party)) ?? [];
        const peer = await podPeer(cluster, nameOf(party), namespace);
        const netns = await netnsOf(cluster, party);
        pods.set(party, { peer, netns, addresses: { v4, v6 } });
      }
    }
    const world = cluster.world.enter([]);
    pods.set('world', { peer: await Peer.start(world), netns: world, addresses: { v4: WORLD.v4, v6: WORLD.v6 ?? '' } });
    for (const { peer } of pods.values())
      await Promise.all(SERVED_PORTS.flatMap((port) => [peer.serveTcp(port), peer.serveUdp(port)]));
    // What tries from the world is to get as far as the node.
    await cluster.routeToPods(cluster.lan);
    return new GuideOnCluster(cluster, pods);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#pods.values()].map(({ peer }) => peer.close()));
  }

  /** Each attempt in each family, by address: those that came out otherwise than `expected` says, in words. */
  async wrong(expected: (attempt: Attempt) => boolean = ({ allowed }) => allowed): Promise<string[]> {
    const tried = TRUTH_TABLE.flatMap((attempt) =>
      FAMILIES.map(async (family) => {
        const right = (await this.#passes(attempt, family)) === expected(attempt);
        return right ? [] : [inWords(attempt, family)];
      }),
    );
    return (await Promise.all(tried)).flat();
  }

  /** The same by the names of Services, which the pod asks the cluster's DNS for. ICMP has no Services, the world no names. */
  async wrongByName(expected: (attempt: Attempt) => boolean = ({ allowed }) => allowed): Promise<string[]> {
    const queue = TRUTH_TABLE.filter(
      (attempt) => attempt.protocol !== 'ICMP' && ![attempt.from, attempt.to].includes('world'),
    ).flatMap((attempt) => FAMILIES.map((family) => ({ attempt, family })));
    const found: string[] = [];
    const worker = async () => {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
        const { attempt, family } = next;
        const outcome = await this.connectByName(attempt, family);
        if ((outcome === 'ok') !== expected(attempt)) found.push(`${inWords(attempt, family)}: ${outcome}`);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    return found;
  }

  /** "backend-v6.default", looked up and connected to from the pod. */
  connectByName({ from, to, protocol, port }: Pick<Attempt, 'from' | 'to' | 'protocol' | 'port'>, family: Family) {
    const name = `${nameOf(to)}-${family}.${namespaceOf(to)}`;
    const how = {
      namespace: namespaceOf(from),
      protocol: protocol === 'UDP' ? 'udp' : 'tcp',
      timeoutMs: SILENCE_MS,
    } as const;
    return connect(this.cluster, nameOf(from), name, port, how);
  }

  pod(party: Party): GuidePod {
    const pod = this.#pods.get(party);
    if (pod === undefined) throw new Error(`no pod ${party}`);
    return pod;
  }

  async #passes({ from, to, protocol, port }: Attempt, family: Family): Promise<boolean> {
    const { peer, netns } = this.pod(from);
    const target = { address: this.pod(to).addresses[family], port, timeoutMs: SILENCE_MS };
    if (protocol === 'TCP') return (await peer.tcp(target)) === 'ok';
    if (protocol === 'UDP') return (await peer.udp(target)) === 'ok';
    const ping = ['ping', '-n', '-q', '-c', '1', '-W', String(SILENCE_MS / 1000), target.address];
    return (await tryCommand([...netns, ...ping])).code === 0;
  }
}

function inWords({ from, to, protocol, port, because }: Attempt, family: Family): string {
  return `${from} -> ${to} ${protocol} ${port} ${family} (${because})`;
}

function nodeOf(party: Party): string {
  return NODE_OF.get(party) ?? '';
}

function namespaceOf(party: Party): string {
  return party.split('/')[0] ?? '';
}

function nameOf(party: Party): string {
  return party.split('/')[1] ?? '';
}

function namespace(name: string): string {
  return JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
}

function service(party: Party, family: Family): string {
  const ports = SERVED_PORTS.flatMap((port) =>
    (['TCP', 'UDP'] as const).map((protocol) => ({ name: `${protocol.toLowerCase()}-${port}`, protocol, port })),
  );
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: `${nameOf(party)}-${family}`, namespace: namespaceOf(party) },
    spec: { selector: { app: nameOf(party) }, ipFamilies: [family === 'v4' ? 'IPv4' : 'IPv6'], ports },
  });
}

async function netnsOf(cluster: Cluster, party: Party): Promise<string[]> {
  const node = cluster.nodes.find(({ name }) => name === nodeOf(party));
  const pid = await node?.processOf('agnhost', nameOf(party), namespaceOf(party));
  return ['nsenter', `--net=/proc/${pid}/ns/net`, '--'];
}
