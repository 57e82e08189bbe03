/** A cluster in memory for the `weir` command: an API server with exec, and behind each agent's pod an API. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import type { StatusAnswer } from '../../agent/api/status.ts';
import { type Command, type Io, runCli } from '../../agent/cli/command.ts';

export type Answer = (url: URL, response: ServerResponse, method: string) => unknown;

/** What a program that is run in a pod does with its stdio. */
export interface FakeProgram {
  readonly pod: string;
  readonly words: readonly string[];
  stdout(data: string | Buffer): void;
  stderr(data: string): void;
  /** Ends it with this exit code. */
  end(code: number): void;
  onStdin(take: (data: Buffer) => void): void;
  onClose(then: () => void): void;
}

export class FakeCluster {
  readonly folder = mkdtempSync(join(tmpdir(), 'wt-cli-cluster-'));
  readonly kubeconfig = join(this.folder, 'kubeconfig');
  /** Answers of the API server by path; a status of 403 or 404 by {@link refuse}. */
  readonly objects: Record<string, Answer> = {};
  /** Answers of agents, by node and path. */
  readonly agents: Record<string, Record<string, Answer>> = {};
  /** Agents that were asked, in order: "node1 /v1/status". */
  readonly asked: string[] = [];
  /** Programs run in pods, "weir-node1: weir dial-stdio"; those that are no agents' are told to `program`. */
  readonly executed: string[] = [];
  program: ((program: FakeProgram) => void) | undefined;
  /** Status of an exec that is refused, by pod. */
  readonly refusedPods = new Map<string, number>();
  readonly #server: Server;
  readonly #sockets = new Set<WebSocket>();
  readonly #agentServers = new Map<string, Server>();

  constructor() {
    this.#server = createServer((request, response) => this.#answer(request, response));
    const websockets = new WebSocketServer({ noServer: true, handleProtocols: () => 'v4.channel.k8s.io' });
    this.#server.on('upgrade', (request, socket, head) => {
      const url = new URL(request.url ?? '', 'http://k8s');
      const pod = /\/pods\/([^/]+)\/exec$/.exec(url.pathname)?.[1] ?? '';
      const refusal = this.refusedPods.get(pod);
      if (refusal !== undefined) {
        const body = JSON.stringify({ kind: 'Status', reason: 'Forbidden', message: `no exec in ${pod}` });
        socket.end(
          `HTTP/1.1 ${refusal} X\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`,
        );
        return;
      }
      websockets.handleUpgrade(request, socket, head, (ws) =>
        this.#execute(ws, pod, url.searchParams.getAll('command')),
      );
    });
  }

  async start(nodes: readonly string[]): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    for (const node of nodes) await this.#startAgent(node);
    this.objects['/api/v1/nodes'] = () => list(nodes.map((name) => ({ metadata: { name } })));
    this.objects['/api/v1/namespaces/kube-system/pods'] = () => list(nodes.map((node) => agentPod(node)));
    writeFileSync(this.kubeconfig, kubeconfigText((this.#server.address() as AddressInfo).port));
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.terminate();
    for (const server of [this.#server, ...this.#agentServers.values()]) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Ends every stream to the agents, as when the API server restarts. */
  breakStreams(): void {
    for (const socket of this.#sockets) socket.terminate();
  }

  /** Runs the command line; `signal` is Ctrl-C. */
  async weir(
    commands: readonly Command[],
    line: string,
    options: { signal?: AbortSignal; onOut?: (text: string) => void; onErr?: (text: string) => void } = {},
  ): Promise<{ code: number; out: string; err: string }> {
    const run = { code: -1, out: '', err: '' };
    const io: Io = {
      out(text) {
        run.out += text;
        options.onOut?.(run.out);
      },
      err(text) {
        run.err += text;
        options.onErr?.(run.err);
      },
      environment: { KUBECONFIG: this.kubeconfig },
      signal: options.signal ?? new AbortController().signal,
      stdio: { input: Readable.from([]), output: new PassThrough() },
      colors: false,
    };
    const args = line.split(' ').filter((word) => word !== '');
    run.code = await runCli(args, commands, io);
    return run;
  }

  async #startAgent(node: string): Promise<void> {
    this.agents[node] = {};
    const server = createServer((request, response) => {
      const url = new URL(request.url ?? '', 'http://weir');
      this.asked.push(`${node} ${decodeURIComponent(url.pathname + url.search)}`);
      const answer = this.agents[node]?.[url.pathname];
      if (!answer) {
        response.statusCode = 404;
        const error = { code: 'NOT_FOUND', message: `nothing at ${url.pathname}`, operation: 'test', retryable: false };
        response.end(JSON.stringify({ error }));
        return;
      }
      const value = answer(url, response, request.method ?? '');
      if (value !== undefined) response.end(JSON.stringify(value));
    });
    await new Promise<void>((resolve) => server.listen(this.#socketOf(node), resolve));
    this.#agentServers.set(node, server);
  }

  #socketOf(node: string): string {
    return join(this.folder, `${node}.sock`);
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '', 'http://k8s');
    const answer = this.objects[url.pathname];
    response.setHeader('content-type', 'application/json');
    const value = answer ? answer(url, response, request.method ?? '') : refuse(response, 404, 'NotFound');
    if (value !== undefined) response.end(JSON.stringify(value));
  }

  #execute(ws: WebSocket, pod: string, words: readonly string[]): void {
    this.#sockets.add(ws);
    ws.on('close', () => this.#sockets.delete(ws));
    this.executed.push(`${pod}: ${words.join(' ')}`);
    const program: FakeProgram = {
      pod,
      words,
      stdout: (data) => ws.send(Buffer.concat([Buffer.of(1), Buffer.from(data)])),
      stderr: (data) => ws.send(Buffer.concat([Buffer.of(2), Buffer.from(data)])),
      end(code) {
        const causes = [{ reason: 'ExitCode', message: String(code) }];
        const status =
          code === 0
            ? { status: 'Success' }
            : { status: 'Failure', message: `command terminated with exit code ${code}`, details: { causes } };
        ws.send(Buffer.concat([Buffer.of(3), Buffer.from(JSON.stringify(status))]));
        ws.close();
      },
      onStdin: (take) => void ws.on('message', (data: Buffer) => data[0] === 0 && take(data.subarray(1))),
      onClose: (then) => void ws.on('close', then),
    };
    const node = /^weir-(.+)$/.exec(pod)?.[1];
    if (words.join(' ') === 'weir dial-stdio' && node !== undefined && this.agents[node]) {
      const socket = connect(this.#socketOf(node));
      socket.on('data', (data) => program.stdout(data));
      program.onStdin((data) => socket.write(data));
      program.onClose(() => socket.destroy());
      socket.on('close', () => ws.close());
      return;
    }
    if (!this.program) throw new Error(`nobody expected ${words.join(' ')} in ${pod}`);
    this.program(program);
  }
}

export function list(items: readonly object[]) {
  return { kind: 'List', metadata: { resourceVersion: '1' }, items };
}

export function refuse(response: ServerResponse, status: number, reason: string): undefined {
  response.statusCode = status;
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify({ kind: 'Status', status: 'Failure', code: status, reason, message: `${reason}!` }));
  return undefined;
}

/** The pod of an agent that runs. */
export function agentPod(node: string, state: object = { running: {} }) {
  return {
    metadata: { name: `weir-${node}`, namespace: 'kube-system', creationTimestamp: '2026-01-01T00:00:00Z' },
    spec: { nodeName: node },
    status: { phase: 'Running', containerStatuses: [{ name: 'weir-agent', state }] },
  };
}

function kubeconfigText(port: number): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'test', cluster: { server: `http://127.0.0.1:${port}`, 'insecure-skip-tls-verify': true } }],
    users: [{ name: 'admin', user: { token: 'secret' } }],
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'admin' } }],
    'current-context': 'test',
  });
}

/** What an agent says that has nothing to complain of. */
export const healthyStatus = (node: string): StatusAnswer => ({
  version: '0.1.0',
  node,
  startedAt: '2026-01-01T00:00:00Z',
  uptimeSeconds: 60,
  ready: true,
  pending: [],
  revision: { desired: 4, realized: 4 },
  source: { name: 'Kubernetes', synced: true },
  problems: [],
  attachments: { expected: 2, missing: [] },
  devices: [],
  endpoints: { ready: 2 },
  policies: { valid: 1 },
  identities: 14,
  drops: 7,
  maps: [],
  flows: {
    ...{ records: 0, capacity: 1, seconds: 0, seen: 0, overwritten: 0, followers: 0, names: 0, namesRefused: 0 },
    unknown: 0,
    lost: { ring: 0, queue: 0, overwritten: 0 } as StatusAnswer['flows']['lost'],
  },
});
