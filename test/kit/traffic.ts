/**
 * Real sockets in a namespace, driven from the test: a child process (peer.ts) runs inside, this is its handle. One
 * request and one answer per line of JSON, so several operations can be under way at once.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Answer, Outcome, Request, TickerStats } from './peer.ts';

export type { Outcome, TickerStats } from './peer.ts';

/** Where to; addresses of either family, ports in host order. */
export interface Target {
  readonly address: string;
  readonly port: number;
  /** How long to wait for an answer before the outcome is 'timeout'. */
  readonly timeoutMs?: number;
  /** 0 or absent: the kernel's choice. */
  readonly sourcePort?: number;
}

const PEER = fileURLToPath(new URL('./peer.ts', import.meta.url));
/** A denied packet is only ever seen as silence; long enough for two cores under load, short enough for many denials. */
const DEFAULT_TIMEOUT_MS = 1000;

type WithoutId<R> = R extends Request ? Omit<R, 'id'> : never;

export class Peer {
  private readonly child: ChildProcess;
  private readonly waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  private nextId = 1;
  private ended: Error | undefined;

  private constructor(child: ChildProcess) {
    this.child = child;
    if (child.stdout === null) throw new Error('a peer needs its stdout');
    createInterface({ input: child.stdout }).on('line', (line) => this.answered(JSON.parse(line) as Answer));
    child.stdin?.on('error', () => {});
    child.on('error', (error) => this.fail(error));
    child.on('exit', (code, signal) =>
      this.fail(new Error(`the peer process ended: ${signal ?? `exit code ${code}`}`)),
    );
  }

  /** `prefix`: the words that enter the namespace. Resolves when the peer answers. */
  static async start(prefix: readonly string[]): Promise<Peer> {
    const [program = process.execPath, ...args] = [...prefix, process.execPath, PEER];
    const peer = new Peer(spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] }));
    await peer.ask({ op: 'hello' });
    return peer;
  }

  /** Listens and sends back whatever arrives. Resolves with the port once it listens. */
  serveTcp(port: number, address = '::'): Promise<number> {
    return this.ask({ op: 'serveTcp', port, address }) as Promise<number>;
  }

  /** As serveTcp, with datagrams. */
  serveUdp(port: number, address = '::'): Promise<number> {
    return this.ask({ op: 'serveUdp', port, address }) as Promise<number>;
  }

  /** Opens a TCP connection, sends one line, waits for its echo, closes: 'ok', 'timeout', 'refused', 'reset' or 'unreachable'. */
  tcp(target: Target): Promise<Outcome> {
    return this.ask({ op: 'tcp', ...filled(target) }) as Promise<Outcome>;
  }

  /** Sends one datagram and waits for its echo. */
  udp(target: Target): Promise<Outcome> {
    return this.ask({ op: 'udp', ...filled(target) }) as Promise<Outcome>;
  }

  /** Opens a connection that stays; use it with say(), ticker() and hangUp(). Rejects with the outcome when it cannot be opened. */
  open(target: Target): Promise<number> {
    return this.ask({ op: 'open', ...filled(target) }) as Promise<number>;
  }

  /** Sends text on an open connection and waits for all of its echo. */
  say(connection: number, text: string, timeoutMs = DEFAULT_TIMEOUT_MS): Promise<Outcome> {
    return this.ask({ op: 'say', connection, text, timeoutMs }) as Promise<Outcome>;
  }

  /** Closes an open connection (FIN; `abort`: RST). */
  hangUp(connection: number, abort = false): Promise<void> {
    return this.ask({ op: 'hangUp', connection, abort }) as Promise<void>;
  }

  /** Starts numbered messages to an echo server, one every `intervalMs`, until stopTicker(). */
  startTicker(protocol: 'tcp' | 'udp', target: Target, intervalMs = 2): Promise<number> {
    return this.ask({ op: 'startTicker', protocol, intervalMs, ...filled(target) }) as Promise<number>;
  }

  /** What the ticker has seen so far. */
  tickerStats(ticker: number): Promise<TickerStats> {
    return this.ask({ op: 'tickerStats', ticker }) as Promise<TickerStats>;
  }

  /** Stops sending, waits `settleMs` for the last echoes, and returns the count. */
  stopTicker(ticker: number, settleMs = 200): Promise<TickerStats> {
    return this.ask({ op: 'stopTicker', ticker, settleMs }) as Promise<TickerStats>;
  }

  /** How many connections and datagrams the servers of this peer have received. */
  served(): Promise<{ connections: number; datagrams: number; bytes: number }> {
    return this.ask({ op: 'served' }) as Promise<{ connections: number; datagrams: number; bytes: number }>;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async close(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exited = new Promise<void>((resolve) => this.child.once('exit', () => resolve()));
    this.ended ??= new Error('the peer was closed');
    this.kill();
    await exited;
  }

  /** Ends the process at once, without waiting. */
  kill(): void {
    this.child.kill('SIGKILL');
  }

  private ask(request: WithoutId<Request>): Promise<unknown> {
    if (this.ended !== undefined) return Promise.reject(this.ended);
    const id = this.nextId++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.child.stdin?.write(`${JSON.stringify({ id, ...request })}\n`);
    });
  }

  private answered(answer: Answer): void {
    const asker = this.waiting.get(answer.id);
    this.waiting.delete(answer.id);
    if ('error' in answer) asker?.reject(new Error(answer.error));
    else asker?.resolve(answer.value);
  }

  private fail(error: Error): void {
    this.ended ??= error;
    for (const { reject } of this.waiting.values()) reject(this.ended);
    this.waiting.clear();
  }
}

function filled(target: Target) {
  return { timeoutMs: DEFAULT_TIMEOUT_MS, sourcePort: 0, ...target };
}
