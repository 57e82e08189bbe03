/**
 * Other nodes' agents, asked over HTTPS with the certificates of the Hubble API: the same resources with the same queries,
 * so whatever one agent can answer the cluster can. Not over Hubble's gRPC, which has no fields for half of it.
 */
import type { IncomingMessage } from 'node:http';
import { Agent, request } from 'node:https';
import type { FlowLine } from '../flow/flow.ts';
import type { ErrorAnswer } from './errors-answer.ts';
import { SIGN_OF_LIFE_MS } from './flow-streams.ts';
import type { TlsCredentials } from './tls-server.ts';

export interface Peer {
  readonly node: string;
  /** Undefined: not known yet. */
  readonly host: string | undefined;
  /** Name in its certificate. */
  readonly serverName: string;
}

/** A node whose agent did not answer, and why. */
export interface Unreachable {
  readonly node: string;
  readonly why: string;
}

export interface PeerOptions {
  readonly credentials: TlsCredentials;
  /** Of the API with TLS, the same on all nodes. */
  readonly port: number;
  /** A stream that says nothing for so long has lost its node; more than SIGN_OF_LIFE_MS. */
  readonly silenceMs?: number;
  /** The other nodes as they are now. */
  readonly others: () => readonly Peer[];
}

/** What a stream says at a time. */
export interface StreamEvent {
  /** Undefined for a sign of life. */
  readonly line: FlowLine | undefined;
  /** Where to go on behind it; undefined: as before. */
  readonly cursor: string | undefined;
}

interface Sending {
  readonly signal: AbortSignal;
  readonly agent: Agent | false;
  readonly accept?: string;
}

/** Asked at once, and how long one may take. */
const AT_ONCE = 16;
const DEADLINE_MS = 5000;
/** A stream says something at least every SIGN_OF_LIFE_MS (flow-streams.ts); one that does not has lost its node. */
const SILENCE_MS = 2.5 * SIGN_OF_LIFE_MS;
/** An answer is a page: this is far above the largest. */
const ANSWER_MAX = 64 << 20;

export class Peers {
  readonly #options: PeerOptions;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: AT_ONCE, scheduling: 'lifo', timeout: 30_000 });

  constructor(options: PeerOptions) {
    this.#options = options;
    options.credentials.onChange(() => this.#agent.destroy()); // connections of before have the old certificate
  }

  others(): readonly Peer[] {
    return this.#options.others();
  }

  /**
   * Asks all others for `path` and hands over each answer as it comes, so that one is held and not all; resolves with those that
   * did not answer, by name.
   */
  async ask<Answer>(path: string, take: (answer: Answer) => void): Promise<Unreachable[]> {
    const unreachable: Unreachable[] = [];
    const rest = [...this.others()];
    const work = async (): Promise<void> => {
      for (let peer = rest.shift(); peer !== undefined; peer = rest.shift()) {
        const { node } = peer;
        await this.#get<Answer>(peer, path).then(take, (error: Error) =>
          unreachable.push({ node, why: error.message }),
        );
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    return unreachable.sort((a, b) => (a.node < b.node ? -1 : 1));
  }

  /** A stream, in batches as it comes; ends when the peer ends it, rejects when it breaks or the peer falls silent. */
  async *follow(peer: Peer, path: string, signal: AbortSignal): AsyncGenerator<StreamEvent[], void, void> {
    // Not among the connections that questions share: a stream keeps its own for as long as it lasts.
    const answer = await this.#send(peer, path, { signal, agent: false, accept: 'text/event-stream' });
    const { silenceMs = SILENCE_MS } = this.#options;
    answer.socket.setTimeout(silenceMs, () => {
      answer.destroy(new Error(`no sign of life for ${silenceMs / 1000} s`));
    });
    let rest = '';
    for await (const chunk of answer.setEncoding('utf8')) {
      const events = (rest + chunk).split('\n\n');
      rest = events.pop() ?? '';
      if (rest.length > ANSWER_MAX) throw new Error('an event without end');
      if (events.length > 0) yield events.map(readEvent);
    }
  }

  close(): void {
    this.#agent.destroy();
  }

  async #get<Answer>(peer: Peer, path: string): Promise<Answer> {
    const signal = AbortSignal.timeout(DEADLINE_MS);
    try {
      return JSON.parse(await readAll(await this.#send(peer, path, { signal, agent: this.#agent }))) as Answer;
    } catch (error) {
      if (signal.aborted) throw new Error(`no answer within ${DEADLINE_MS / 1000} s`, { cause: error });
      throw error;
    }
  }

  async #send(peer: Peer, path: string, { accept, ...how }: Sending): Promise<IncomingMessage> {
    const { pems } = this.#options.credentials;
    if (pems === undefined) throw new Error('this agent has no certificate yet');
    if (peer.host === undefined) throw new Error('the address of the node is not known yet');
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      const { host, serverName: servername } = peer;
      const headers = accept ? { accept } : {};
      const sent = request({ host, port: this.#options.port, path, servername, headers, ...pems, ...how });
      sent.on('response', resolve);
      sent.on('error', reject);
      sent.end();
    });
    if (answer.statusCode === 200) return answer;
    const said = await readAll(answer);
    throw refused(said, answer.statusCode);
  }
}

/** Server-sent events as flow-streams.ts writes them. */
function readEvent(text: string): StreamEvent {
  const field = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(text)?.[1];
  const data = field('data');
  return { line: data === undefined ? undefined : (JSON.parse(data) as FlowLine), cursor: field('id') };
}

/** A peer that refuses what this agent takes is of another version: it is named, like one that does not answer. */
function refused(text: string, status: number | undefined): Error {
  try {
    return new Error((JSON.parse(text) as ErrorAnswer).error.message);
  } catch {
    return new Error(`HTTP status ${status}`); // no answer of our API: its status is all there is to say
  }
}

async function readAll(answer: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of answer) {
    size += (chunk as Buffer).length;
    if (size > ANSWER_MAX) throw new Error('the answer is too long');
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks).toString('utf8');
}
