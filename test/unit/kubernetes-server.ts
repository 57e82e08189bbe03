/**
 * An API server for what a real one cannot be made to do: one collection in memory, real HTTP, and a fault wherever a test wants
 * one. It keeps the protocol's promises (versions that grow, lists as of one version, events in order) unless told to break them.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json as readJson } from 'node:stream/consumers';
import type { KubernetesObject } from '../../agent/kubernetes/client.ts';
import type { Connection } from '../../agent/kubernetes/connection.ts';

export const PATH = '/api/v1/things';

interface Event {
  readonly type: string;
  readonly object: KubernetesObject;
  readonly version: number;
}

interface Watcher {
  readonly response: ServerResponse;
  sent: number;
}

export type Fault = (request: IncomingMessage, response: ServerResponse, url: URL) => boolean;

export class FakeApiServer {
  readonly requests: string[] = [];
  readonly objects = new Map<string, KubernetesObject>();
  readonly watchers = new Set<Watcher>();
  /** Answers instead of the server when it returns true. */
  fault: Fault = () => false;
  /** What is written instead of the lines of some events. */
  mangle: (lines: string[]) => string[] = (lines) => lines;
  #version = 100;
  #uids = 0;
  /** Versions up to this are forgotten. */
  #compacted = 0;
  #events: Event[] = [];
  readonly #server: Server;
  url = '';

  constructor() {
    this.#server = createServer((request, response) => void this.#answer(request, response));
  }

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    this.url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  get connection(): Connection {
    return { server: new URL(this.url), credentials: () => Promise.resolve({ headers: {} }), forget: () => {} };
  }

  get version(): string {
    return String(this.#version);
  }

  put(name: string, more: object = {}): void {
    const before = this.objects.get(name);
    const uid = before?.metadata.uid ?? `uid-${++this.#uids}`;
    const metadata = { name, uid, resourceVersion: String(++this.#version), managedFields: [{ manager: 'test' }] };
    const object = { metadata, ...more };
    this.objects.set(name, object);
    this.#tell({ type: before ? 'MODIFIED' : 'ADDED', object, version: this.#version });
  }

  remove(name: string): void {
    const before = this.objects.get(name);
    if (!before) return;
    this.objects.delete(name);
    const metadata = { ...before.metadata, resourceVersion: String(++this.#version) };
    this.#tell({ type: 'DELETED', object: { ...before, metadata }, version: this.#version });
  }

  bookmark(): void {
    this.#write({ type: 'BOOKMARK', object: { metadata: { resourceVersion: this.version } } });
  }

  /** Sends all watches what is no event of the collection. */
  write(line: string): void {
    for (const { response } of this.watchers) response.write(`${line}\n`);
  }

  /** Forgets all versions but the present one: older watches and lists get 410. */
  compact(): void {
    this.flush(); // what was sent to a watch is not taken back
    this.#compacted = this.#version;
    this.#events = [];
  }

  /** As after etcd was restored from a backup: the objects of then, versions that were given once are given again. */
  restore(backup: ReadonlyMap<string, KubernetesObject>, version: string): void {
    this.cut();
    this.objects.clear();
    for (const [name, object] of backup) this.objects.set(name, object);
    this.#version = Number(version);
    this.#compacted = 0;
    this.#events = [];
  }

  /** Breaks all watches off. */
  cut(): void {
    for (const { response } of this.watchers) response.destroy();
    this.watchers.clear();
  }

  /** Events wait until `flush`. */
  hold = false;
  flush(): void {
    for (const watcher of this.watchers) this.#flush(watcher);
  }

  #tell(event: Event): void {
    this.#events.push(event);
    if (!this.hold) this.flush();
  }

  #write(event: object): void {
    this.write(JSON.stringify(event));
  }

  #flush(watcher: Watcher): void {
    const events = this.#events.filter(({ version }) => version > watcher.sent);
    if (events.length === 0) return;
    watcher.sent = this.#version;
    const lines = this.mangle(events.map(({ type, object }) => JSON.stringify({ type, object })));
    watcher.response.write(lines.map((line) => `${line}\n`).join(''));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '', this.url);
    this.requests.push(`${request.method} ${request.url}`);
    if (this.fault(request, response, url)) return;
    if (request.method !== 'GET') {
      send(response, 201, request.headers['content-length'] ? ((await readJson(request)) as object) : {});
    } else if (url.pathname !== PATH) {
      send(response, 404, status(404, 'NotFound'));
    } else if (url.searchParams.has('watch')) this.#watch(response, Number(url.searchParams.get('resourceVersion')));
    else this.#list(response, url.searchParams);
  }

  #watch(response: ServerResponse, from: number): void {
    response.writeHead(200, { 'Content-Type': 'application/json' });
    response.flushHeaders();
    if (from < this.#compacted) {
      response.end(`${JSON.stringify({ type: 'ERROR', object: status(410, 'Expired') })}\n`);
      return;
    }
    const watcher = { response, sent: from };
    this.watchers.add(watcher);
    response.on('close', () => this.watchers.delete(watcher));
    if (!this.hold) this.#flush(watcher);
  }

  #list(response: ServerResponse, query: URLSearchParams): void {
    const [version, start] = (query.get('continue') ?? `${this.#version} 0`).split(' ').map(Number) as [number, number];
    if (version < this.#compacted) {
      send(response, 410, status(410, 'Expired'));
      return;
    }
    const all = this.#asOf(version);
    const limit = Number(query.get('limit') ?? all.length);
    const items = all.slice(start, start + limit);
    const next = start + limit < all.length ? { continue: `${version} ${start + limit}` } : {};
    send(response, 200, {
      kind: 'ThingList',
      apiVersion: 'v1',
      metadata: { resourceVersion: String(version), ...next },
      items,
    });
  }

  /** The collection as it was: what happened since is undone. */
  #asOf(version: number): KubernetesObject[] {
    const objects = new Map(this.objects);
    for (const event of this.#events.filter((e) => e.version > version)) objects.delete(event.object.metadata.name);
    for (const event of this.#events.filter((e) => e.version <= version)) {
      if (event.type === 'DELETED') objects.delete(event.object.metadata.name);
      else objects.set(event.object.metadata.name, event.object);
    }
    return [...objects.values()].sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
  }
}

export function status(code: number, reason: string, message = ''): object {
  return { kind: 'Status', apiVersion: 'v1', status: 'Failure', code, reason, message };
}

export function send(response: ServerResponse, code: number, body: object, headers: Record<string, string> = {}): void {
  response.writeHead(code, { 'Content-Type': 'application/json', ...headers });
  response.end(JSON.stringify(body));
}
