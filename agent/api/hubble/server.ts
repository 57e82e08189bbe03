/**
 * Hubble's gRPC API of this agent, for the stock `hubble` client: on a unix socket that only root reaches, and on TCP
 * with TLS for holders of a client certificate. Loaded only when asked for: it takes memory that not every node has to
 * spend.
 */
import { chmod, mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Server, type UntypedServiceImplementation } from '@grpc/grpc-js';
import { asWeirError } from '../../errors.ts';
import type { FlowHistory } from '../../flow/history.ts';
import type { Names } from '../../flow/names.ts';
import type { Logger } from '../../run/log.ts';
import { takeOver } from '../../run/unix-socket.ts';
import type { State } from '../state.ts';
import type { AddressChange } from './agent-addresses.ts';
import { AgentEvents, type AgentEventsRequest } from './agent-events.ts';
import { Calls, unpackBatches } from './calls.ts';
import { type CertificateFiles, Certificates, certificatesAreThere, certificatesToCome } from './certificates.ts';
import type { NodeLabels } from './flow-message.ts';
import { getFlows } from './get-flows.ts';
import { checkHealth, watchHealth } from './health.ts';
import { Listener } from './listener.ts';
import { callsOf, type GetFlowsRequest } from './messages.ts';
import { getNamespaces, type ObserverState, serverStatus } from './observer.ts';
import { fullName, type HubbleNode, type Peer, Peers, peersOf } from './peers.ts';
import { Refusal } from './refusal.ts';

export interface HubbleOptions {
  readonly flows: FlowHistory;
  readonly node: string;
  readonly cluster: string;
  readonly version: string;
  /** ms since 1970. */
  readonly startedAt: number;
  readonly log?: Logger;
  /** Path of the unix socket; undefined: none. */
  readonly socket: string | undefined;
  readonly tls: HubbleTls | undefined;
  /** The nodes that have an agent, as they are now, this one too. */
  readonly nodes: () => readonly HubbleNode[];
  /** Labels of this node, as they are now. */
  readonly nodeLabels: () => NodeLabels;
  /** What agent events are found from. */
  readonly state: Pick<State, 'policies' | 'endpoints'>;
  /** Who is at an address; without them changes of addresses are not told. */
  readonly names?: Pick<Names, 'nameOfAddress'>;
  /** Called for each connection that is refused. */
  readonly refused?: () => void;
}

export interface HubbleTls {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  readonly files: CertificateFiles;
}

export interface HubbleServer {
  /** Where it listens: "unix:/run/weir/hubble.sock", "127.0.0.1:4244". */
  readonly at: readonly string[];
  /** Undefined without TLS, and until the files are there. */
  readonly certificates: Certificates | undefined;
  /** To be called when `nodes` or `state` may answer something else than before. */
  changed(): void;
  /** To be called with every change of the addresses the agent knows. */
  addressesChanged(change: AddressChange): void;
  close(): Promise<void>;
}

/** A request is small; a peer that is gone without a word is noticed. How many connections: listener.ts. */
const LIMITS = {
  'grpc.enable_channelz': 0,
  'grpc.max_receive_message_length': 64 << 10,
  'grpc.max_concurrent_streams': 64,
  'grpc.keepalive_time_ms': 30_000,
  'grpc.keepalive_timeout_ms': 10_000,
} as const;
/** How long clients may take to say goodbye. */
const CLOSE_MS = 1000;

/** Rejects with CONFIG_INVALID or ALREADY_RUNNING when it cannot listen. */
export async function startHubble(options: HubbleOptions): Promise<HubbleServer> {
  const { flows, node, cluster, startedAt, log, socket, tls, refused = () => {} } = options;
  const teller = { node, run: flows.run, cluster, version: options.version, nodeLabels: options.nodeLabels };
  const state: ObserverState = { history: flows, teller, startedAt };
  const calls = new Calls(log);
  const events = new AgentEvents(options.state, fullName(node, cluster), startedAt, options.names);
  const peers = new Peers(() => readPeers(options, tlsPort));
  const server = new Server({ ...LIMITS, interceptors: [unpackBatches] });
  let tlsPort = 0;

  server.addService(callsOf('observer.Observer'), {
    GetFlows: calls.stream((request, signal) => getFlows(request as GetFlowsRequest, state, signal)),
    GetNamespaces: calls.unary(() => getNamespaces(state)),
    ServerStatus: calls.unary(() => serverStatus(state)),
    GetNodes: calls.unary(() => refuse('GetNodes', 'only a relay knows other nodes')),
    GetAgentEvents: calls.stream((request, signal) => events.read(request as AgentEventsRequest, signal)),
    GetDebugEvents: calls.stream(() => refuse('GetDebugEvents', 'this agent has no debug events')),
  } satisfies UntypedServiceImplementation);
  server.addService(callsOf('peer.Peer'), {
    Notify: calls.stream((_, signal) => peers.notify(signal)),
  } satisfies UntypedServiceImplementation);
  server.addService(callsOf('grpc.health.v1.Health'), {
    Check: calls.unary((request) => checkHealth(serviceOf(request))),
    Watch: calls.stream((request, signal) => watchForever(serviceOf(request), signal)),
  } satisfies UntypedServiceImplementation);

  const at: string[] = [];
  const listeners: Listener[] = [];
  let certificates: Certificates | undefined;
  const closing = new AbortController();

  async function listenTls({ host, port }: HubbleTls, opened: Certificates): Promise<string> {
    certificates = opened;
    const listener = await Listener.open(server, { host, port }, { certificates, refused });
    listeners.push(listener);
    if (closing.signal.aborted) listener.stop(0);
    tlsPort = listener.port;
    peers.look();
    return `${host.includes(':') ? `[${host}]` : host}:${tlsPort}`;
  }

  /** What makes certificates (cert-manager) may need the network first, and with it this agent. */
  async function listenLater(wanted: HubbleTls): Promise<void> {
    log?.warn('the Hubble API waits for its certificates', { certificate: wanted.files.certificate });
    try {
      at.push(await listenTls(wanted, await certificatesToCome(wanted.files, log, closing.signal)));
      log?.info('the Hubble API listens', { at: at.at(-1) });
    } catch (error) {
      if (closing.signal.aborted) return;
      log?.error('the Hubble API cannot be served over TLS', { cause: asWeirError(error, 'open the Hubble API') });
    }
  }

  try {
    if (socket !== undefined) {
      listeners.push(await listenOnSocket(server, socket, refused));
      at.push(`unix:${socket}`);
    }
    if (tls !== undefined && certificatesAreThere(tls.files))
      at.push(await listenTls(tls, await Certificates.open(tls.files, log)));
    else if (tls !== undefined) void listenLater(tls);
  } catch (error) {
    certificates?.close();
    for (const listener of listeners) listener.stop(0);
    server.forceShutdown();
    throw error;
  }
  return {
    at,
    get certificates() {
      return certificates;
    },
    changed() {
      peers.look();
      events.look();
    },
    addressesChanged: (change) => events.addressesChanged(change),
    async close() {
      closing.abort();
      certificates?.close();
      events.close();
      for (const listener of listeners) listener.stop(CLOSE_MS);
      calls.close();
      await new Promise<void>((resolve) => {
        const late = setTimeout(() => {
          server.forceShutdown();
          resolve();
        }, CLOSE_MS);
        server.tryShutdown(() => {
          clearTimeout(late);
          resolve();
        });
      });
    },
  };
}

async function listenOnSocket(server: Server, path: string, refused: () => void): Promise<Listener> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await takeOver(path, 'open the Hubble socket');
  const listener = await Listener.open(server, { path }, { refused });
  await chmod(path, 0o600);
  return listener;
}

/** Other nodes are asked over TLS only; an agent without it can still be told of as itself. */
function readPeers({ node, cluster, socket, nodes }: HubbleOptions, port: number): Peer[] {
  const own = { name: fullName(node, cluster), address: `unix://${socket}`, serverName: undefined };
  return port === 0 ? [own] : peersOf(nodes(), { cluster, port });
}

function refuse(call: string, why: string): never {
  throw new Refusal('UNIMPLEMENTED', `${call} is not served: ${why}`);
}

function serviceOf(request: object): string {
  return (request as { readonly service?: string }).service ?? '';
}

async function* watchForever(service: string, signal: AbortSignal): AsyncGenerator<object[], void, void> {
  yield [watchHealth(service)];
  if (signal.aborted) return;
  await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
}
