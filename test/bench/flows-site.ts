/** An agent with two pods, numbered datagrams between them (flows-load.c), and followers that count what comes of them. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { command } from '../kit/command.ts';
import { NodeUnderTest, type PodUnderTest } from '../kit/node.ts';
import { until } from '../kit/until.ts';
import { cpuSeconds } from '../scale/process.ts';
import { CLIENT_CPU } from './cpu.ts';
import type { FollowerReport } from './flows-follower.ts';
import { firstLine } from './load.ts';

const FOLLOWER = fileURLToPath(new URL('./flows-follower.ts', import.meta.url));
const LOAD = fileURLToPath(new URL('./flows-load.c', import.meta.url));

/** Ports of datagrams; so many of each run on. Those from `denied` up no policy allows. */
export const PORTS = { allowed: 30_000, denied: 50_000, perRun: 256, tcp: 7000 } as const;

const MANIFEST = `
apiVersion: v1
kind: Namespace
metadata: { name: bench }
${['client', 'server'].map((name) => `---\napiVersion: v1\nkind: Pod\nmetadata: { name: ${name}, namespace: bench, labels: { app: ${name} } }`).join('\n')}
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: server, namespace: bench }
spec:
  endpointSelector: { matchLabels: { app: server } }
  ingress:
    - fromEndpoints: [{ matchLabels: { app: client } }]
      toPorts: [{ ports: [{ port: "1", endPort: ${PORTS.denied - 1}, protocol: ANY }] }]
`;

/** More connections per second than any machine makes. */
const NO_LIMIT = ['--new-connections-per-second=1000000', '--new-connections-burst=10000000'];

/** How long a follower may read nothing before it counts as having read all. */
const PATIENCE_MS = 10_000;

export interface Sent {
  readonly sent: number;
  readonly seconds: number;
  readonly perSecond: number;
  readonly cpuSeconds: number;
}

/** What the agent counts, in events. */
export interface Counted {
  /** Stored. */
  readonly stored: number;
  readonly ring: number;
  readonly queue: number;
  readonly subscriber: number;
  /** Made for followers. */
  readonly encoded: number;
}

export class FlowsSite implements AsyncDisposable {
  readonly node: NodeUnderTest;
  readonly client: PodUnderTest;
  readonly server: PodUnderTest;
  /** flows-load, compiled. */
  readonly program: string;
  readonly #folder: string;
  readonly #opened: Follower[] = [];

  private constructor(node: NodeUnderTest, pods: readonly [PodUnderTest, PodUnderTest], folder: string) {
    this.node = node;
    [this.client, this.server] = pods;
    this.#folder = folder;
    this.program = join(folder, 'flows-load');
  }

  static async start(flags: readonly string[] = []): Promise<FlowsSite> {
    const folder = await mkdtemp(join(tmpdir(), `wt-flows-${process.pid}-`));
    let node: NodeUnderTest | undefined;
    try {
      return await FlowsSite.#open(folder, flags, (started) => {
        node = started;
      });
    } catch (error) {
      await node?.close();
      await rm(folder, { recursive: true });
      throw error;
    }
  }

  static async #open(
    folder: string,
    flags: readonly string[],
    onNode: (node: NodeUnderTest) => void,
  ): Promise<FlowsSite> {
    await command(['gcc', '-O2', '-Wall', '-Wextra', '-o', join(folder, 'flows-load'), LOAD]);
    const socket = `--hubble-socket=${join(folder, 'hubble.sock')}`;
    const node = await NodeUnderTest.start('flows', {
      manifests: { 'bench.yaml': MANIFEST },
      flags: [socket, ...NO_LIMIT, ...flags],
    });
    onNode(node);
    const pods = [await node.addPod('bench', 'client'), await node.addPod('bench', 'server')] as const;
    return new FlowsSite(node, [pods[0], pods[1]], folder);
  }

  /** Sends so many numbered datagrams to the server pod; rate 0: as fast as it goes. */
  async send(firstPort: number, count: number, rate: number): Promise<Sent> {
    const words = [this.program, 'send', this.server.ipv4, String(firstPort), String(count), String(rate)];
    return JSON.parse(await this.client.netns.run([...CLIENT_CPU, ...words], { timeoutMs: 120_000 })) as Sent;
  }

  /** Binds the ports of a run in the server pod; returns how to end that. */
  async sink(firstPort: number): Promise<() => void> {
    const child = this.node.bed.spawn([this.program, 'sink', String(firstPort)], this.server.netns);
    await firstLine(child.stdout);
    return () => child.kill('SIGKILL');
  }

  /** Resolves when the agent has it among its followers. */
  async follow(kind: 'grpc' | 'http'): Promise<Follower> {
    const follower = await Follower.open(
      kind,
      kind === 'grpc' ? join(this.#folder, 'hubble.sock') : this.node.apiSocket,
    );
    this.#opened.push(follower);
    // those that are gone have to be gone for the agent too
    const open = () => this.#opened.filter(({ isGone }) => !isGone).length;
    await until(async () => (await this.#followers()) === open(), { what: 'the agent to have its followers' });
    return follower;
  }

  async #followers(): Promise<number> {
    const { body } = await this.node.get('/metrics');
    return Number(/^weir_flow_followers (\d+)/m.exec(body)?.[1]);
  }

  async counted(): Promise<Counted> {
    const { body } = await this.node.get('/metrics');
    const sum = (name: string, labels = '') => {
      const lines = body.matchAll(new RegExp(`^${name}\\{[^}]*${labels}[^}]*\\} (\\S+)`, 'gm'));
      return [...lines].reduce((all, [, value]) => all + Number(value), 0);
    };
    const lost = (stage: string) => sum('weir_flow_lost_total', `stage="${stage}"`);
    return {
      stored: sum('weir_flow_events_total'),
      ring: lost('ring'),
      queue: lost('queue'),
      subscriber: lost('subscriber'),
      encoded: sum('weir_flow_tellings_total', 'how="made"'),
    };
  }

  /** Of the history in memory. */
  async held(): Promise<{ readonly records: number; readonly capacity: number }> {
    const { body } = await this.node.get('/metrics');
    const number = (name: string) => Number(new RegExp(`^${name} (\\d+)`, 'm').exec(body)?.[1]);
    return { records: number('weir_flow_records'), capacity: number('weir_flow_capacity') };
  }

  /** CPU time of the agent, its threads included. */
  cpuSeconds(): number {
    return cpuSeconds(this.node.agentPid);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.node.close();
    await rm(this.#folder, { recursive: true });
  }
}

/** flows-follower.ts, running. */
export class Follower implements Disposable {
  readonly kind: 'grpc' | 'http';
  isGone = false;
  readonly #child: ChildProcess;
  readonly #answers: AsyncIterator<string>;
  readonly #lines: Interface;

  private constructor(kind: 'grpc' | 'http', child: ChildProcess, lines: Interface) {
    this.kind = kind;
    this.#child = child;
    this.#lines = lines;
    this.#answers = lines[Symbol.asyncIterator]();
  }

  static async open(kind: 'grpc' | 'http', socket: string): Promise<Follower> {
    const child = spawn(process.execPath, [FOLLOWER, kind, socket], { stdio: ['pipe', 'pipe', 'inherit'] });
    if (!child.stdout) throw new Error('the follower has no stdout');
    const follower = new Follower(kind, child, createInterface({ input: child.stdout }));
    await follower.#answers.next();
    return follower;
  }

  begin(firstPort: number): Promise<FollowerReport> {
    return this.#say(`begin ${firstPort}`);
  }
  pause(): Promise<FollowerReport> {
    return this.#say('pause');
  }
  resume(): Promise<FollowerReport> {
    return this.#say('resume');
  }
  report(): Promise<FollowerReport> {
    return this.#say('report');
  }

  /** The report once so many datagrams have come or were told as lost; what has come by then if that is never. */
  async accountsFor(datagrams: number): Promise<FollowerReport> {
    let last = { accounted: -1, at: performance.now() };
    return until(
      async () => {
        const report = await this.report();
        const { ring, queue, history } = report.lost;
        const accounted = report.datagrams + ring + queue + history;
        if (accounted !== last.accounted) last = { accounted, at: performance.now() };
        return (accounted >= datagrams || performance.now() > last.at + PATIENCE_MS) && report;
      },
      { what: 'a follower to account for all', everyMs: 100, timeoutMs: 300_000 },
    );
  }

  /** The report once nothing has come for a while. */
  async settled(): Promise<FollowerReport> {
    let last = '';
    return until(
      async () => {
        const report = await this.report();
        const now = JSON.stringify(report);
        const isSettled = now === last;
        last = now;
        return isSettled && report;
      },
      { what: 'a follower to have read everything', everyMs: 300, timeoutMs: 60_000 },
    );
  }

  [Symbol.dispose](): void {
    this.isGone = true;
    this.#child.kill('SIGKILL');
    this.#lines.close();
  }

  async #say(words: string): Promise<FollowerReport> {
    this.#child.stdin?.write(`${words}\n`);
    const { value, done } = await this.#answers.next();
    if (done) throw new Error(`the ${this.kind} follower ended`);
    return JSON.parse(value) as FollowerReport;
  }
}
