/**
 * A testbed: network namespaces with unique names, the links between them, and programs that run inside. Everything a
 * testbed made is removed by close(), and also when the test process exits or is told to end (SIGTERM, SIGINT) before.
 *
 *     await using bed = await Testbed.open('datapath');
 *     const pod = await bed.netns('pod');
 *     await bed.veth({ name: 'eth0', netns: pod, addresses: ['10.9.0.2/24'] }, { name: bed.linkName(), addresses: ['10.9.0.1/24'] });
 *     const peer = await bed.peer(pod);
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { type CommandOptions, type CommandResult, command, tryCommand } from './command.ts';
import { Peer } from './traffic.ts';
import { until } from './until.ts';

/** One network namespace, bound to /run/netns/NAME as the `ip netns` tools and CNI runtimes do. */
export class Netns {
  readonly name: string;
  /** What CNI_NETNS and nsenter take. */
  readonly path: string;

  constructor(name: string) {
    this.name = name;
    this.path = `/run/netns/${name}`;
  }

  /** The words that run `words` inside. nsenter, because `ip netns exec` (and `ip -n`) also changes mounts: hides bpffs and cgroups. */
  enter(words: readonly string[]): string[] {
    return ['nsenter', `--net=${this.path}`, '--', ...words];
  }

  /** Runs a program inside, resolves with its stdout; rejects on an exit code other than 0. */
  run(words: readonly string[], options?: CommandOptions): Promise<string> {
    return command(this.enter(words), options);
  }

  /** Runs a program inside, whatever its exit code. */
  tryRun(words: readonly string[], options?: CommandOptions): Promise<CommandResult> {
    return tryCommand(this.enter(words), options);
  }

  /** `ip ARGS` inside; with -json its answer is parsed. */
  async ip(args: string): Promise<string> {
    return this.run(['ip', ...args.split(' ')]);
  }

  /** One echo request; true when its reply arrived within `timeoutMs` (from 100 ms up). The address may be of either family. */
  async ping(address: string, timeoutMs = 1000): Promise<boolean> {
    const seconds = String(timeoutMs / 1000);
    const result = await this.tryRun(['ping', '-n', '-q', '-c', '1', '-W', seconds, address]);
    return result.code === 0;
  }

  /** Puts one Ethernet frame on the wire as it is: what a pod with CAP_NET_RAW can do. (Node has no AF_PACKET; python3 is needed for node-gyp anyway.) */
  async sendFrame(link: string, frame: Uint8Array): Promise<void> {
    const script =
      'import socket,sys\ns=socket.socket(socket.AF_PACKET,socket.SOCK_RAW)\ns.bind((sys.argv[1],0))\ns.send(sys.stdin.buffer.read())';
    await this.run(['python3', '-c', script, link], { input: frame });
  }
}

/** One end of a veth pair. */
export interface VethEnd {
  /** At most 15 bytes. In the root namespace use bed.linkName(). */
  readonly name: string;
  /** Absent: the namespace the test itself is in. */
  readonly netns?: Netns;
  /** With prefix length, either family. IPv6 ones are added without duplicate address detection, so they work at once. */
  readonly addresses?: readonly string[];
  readonly mac?: string;
  readonly mtu?: number;
}

let made = 0;

export class Testbed {
  readonly part: string;
  private readonly namespaces: Netns[] = [];
  private readonly links: string[] = [];
  private readonly children: ChildProcess[] = [];
  private readonly peers: Peer[] = [];
  private readonly onExit = () => this.removeNow();

  private constructor(part: string) {
    this.part = part;
  }

  /** `part` names the test in what it makes: `wt-<part>-<pid>-...`. Needs root. */
  static async open(part: string): Promise<Testbed> {
    const bed = new Testbed(part);
    process.on('exit', bed.onExit);
    endOnSignals();
    return bed;
  }

  /** A name nobody else uses, for pins, folders and namespaces: `wt-<part>-<pid>-<n>[-<what>]`. */
  name(what?: string): string {
    made += 1;
    return `wt-${this.part}-${process.pid}-${made}${what === undefined ? '' : `-${what}`}`;
  }

  /** A name for a link in the root namespace; they have at most 15 bytes: `wt<pid>x<n>`. */
  linkName(): string {
    made += 1;
    return `wt${process.pid}x${made}`;
  }

  /** A new namespace with loopback up. */
  async netns(what?: string): Promise<Netns> {
    const netns = new Netns(this.name(what));
    this.namespaces.push(netns);
    await command(['ip', 'netns', 'add', netns.name]);
    await netns.ip('link set lo up');
    return netns;
  }

  async removeNetns(netns: Netns): Promise<void> {
    await command(['ip', 'netns', 'del', netns.name]);
    this.namespaces.splice(this.namespaces.indexOf(netns), 1);
  }

  /** A veth pair, both ends up with their addresses, usable at once. */
  async veth(one: VethEnd, other: VethEnd): Promise<void> {
    this.links.push(...[one, other].filter((end) => end.netns === undefined).map((end) => end.name));
    const side = (end: VethEnd) => [
      'name',
      end.name,
      ...(end.netns === undefined ? [] : ['netns', end.netns.name]),
      ...(end.mac === undefined ? [] : ['address', end.mac]),
      ...(end.mtu === undefined ? [] : ['mtu', String(end.mtu)]),
    ];
    await command([
      'ip',
      'link',
      'add',
      'index',
      String(this.linkIndex()),
      ...side(one),
      'type',
      'veth',
      'peer',
      ...side(other),
    ]);
    for (const end of [one, other]) await bringUp(end);
    for (const end of [one, other]) await operational(end);
  }

  /**
   * Both ends of a veth in new namespaces would get index 2, and linkwatch (net/core/link_watch.c,
   * linkwatch_urgent_event) then takes the pair for a plain device and lets it wait up to a second for its carrier.
   */
  private linkIndex(): number {
    made += 1;
    return 2 ** 30 + (process.pid & 0x3fffff) * 256 + (made & 0xff);
  }

  /** A bridge in `netns` (or the test's own namespace) that `ports` (links already there) are put into. */
  async bridge(name: string, ports: readonly string[], netns?: Netns): Promise<void> {
    const batch = [
      `link add ${name} type bridge`,
      `link set ${name} up`,
      ...ports.map((p) => `link set ${p} master ${name}`),
    ];
    if (netns === undefined) this.links.push(name);
    await ipBatch(batch, netns);
  }

  /** Starts a program that runs until the testbed closes; its output goes to the test's own. */
  spawn(words: readonly string[], netns?: Netns, env: Record<string, string> = {}): ChildProcess {
    const [program, ...args] = netns === undefined ? words : netns.enter(words);
    if (program === undefined) throw new TypeError('a command needs at least the name of a program');
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'], env: { ...process.env, ...env } });
    this.children.push(child);
    return child;
  }

  /** A traffic source and sink inside `netns` (see traffic.ts). */
  async peer(netns: Netns): Promise<Peer> {
    const peer = await Peer.start(netns.enter([]));
    this.peers.push(peer);
    return peer;
  }

  /** Removes everything this testbed made. Safe to call twice. */
  async close(): Promise<void> {
    await Promise.all(this.peers.splice(0).map((peer) => peer.close()));
    this.removeNow();
    process.off('exit', this.onExit);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Synchronous, because it also runs while the process exits. A link that went with its namespace is no error. */
  private removeNow(): void {
    for (const peer of this.peers.splice(0)) peer.kill();
    for (const child of this.children.splice(0)) child.kill('SIGKILL');
    for (const netns of this.namespaces.splice(0)) quietly('ip', 'netns', 'del', netns.name);
    for (const link of this.links.splice(0)) quietly('ip', 'link', 'del', link);
  }
}

async function bringUp(end: VethEnd): Promise<void> {
  const addresses = end.addresses ?? [];
  await ipBatch(
    [
      ...addresses.map((address) => `address add ${address} dev ${end.name}${address.includes(':') ? ' nodad' : ''}`),
      `link set ${end.name} up`,
    ],
    end.netns,
  );
}

function inside(netns: Netns | undefined, words: readonly string[]): readonly string[] {
  return netns === undefined ? words : netns.enter(words);
}

/** IPv6 uses a link only once its operational state is up, which comes after `ip link set up` has returned. */
async function operational(end: VethEnd): Promise<void> {
  const up = async () => {
    const [link] = JSON.parse(await command(inside(end.netns, ['ip', '-j', 'link', 'show', end.name]))) as [
      { operstate: string },
    ];
    return link.operstate === 'UP';
  };
  await until(up, { what: `${end.name} to be up` });
}

async function ipBatch(lines: readonly string[], netns?: Netns): Promise<void> {
  await command(inside(netns, ['ip', '-batch', '-']), { input: `${lines.join('\n')}\n` });
}

function quietly(program: string, ...args: string[]): void {
  try {
    execFileSync(program, args, { stdio: 'ignore' });
  } catch {
    // Gone already, which is what was wanted; what stays is found by the runner's check for leftovers.
  }
}

let listening = false;
/**
 * Ends through process.exit, so that the exit hooks above run when the runner's time limit strikes. The handlers stay: a
 * second signal (timeout(1) sends two) must not kill the process while it cleans up.
 */
export function endOnSignals(): void {
  if (listening) return;
  listening = true;
  process.on('SIGTERM', () => process.exit(143));
  process.on('SIGINT', () => process.exit(130));
}
