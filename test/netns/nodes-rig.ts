/**
 * Nodes of a cluster without the rest of the agent: each a network namespace on one bridge, with the real datapath in a
 * process of its own (node-datapath.ts) and pods that it wires. What agent/network makes in the product (VXLAN device,
 * routes, router address) is made here by hand. The test is all agents.
 *
 *     node n: 192.0.2.n, 2001:db8::n    its pods: 10.61.n.0/24, fd61:0:0:n::/64    its router address: .1, ::1
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { DatapathRows, DeviceProgram, NodeAttachment, PodWiring } from '../../agent/datapath/datapath.ts';
import type { Address, Prefix } from '../../agent/model/address.ts';
import type { PolicyRow } from '../../agent/model/verdict.ts';
import { type Netns, Testbed } from '../kit/netns.ts';
import type { Packet } from '../kit/packet.ts';
import type { Peer } from '../kit/traffic.ts';
import { allowAll, CLOSED } from './policy-rows.ts';

const PROGRAM = fileURLToPath(new URL('./node-datapath.ts', import.meta.url));
export const TUNNEL = 'weir-vxlan';
export const PORT = 8472;
const UNDERLAY_MTU = 1500;
const OVERHEAD = { 4: 50, 6: 70 } as const;
const POLICY = 20;
const SET = 5;
const CLASS = 7;
/** Lets in whom {@link RigNode.admitted} names, nobody else. */
export const ADMITTING: PolicyRow = {
  ...allowAll(POLICY),
  ingress: { ...CLOSED, selectorSet: SET },
};

export interface SeenEvent {
  readonly type: string;
  readonly reason: string;
  readonly source: string;
  readonly destination: string;
  readonly port: number;
  readonly protocol: number;
  readonly identity: readonly [number, number];
  readonly length: number;
}

export interface NodePod {
  readonly wiring: PodWiring;
  readonly netns: Netns;
  readonly node: RigNode;
  readonly ipv4: Address;
  readonly ipv6: Address;
  readonly identity: number;
  readonly peer: Peer;
}

export interface ClusterOptions {
  readonly mode: 'tunnel' | 'native';
  /** Of the tunnel's outer packets. */
  readonly underlay?: 4 | 6;
  readonly attach?: 'auto' | 'clsact';
  readonly xdp?: 'auto' | 'native';
  readonly masquerade?: boolean;
}

/** The datapath process of one node. */
class DatapathProcess {
  private readonly child: ChildProcess;
  private readonly waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  private last = 0;

  constructor(child: ChildProcess) {
    this.child = child;
    if (child.stdout === null) throw new Error('the datapath process needs its stdout');
    createInterface({ input: child.stdout }).on('line', (line) => {
      const { id, result, error } = JSON.parse(line) as { id: number; result?: unknown; error?: string };
      const waiter = this.waiting.get(id);
      this.waiting.delete(id);
      if (error === undefined) waiter?.resolve(result);
      else waiter?.reject(new Error(error));
    });
    child.on('exit', (code) => {
      for (const { reject } of this.waiting.values()) reject(new Error(`the datapath process ended with code ${code}`));
    });
  }

  ask(method: string, ...words: unknown[]): Promise<unknown> {
    this.last += 1;
    const id = this.last;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.child.stdin?.write(`${JSON.stringify({ id, method, words })}\n`);
    });
  }

  async close(signal?: 'SIGKILL'): Promise<void> {
    const ended = new Promise((resolve) => this.child.once('exit', resolve));
    if (signal) this.child.kill(signal);
    else this.child.stdin?.end();
    await ended;
  }
}

export class RigNode {
  readonly number: number;
  readonly netns: Netns;
  readonly ipv4: Address;
  readonly ipv6: Address;
  readonly podCidrs: readonly Prefix[];
  readonly routers: readonly Address[];
  readonly pods: NodePod[] = [];
  readonly pinDirectory: string;
  private readonly attachMode: 'auto' | 'clsact';
  /** In force from the next start on. */
  xdpMode: 'auto' | 'native';
  private process: DatapathProcess;
  /** What all its pods have. */
  policy: PolicyRow = allowAll(POLICY);
  /** Identities its pods let in although they are isolated. */
  admitted: readonly number[] = [];

  constructor(number: number, netns: Netns, pinDirectory: string, options: ClusterOptions) {
    this.number = number;
    this.netns = netns;
    this.ipv4 = `192.0.2.${number}` as Address;
    this.ipv6 = `2001:db8::${number}` as Address;
    this.podCidrs = [`10.61.${number}.0/24`, `fd61:0:0:${number}::/64`] as Prefix[];
    this.routers = [`10.61.${number}.1`, `fd61:0:0:${number}::1`] as Address[];
    this.pinDirectory = pinDirectory;
    this.attachMode = options.attach ?? 'auto';
    this.xdpMode = options.xdp ?? 'auto';
    this.process = this.start();
  }

  private start(): DatapathProcess {
    const [program = '', ...words] = this.netns.enter([process.execPath, PROGRAM, this.pinDirectory]);
    const env = { ...process.env, WEIR_TEST_ATTACH: this.attachMode, WEIR_TEST_XDP: this.xdpMode };
    return new DatapathProcess(spawn(program, words, { stdio: ['pipe', 'pipe', 'inherit'], env }));
  }

  replace = (rows: DatapathRows) => this.process.ask('replace', rows);
  wire = (wiring: PodWiring) => this.process.ask('wire', wiring);
  attach = (attachment: NodeAttachment) => this.process.ask('attachNode', attachment) as Promise<string[]>;
  detach = () => this.process.ask('detachNode');
  devicePrograms = () => this.process.ask('devicePrograms') as Promise<DeviceProgram[]>;
  deny = (prefixes: readonly string[]) => this.process.ask('setDenyCidrs', prefixes);
  read = () => this.process.ask('read') as Promise<DatapathRows>;
  /** Since the last call. */
  events = () => this.process.ask('events') as Promise<SeenEvent[]>;
  /** Packets by "reason/direction", without what pods' kernels say before they have an endpoint row. */
  async drops(): Promise<Record<string, number>> {
    const all = (await this.process.ask('drops')) as Record<string, number>;
    return Object.fromEntries(Object.entries(all).filter(([name]) => !name.startsWith('unknown_endpoint/')));
  }

  /** The next agent on the same pins. */
  async restart(how?: 'SIGKILL'): Promise<void> {
    await this.process.close(how);
    this.process = this.start();
  }

  async close(): Promise<void> {
    await this.process.close();
    rmSync(this.pinDirectory, { recursive: true, force: true });
  }
}

export class Cluster {
  readonly bed: Testbed;
  readonly nodes: RigNode[] = [];
  /** A machine on the same network that is no node. */
  readonly outsider: Netns;
  private readonly options: ClusterOptions;
  /** The bridge that all are on: node n by portn, the outsider by port100. */
  readonly fabric: Netns;
  private readonly pinDirectories: string[] = [];
  private readonly onExit = (): void => {
    for (const directory of this.pinDirectories) rmSync(directory, { recursive: true, force: true });
  };

  private constructor(bed: Testbed, options: ClusterOptions, fabric: Netns, outsider: Netns) {
    this.bed = bed;
    this.options = options;
    this.fabric = fabric;
    this.outsider = outsider;
    process.on('exit', this.onExit);
  }

  static async start(part: string, count: number, options: ClusterOptions): Promise<Cluster> {
    const bed = await Testbed.open(part);
    const fabric = await bed.netns('fabric');
    await bed.bridge('br0', [], fabric);
    const outsider = await bed.netns('outsider');
    const cluster = new Cluster(bed, options, fabric, outsider);
    await cluster.plug('port100', outsider, ['192.0.2.100/24', '2001:db8::100/64']);
    for (let number = 1; number <= count; number++) await cluster.addNode(number);
    return cluster;
  }

  /** A pod on each of the first two nodes, which know each other; both answer on TCP 80 and UDP 53. */
  async servers(): Promise<readonly [NodePod, NodePod]> {
    const pods = [await this.pod(this.node1, 11), await this.pod(this.node2, 12)] as const;
    await this.settle();
    for (const { peer } of pods) {
      await peer.serveTcp(80);
      await peer.serveUdp(53);
    }
    return pods;
  }

  get node1(): RigNode {
    return this.nodes[0] as RigNode;
  }
  get node2(): RigNode {
    return this.nodes[1] as RigNode;
  }

  /** Link-local addresses can be used at once: neighbours are asked from them on behalf of pods. */
  private async plug(port: string, netns: Netns, addresses: string[]): Promise<void> {
    await netns.run(['sysctl', '-qw', 'net.ipv6.conf.default.accept_dad=0']);
    await this.bed.veth({ name: 'eth0', netns, addresses }, { name: port, netns: this.fabric });
    await this.fabric.ip(`link set ${port} master br0`);
  }

  private async addNode(number: number): Promise<void> {
    const netns = await this.bed.netns(`node${number}`);
    await this.plug(`port${number}`, netns, [`192.0.2.${number}/24`, `2001:db8::${number}/64`]);
    const pinDirectory = `/sys/fs/bpf/${this.bed.name(`pins${number}`)}`;
    this.pinDirectories.push(pinDirectory);
    const node = new RigNode(number, netns, pinDirectory, this.options);
    const [router4, router6] = node.routers;
    await netns.ip(`address add ${router4}/32 dev lo`);
    await netns.ip(`address add ${router6}/128 dev lo nodad`);
    if (this.options.mode === 'tunnel') {
      await netns.ip(`link add ${TUNNEL} type vxlan external dstport ${PORT} nolearning`);
      await netns.ip(`link set ${TUNNEL} mtu ${this.pathMtu} arp off up`);
    }
    for (const other of this.nodes) {
      await this.route(node, other);
      await this.route(other, node);
    }
    this.nodes.push(node);
  }

  /** From a node's own processes (and, without a tunnel, its pods) to the pods of another. */
  private async route(from: RigNode, to: RigNode): Promise<void> {
    for (const [i, via] of [to.ipv4, to.ipv6].entries()) {
      const way = this.options.mode === 'tunnel' ? `dev ${TUNNEL}` : `via ${via}`;
      await from.netns.ip(`route add ${to.podCidrs[i]} ${way} src ${from.routers[i]}`);
    }
  }

  get pathMtu(): number {
    return this.options.mode === 'native' ? UNDERLAY_MTU : UNDERLAY_MTU - OVERHEAD[this.options.underlay ?? 4];
  }

  attachment(node: RigNode): NodeAttachment {
    return {
      uplinks: ['eth0'],
      tunnel: this.options.mode === 'tunnel' ? TUNNEL : undefined,
      tunnelPort: PORT,
      cgroup: undefined,
      podCidrs: node.podCidrs,
      pathMtu: this.pathMtu,
      masquerade: this.options.masquerade ?? false,
      masqueradeExcluded: [],
    };
  }

  /** What a node's agent would write. `without`: pods whose addresses have not been heard of yet. */
  rows(node: RigNode, without: readonly NodePod[] = []): DatapathRows {
    const far = (other: RigNode) => (this.options.mode === 'tunnel' && other !== node ? { node: other.number } : {});
    const pods = this.nodes.flatMap((one) => one.pods);
    const others = this.nodes.filter((one) => one !== node);
    const host = { identity: 1, endpoint: 0, kind: 'node' } as const;
    return {
      policy: {
        policies: [node.policy],
        verdicts:
          node.admitted.length === 0
            ? []
            : [
                {
                  policy: POLICY,
                  classId: CLASS,
                  direction: 'ingress',
                  protocol: undefined,
                  port: 0,
                  portBits: 0,
                  enforced: [undefined, { action: 'allow', precedence: 1, rule: 1 }, undefined],
                  audited: [undefined, undefined, undefined],
                },
              ],
        identityClasses: node.admitted.map((identity) => ({ set: SET, identity, classId: CLASS })),
        addressClasses: [],
        identities: [3, 6, ...pods.map(({ identity }) => identity)],
        subjects: [],
      },
      endpoints: node.pods.map(({ wiring, identity }) => ({
        id: wiring.id,
        identity,
        policy: POLICY,
        mac: wiring.mac,
        addresses: wiring.addresses,
      })),
      peers: [
        ...[node.ipv4, node.ipv6, ...node.routers].map((address) => ({ address, ...host })),
        ...others.flatMap((other) => [
          ...[other.ipv4, other.ipv6].map((address) => ({ address, ...host, identity: 6 })),
          ...other.routers.map((address) => ({ address, ...host, identity: 6, ...far(other) })),
        ]),
        ...pods
          .filter((pod) => !without.includes(pod))
          .flatMap((pod) =>
            pod.wiring.addresses.map((address) => ({
              address,
              identity: pod.identity,
              endpoint: pod.node === node ? pod.wiring.id : 0,
              kind: 'pod' as const,
              ...far(pod.node),
            })),
          ),
      ],
      ranges: this.nodes.flatMap((one) =>
        one.podCidrs.map((prefix) => ({ prefix, identity: 3, kind: 'pod' as const, ...far(one) })),
      ),
      ...(this.options.mode === 'tunnel' && {
        nodes: others.map((other) => ({
          number: other.number,
          address: this.options.underlay === 6 ? other.ipv6 : other.ipv4,
          sources: [other.ipv4, other.ipv6],
        })),
      }),
    };
  }

  /** MAC of a device of a namespace. */
  async macOf(netns: Netns, device = 'eth0'): Promise<string> {
    const [link] = JSON.parse(await netns.ip(`-json link show ${device}`)) as { address: string }[];
    if (!link) throw new Error(`${netns.name} has no ${device}`);
    return link.address;
  }

  /** Puts a frame on the underlay, from a namespace on it to a node. */
  async inject(from: Netns, to: RigNode, packet: Packet): Promise<void> {
    const frame = packet.between(await this.macOf(from), await this.macOf(to.netns)).bytes();
    await from.sendFrame('eth0', frame);
  }

  /** Everybody knows everything: rows written, programs attached. */
  async settle(): Promise<void> {
    await Promise.all(
      this.nodes.map(async (node) => {
        await node.replace(this.rows(node));
        await node.attach(this.attachment(node));
      }),
    );
  }

  async pod(node: RigNode, id: number, more: { mtu?: number; identity?: number } = {}): Promise<NodePod> {
    const netns = await this.bed.netns(`pod${node.number}-${id}`);
    const addresses = [`10.61.${node.number}.${id}`, `fd61:0:0:${node.number}::${id.toString(16)}`] as Address[];
    const wiring: PodWiring = {
      id,
      netns: netns.path,
      interfaceName: 'eth0',
      hostInterface: `weirt${id}`,
      mac: `0a:00:00:61:0${node.number}:${id.toString(16).padStart(2, '0')}`,
      addresses,
      mtu: more.mtu ?? this.pathMtu,
    };
    await node.wire(wiring);
    const [ipv4, ipv6] = addresses as [Address, Address];
    const identity = more.identity ?? 1000 * node.number + id;
    const pod = { wiring, netns, node, ipv4, ipv6, identity, peer: await this.bed.peer(netns) };
    node.pods.push(pod);
    return pod;
  }

  async close(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.close()));
    await this.bed.close();
    this.onExit();
    process.off('exit', this.onExit);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
