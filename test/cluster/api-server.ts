/**
 * A real API server with a real etcd and nothing else, for tests of what talks to one: about three seconds to start, one
 * folder, all of it gone at the end, also when the test process dies.
 *
 *     await using api = await startApiServer('source');
 *     await api.apply('crds');                              // a folder, a file, or objects
 *     const answer = await api.request('GET', '/api/v1/namespaces');
 *
 * No controller runs: a Namespace that is deleted stays Terminating, nothing is collected through its owner, Services get
 * no EndpointSlices, pods are bound by nobody (write `nodeName` and `status` yourself). Pods need no ServiceAccount.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { Agent, request as httpsRequest, type RequestOptions } from 'node:https';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text as readText } from 'node:stream/consumers';
import { type CommandOptions, type CommandResult, tryCommand } from '../kit/command.ts';
import type { Netns } from '../kit/netns.ts';
import { stockProgram } from '../kit/stock.ts';
import { until } from '../kit/until.ts';

export interface ApiServerOptions {
  /** Where it runs; absent: the test's own namespace. */
  readonly netns?: Netns;
  /** Where it listens. Default 127.0.0.1; in another namespace take an address that the test reaches. */
  readonly address?: string;
  /** More flags for kube-apiserver, e.g. '--watch-cache=false'. */
  readonly flags?: readonly string[];
}

/** What the server said, as it said it. */
export interface ApiAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into objects of every kind
  readonly body: any;
}

/** Names in certificates and the kubernetes Service want an address that is not loopback; nobody connects to it (RFC 5737). */
const ADVERTISED = '192.0.2.1';
/** A socket in the folder, in which both run: etcd wants a host and a port also there, and takes them for the file's name. */
const ETCD = 'unix://etcd.sock:0';
/** In a namespace of its own the port is free: one server per namespace. */
const NETNS_PORT = 6443;
const START_MS = 60_000;

/** Starts both; resolves when the server says that it is ready. `part` names the folder: `<tmp>/wt-<part>-<random>`. */
export async function startApiServer(part: string, options: ApiServerOptions = {}): Promise<ApiServer> {
  const server = new ApiServer(part, options);
  try {
    await server.start();
    return server;
  } catch (error) {
    server.stop();
    throw error;
  }
}

export class ApiServer {
  /** Its folder; `api-server.log` and `etcd.log` are in it. */
  readonly folder: string;
  /** "https://127.0.0.1:39123", the same after a restart. */
  url = '';
  /** A bearer token of the group system:masters. */
  readonly token = randomBytes(16).toString('hex');
  /** PEM of what signed the server's certificate. */
  readonly caFile: string;
  /** With the token above. */
  readonly kubeconfig: string;
  readonly #options: ApiServerOptions;
  readonly #running = new Map<'etcd' | 'api-server', ChildProcess>();
  readonly #atExit = (): void => this.stop();
  #port = 0;
  #agent: Agent | undefined;

  constructor(part: string, options: ApiServerOptions) {
    this.#options = options;
    this.folder = mkdtempSync(join(tmpdir(), `wt-${part}-`));
    this.caFile = join(this.folder, 'apiserver.crt');
    this.kubeconfig = join(this.folder, 'kubeconfig');
    process.on('exit', this.#atExit);
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      if (!process.listeners(signal).includes(endProcess)) process.on(signal, endProcess);
    }
  }

  async start(): Promise<void> {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    writeFileSync(join(this.folder, 'accounts.key'), privateKey.export({ type: 'sec1', format: 'pem' }));
    writeFileSync(join(this.folder, 'tokens.csv'), `${this.token},admin,admin,"system:masters"\n`);
    this.#spawn('etcd', this.#etcd());
    await this.up();
  }

  /** The API server ends at once, as when its machine is switched off; etcd stays. */
  async down(): Promise<void> {
    await this.#end('api-server');
  }

  /** The API server starts (again), with the same address, certificate and objects. */
  async up(): Promise<void> {
    for (let tries = 1; ; tries++) {
      if (this.url === '' || tries > 1) this.#port = this.#options.netns ? NETNS_PORT : await freePort(this.#address);
      this.url = `https://${this.#address}:${this.#port}`;
      const child = this.#spawn('api-server', this.#apiServer());
      const ended = new Promise<'ended'>((resolve) => child.once('exit', () => resolve('ended')));
      const ready = until(() => child.exitCode !== null || this.#isReady(), {
        what: 'the API server to be ready',
        timeoutMs: START_MS,
        everyMs: 50,
        detail: () => this.log('api-server').slice(-2000),
      });
      if ((await Promise.race([ready, ended])) !== 'ended' && child.exitCode === null) break;
      const log = this.log('api-server');
      // Between finding a free port and listening on it, somebody else may have taken it.
      if (tries < 3 && log.includes('address already in use')) continue;
      throw new Error(`the API server ended with ${child.exitCode ?? child.signalCode}:\n${log.slice(-3000)}`);
    }
    writeFileSync(this.kubeconfig, this.#kubeconfigText());
  }

  /** SIGSTOP and SIGCONT: connections stay open and nothing is answered. */
  freeze(): void {
    this.#running.get('api-server')?.kill('SIGSTOP');
  }
  thaw(): void {
    this.#running.get('api-server')?.kill('SIGCONT');
  }

  /** Makes etcd forget all versions but the last: with the API server restarted, what watches from an older one gets 410 Gone. */
  async compact(): Promise<void> {
    const ask = (path: string, body: object) =>
      send({ socketPath: join(this.folder, 'etcd.sock:0'), method: 'POST', path }, JSON.stringify(body));
    const { header } = (await ask('/v3/kv/range', { key: 'AA==' })).body as { header: { revision: string } };
    await ask('/v3/kv/compaction', { revision: header.revision, physical: true });
  }

  /**
   * One request, by the admin unless a token is given. `body` is sent as JSON unless it is text; `type` is its content type.
   * A path has its query with it. Resolves whatever the status; rejects when there is no answer.
   */
  async request(
    method: string,
    path: string,
    body?: object | string,
    type = 'application/json',
    token = this.token,
  ): Promise<ApiAnswer> {
    this.#agent ??= new Agent({ ca: readFileSync(this.caFile), keepAlive: true });
    const headers = { Authorization: `Bearer ${token}`, ...(body === undefined ? {} : { 'Content-Type': type }) };
    const { hostname, port } = new URL(this.url);
    const text = typeof body === 'object' ? JSON.stringify(body) : body;
    return send({ hostname, port, method, path, headers, agent: this.#agent }, text);
  }

  /** kubectl as the admin, whatever its exit code. */
  kubectl(words: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
    return tryCommand([stockProgram('kubectl'), `--kubeconfig=${this.kubeconfig}`, ...words], options);
  }

  /** `kubectl apply` of a path, or of objects; an error with kubectl's words if it refuses. CRDs are waited for. */
  async apply(what: string | readonly object[]): Promise<void> {
    const input = typeof what === 'string' ? undefined : what.map((object) => JSON.stringify(object)).join('\n---\n');
    const files = typeof what === 'string' ? what : '-';
    const words = ['apply', '--server-side', '-o', 'name', '-f', files];
    const { code, stdout, stderr } = await this.kubectl(words, input === undefined ? {} : { input });
    if (code !== 0) throw new Error(`kubectl apply: exit code ${code}\n${stderr}`);
    const crds = stdout.split('\n').filter((name) => name.startsWith('customresourcedefinition'));
    if (crds.length === 0) return;
    const waited = await this.kubectl(['wait', '--for=condition=Established', '--timeout=30s', ...crds]);
    if (waited.code !== 0) throw new Error(`not established: ${waited.stderr}`);
  }

  /** What etcd or the API server wrote so far. */
  log(of: 'etcd' | 'api-server'): string {
    return readFileSync(join(this.folder, `${of}.log`), 'utf8');
  }

  /** Ends both with SIGKILL and removes the folder. Safe to call twice. */
  stop(): void {
    process.off('exit', this.#atExit);
    this.#agent?.destroy();
    for (const child of this.#running.values()) child.kill('SIGKILL');
    this.#running.clear();
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.stop();
    return Promise.resolve();
  }

  get #address(): string {
    return this.#options.address ?? '127.0.0.1';
  }

  async #isReady(): Promise<boolean> {
    try {
      return (await this.request('GET', '/readyz')).status === 200;
    } catch {
      return false; // Not listening yet, or its certificate is not written.
    }
  }

  #etcd(): string[] {
    const peers = 'unix://peer.sock:0';
    return [
      'etcd',
      '--name=only',
      `--data-dir=${join(this.folder, 'etcd')}`,
      '--unsafe-no-fsync',
      `--listen-client-urls=${ETCD}`,
      `--advertise-client-urls=${ETCD}`,
      `--listen-peer-urls=${peers}`,
      `--initial-advertise-peer-urls=${peers}`,
      `--initial-cluster=only=${peers}`,
    ];
  }

  #apiServer(): string[] {
    const { folder } = this;
    const loopback = this.#address.startsWith('127.') || this.#address === '::1';
    return [
      stockProgram('kube-apiserver'),
      `--etcd-servers=${ETCD}`,
      `--bind-address=${this.#address}`,
      `--advertise-address=${loopback ? ADVERTISED : this.#address}`,
      `--secure-port=${this.#port}`,
      `--cert-dir=${folder}`,
      '--service-cluster-ip-range=10.96.0.0/16,fd00:96::/112',
      '--service-account-issuer=https://kubernetes.default.svc',
      `--service-account-key-file=${join(folder, 'accounts.key')}`,
      `--service-account-signing-key-file=${join(folder, 'accounts.key')}`,
      `--token-auth-file=${join(folder, 'tokens.csv')}`,
      '--authorization-mode=Node,RBAC',
      '--allow-privileged=true',
      // There is no controller that makes them, and a pod without one would be refused.
      '--disable-admission-plugins=ServiceAccount',
      '--profiling=false',
      ...(this.#options.flags ?? []),
    ];
  }

  #kubeconfigText(): string {
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'test', cluster: { server: this.url, 'certificate-authority': this.caFile } }],
      users: [{ name: 'admin', user: { token: this.token } }],
      contexts: [{ name: 'test', context: { cluster: 'test', user: 'admin' } }],
      'current-context': 'test',
    };
    return JSON.stringify(config);
  }

  #spawn(name: 'etcd' | 'api-server', words: readonly string[]): ChildProcess {
    const [program = '', ...args] = this.#options.netns?.enter(words) ?? words;
    const log = openSync(join(this.folder, `${name}.log`), 'a');
    const child = spawn(program, args, { stdio: ['ignore', log, log], cwd: this.folder });
    closeSync(log);
    this.#running.set(name, child);
    return child;
  }

  async #end(name: 'etcd' | 'api-server'): Promise<void> {
    const child = this.#running.get(name);
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    child.kill('SIGKILL');
    await ended;
    this.#running.delete(name);
  }
}

/** Through process.exit, so that the exit hooks run. */
function endProcess(): void {
  process.exit(143);
}

function freePort(address: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject);
    server.listen(0, address, () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

function send(options: RequestOptions, body: string | undefined): Promise<ApiAnswer> {
  return new Promise((resolve, reject) => {
    const request = options.socketPath === undefined ? httpsRequest(options) : httpRequest(options);
    request.on('error', reject).on('response', async (response) => {
      try {
        const text = await readText(response);
        const json = response.headers['content-type']?.startsWith('application/json') === true;
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: json && text !== '' ? JSON.parse(text) : text,
        });
      } catch (error) {
        reject(error);
      }
    });
    request.end(body);
  });
}
