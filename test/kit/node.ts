/**
 * A node under test: a network namespace with the real agent in it, a second one that stands for the world outside, and
 * pods wired by the real CNI binary, as a container runtime would do it.
 *
 *     await using node = await NodeUnderTest.start('policy', { manifests: { 'pods.yaml': '...' } });
 *     const web = await node.addPod('default', 'web');
 *     const client = await node.addPod('default', 'client');
 *     await web.peer.serveTcp(80);
 *     assert.is(await client.peer.tcp({ address: web.ipv4, port: 80 }), 'ok');
 *
 * All of it is removed by close(), and also when the process ends before.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, readFile, rename, rm, unlink, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type CommandResult, tryCommand } from './command.ts';
import { type Netns, Testbed } from './netns.ts';
import type { Peer } from './traffic.ts';
import { until } from './until.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** WEIR_TEST_AGENT: another build of it, e.g. the bundle. Read late: a bench sets it after its imports. */
const agentProgram = (): string => process.env.WEIR_TEST_AGENT ?? join(ROOT, 'agent/main.ts');
/** As setup/weir-agent starts it: garbage of requests is collected early rather than kept. */
const NODE_FLAGS = ['--max-semi-space-size=2'];
const CLI = join(ROOT, 'agent/cli/main.ts');
const CNI_BINARY = join(ROOT, 'cni/build/weir-cni');

export const WORLD = { ipv4: '198.51.100.2', ipv6: '2001:db8:100::2' } as const;
export const NODE = { ipv4: '198.51.100.1', ipv6: '2001:db8:100::1' } as const;

export interface NodeOptions {
  /** File name -> text of the manifests directory at start. */
  readonly manifests: Readonly<Record<string, string>>;
  /** More flags for the agent. */
  readonly flags?: readonly string[];
  /** Where the agent's log goes: 'inherit' shows it. */
  readonly log?: 'inherit' | 'file';
  /** Where it stands, when others made that and remove it (node-network.ts). Else a node and a world of its own. */
  readonly place?: { readonly bed: Testbed; readonly netns: Netns; readonly world: Netns; readonly nodeName: string };
}

/** A pod wired by the CNI binary. */
export interface PodUnderTest {
  readonly namespace: string;
  readonly name: string;
  readonly netns: Netns;
  readonly containerId: string;
  readonly ipv4: string;
  readonly ipv6: string;
  readonly peer: Peer;
}

export interface CniCall {
  readonly command: 'ADD' | 'DEL' | 'CHECK' | 'GC' | 'STATUS' | 'VERSION';
  readonly containerId?: string;
  readonly netns?: string;
  readonly interfaceName?: string;
  readonly args?: string;
  readonly config?: Record<string, unknown>;
}

/** Not closed yet. Where the process ends before (a signal, an error nobody caught), its exit closes them. */
const open = new Set<NodeUnderTest>();
process.on('exit', () => {
  for (const node of open) node.removeNow();
});

export class NodeUnderTest {
  readonly bed: Testbed;
  /** The node itself. */
  readonly netns: Netns;
  /** Another machine on the node's network. */
  readonly world: Netns;
  readonly folder: string;
  readonly manifests: string;
  readonly apiSocket: string;
  readonly pinFolder: string;
  readonly pods: PodUnderTest[] = [];
  private agent: ChildProcess | undefined;
  private readonly options: NodeOptions;

  private constructor(bed: Testbed, netns: Netns, world: Netns, folder: string, options: NodeOptions) {
    this.bed = bed;
    this.netns = netns;
    this.world = world;
    this.folder = folder;
    this.manifests = join(folder, 'manifests');
    this.apiSocket = join(folder, 'run/api.sock');
    this.pinFolder = `/sys/fs/bpf/${netns.name}`;
    this.options = options;
    open.add(this);
  }

  static async start(part: string, options: NodeOptions): Promise<NodeUnderTest> {
    const bed = options.place?.bed ?? (await Testbed.open(part));
    let node: NodeUnderTest | undefined;
    try {
      const { netns, world } = options.place ?? (await ownPlace(bed));
      const folder = await mkdtemp(join(tmpdir(), `${netns.name}-`));
      node = new NodeUnderTest(bed, netns, world, folder, options);
      await mkdir(join(folder, 'bin'));
      await mkdir(node.manifests);
      for (const [name, text] of Object.entries(options.manifests)) await node.writeManifest(name, text);
      await copyFile(CNI_BINARY, join(folder, 'bin/weir-cni'));
      await writeFile(
        join(folder, 'bin/weir-cni.socket'),
        `${join(folder, 'run/cni.sock')}\n${join(folder, 'state/cni-queue')}\n`,
      );
      await node.startAgent();
      return node;
    } catch (error) {
      await (node ?? (options.place === undefined ? bed : undefined))?.close();
      throw error;
    }
  }

  /** Starts the agent and waits until it says it is ready. */
  async startAgent(): Promise<void> {
    await this.launchAgent();
    await this.ready();
  }

  /** Starts the agent without waiting. */
  async launchAgent(): Promise<void> {
    const words = this.netns.enter([process.execPath, ...NODE_FLAGS, agentProgram(), ...this.flags()]);
    const [program = '', ...args] = words;
    const inherit = this.options.log === 'inherit' || process.env.WEIR_TEST_LOG === '1';
    const agent = spawn(program, args, { stdio: ['ignore', 'ignore', inherit ? 'inherit' : 'pipe'] });
    this.agent = agent;
    if (agent.stderr) agent.stderr.on('data', (chunk: Buffer) => this.keep(chunk));
  }

  /** Runs one more agent with the same settings to its end, in the checkout. `words` go before its own: `unshare --mount`, say. */
  runAgent(words: readonly string[] = []): Promise<CommandResult> {
    const all = [...words, process.execPath, agentProgram(), ...this.flags()];
    return tryCommand(this.netns.enter(all), { timeoutMs: 20_000, cwd: ROOT });
  }

  /** Resolves when /healthz says so; rejects with the agent's log when it ends before. */
  async ready(timeoutMs = 20_000): Promise<void> {
    await until(
      async () => {
        if (this.agent?.exitCode !== null) throw new Error(`the agent ended:\n${this.log()}`);
        return (await this.get('/healthz').catch(() => ({ status: 0 }))).status === 200;
      },
      { what: 'the agent to be ready', timeoutMs, detail: () => this.log() },
    );
  }

  /** Ends the agent with the signal and waits until it is gone. */
  async stopAgent(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const agent = this.agent;
    if (!agent || agent.exitCode !== null || agent.signalCode !== null) return;
    const gone = new Promise<void>((resolve) => agent.once('exit', () => resolve()));
    agent.kill(signal);
    await gone;
  }

  get agentPid(): number {
    if (this.agent?.pid === undefined) throw new Error('no agent is running');
    return this.agent.pid;
  }

  /** Writes a manifest as users do it well: a new file renamed into place. */
  async writeManifest(name: string, text: string): Promise<void> {
    const temporary = join(this.folder, `.${name}.new`);
    await writeFile(temporary, text);
    await rename(temporary, join(this.manifests, name));
  }

  async removeManifest(name: string): Promise<void> {
    await unlink(join(this.manifests, name));
  }

  /** Runs the CNI binary as a runtime does. Its stdout is the result or error JSON. */
  async cni(call: CniCall): Promise<CommandResult & { json: Record<string, unknown> | undefined }> {
    const env: Record<string, string> = { CNI_COMMAND: call.command, CNI_PATH: join(this.folder, 'bin') };
    if (call.containerId !== undefined) env.CNI_CONTAINERID = call.containerId;
    if (call.netns !== undefined) env.CNI_NETNS = call.netns;
    if (call.interfaceName !== undefined) env.CNI_IFNAME = call.interfaceName;
    if (call.args !== undefined) env.CNI_ARGS = call.args;
    const config = { cniVersion: '1.1.0', name: 'weir', type: 'weir-cni', ...call.config };
    const result = await tryCommand([join(this.folder, 'bin/weir-cni')], {
      env,
      input: JSON.stringify(config),
      timeoutMs: 60_000,
    });
    return { ...result, json: result.stdout.trim() === '' ? undefined : JSON.parse(result.stdout) };
  }

  /** Makes a namespace and wires it as the pod `namespace/name`, which the manifests should describe. */
  async addPod(namespace: string, name: string): Promise<PodUnderTest> {
    const netns = await this.bed.netns(name);
    const containerId = `${netns.name}-container`;
    const { code, stdout, stderr, json } = await this.cni({
      command: 'ADD',
      containerId,
      netns: netns.path,
      interfaceName: 'eth0',
      args: `IgnoreUnknown=1;K8S_POD_NAMESPACE=${namespace};K8S_POD_NAME=${name}`,
    });
    if (code !== 0) throw new Error(`ADD of ${namespace}/${name} failed: ${stdout}${stderr}\n${this.log()}`);
    const addresses = ((json?.ips ?? []) as { address: string }[]).map((ip) => ip.address.replace(/\/.*/, ''));
    const pod = {
      namespace,
      name,
      netns,
      containerId,
      ipv4: addresses.find((a) => !a.includes(':')) ?? '',
      ipv6: addresses.find((a) => a.includes(':')) ?? '',
      peer: await this.bed.peer(netns),
    };
    this.pods.push(pod);
    return pod;
  }

  /** DEL as a runtime does it, then the namespace goes. */
  async removePod(pod: PodUnderTest): Promise<void> {
    const { code, stdout } = await this.cni({
      command: 'DEL',
      containerId: pod.containerId,
      netns: pod.netns.path,
      interfaceName: 'eth0',
    });
    if (code !== 0) throw new Error(`DEL of ${pod.namespace}/${pod.name} failed: ${stdout}`);
    await pod.peer.close();
    await this.bed.removeNetns(pod.netns);
    this.pods.splice(this.pods.indexOf(pod), 1);
  }

  /** GET over the agent's API socket. */
  get(path: string): Promise<{ status: number; body: string }> {
    return new Promise((resolve, reject) => {
      const call = request({ socketPath: this.apiSocket, path, timeout: 10_000 }, (answer) => {
        const chunks: Buffer[] = [];
        answer.on('data', (chunk: Buffer) => chunks.push(chunk));
        answer.on('end', () => resolve({ status: answer.statusCode ?? 0, body: Buffer.concat(chunks).toString() }));
        answer.on('error', reject);
      });
      call.on('timeout', () => call.destroy(new Error(`GET ${path}: no answer`)));
      call.on('error', reject);
      call.end();
    });
  }

  async getJson<T>(path: string): Promise<T> {
    const { status, body } = await this.get(path);
    if (status !== 200) throw new Error(`GET ${path}: ${status} ${body}`);
    return JSON.parse(body) as T;
  }

  /** Runs the `weir` command against this node's agent. */
  weir(...args: string[]): Promise<CommandResult> {
    return tryCommand([process.execPath, CLI, ...args], { env: { WEIR_SERVER: `unix://${this.apiSocket}` } });
  }

  /** The last of what the agent said. */
  log(): string {
    return Buffer.concat(this.kept).toString();
  }

  async close(): Promise<void> {
    await this.stopAgent('SIGKILL');
    if (this.options.place === undefined) await this.bed.close();
    await rm(this.pinFolder, { recursive: true, force: true });
    await rm(this.folder, { recursive: true, force: true });
    open.delete(this);
  }

  /** The agent, its pins and its files, synchronously, for the process is ending; namespaces are the testbed's. */
  removeNow(): void {
    this.agent?.kill('SIGKILL');
    for (const folder of [this.pinFolder, this.folder])
      try {
        // Again when something was written in between: the agent may still be in a call it made before.
        rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
      } catch (error) {
        console.error(`left behind: ${folder}: ${(error as Error).message}`);
      }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  private readonly kept: Buffer[] = [];
  private keep(chunk: Buffer): void {
    this.kept.push(chunk);
    if (this.kept.length > 400) this.kept.shift();
  }

  private flags(): string[] {
    return [
      `--manifests=${this.manifests}`,
      `--node-name=${this.options.place?.nodeName ?? 'node-under-test'}`,
      `--run-directory=${join(this.folder, 'run')}`,
      `--state-directory=${join(this.folder, 'state')}`,
      `--pin-directory=${this.pinFolder}`,
      ...(this.options.flags ?? []),
    ];
  }
}

/** A node, and the world at the other end of its uplink, which knows the way to its pods. */
async function ownPlace(bed: Testbed): Promise<{ netns: Netns; world: Netns }> {
  const netns = await bed.netns('node');
  const world = await bed.netns('world');
  await bed.veth(
    { name: 'uplink', netns, addresses: [`${NODE.ipv4}/24`, `${NODE.ipv6}/64`] },
    { name: 'eth0', netns: world, addresses: [`${WORLD.ipv4}/24`, `${WORLD.ipv6}/64`] },
  );
  await netns.ip(`route add default via ${WORLD.ipv4}`);
  await netns.ip(`-6 route add default via ${WORLD.ipv6}`);
  await world.ip(`route add 10.244.0.0/24 via ${NODE.ipv4}`);
  await world.ip(`-6 route add fd00:10:244::/64 via ${NODE.ipv6}`);
  return { netns, world };
}

/** Text of a file of the repository, for manifests kept as files. */
export function repositoryFile(path: string): Promise<string> {
  return readFile(join(ROOT, path), 'utf8');
}
