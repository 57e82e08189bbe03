/**
 * Other nodes' agents, asked over HTTPS with the certificates of the Hubble API: the same resources with the same queries,
 * so whatever one agent can answer the cluster can. Not over Hubble's gRPC, which has no fields for half of it.
 */
import type { IncomingMessage } from 'node:http';
import { Agent, request } from 'node:https';
import { WeirError } from '../errors.ts';
import type { FlowLine } from '../flow/flow.ts';
import type { ErrorAnswer } from './errors-answer.ts';
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
  /** The other nodes as they are now. */
  readonly others: () => readonly Peer[];
}

/** Asked at once, and how long one may take. */
const AT_ONCE = 16;
const DEADLINE_MS = 5000;
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

  /** Asks all others for `path`; one that fails is named and does not hold up the rest. */
  async ask<Answer>(path: string): Promise<{ answers: Answer[]; unreachable: Unreachable[] }> {
    const answers: Answer[] = [];
    const unreachable: Unreachable[] = [];
    const rest = [...this.others()];
    const work = async (): Promise<void> => {
      for (let peer = rest.shift(); peer !== undefined; peer = rest.shift()) {
        try {
          answers.push(await this.#get<Answer>(peer, path));
        } catch (error) {
          if (error instanceof WeirError && error.code === 'BAD_REQUEST') throw error;
          unreachable.push({ node: peer.node, why: (error as Error).message });
        }
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    return { answers, unreachable: unreachable.sort((a, b) => (a.node < b.node ? -1 : 1)) };
  }

  /** The lines of a stream, in batches as they come; ends when the peer ends it, rejects when it breaks. */
  async *follow(peer: Peer, path: string, signal: AbortSignal): AsyncGenerator<FlowLine[], void, void> {
    const answer = await this.#send(peer, path, signal);
    let rest = '';
    for await (const chunk of answer.setEncoding('utf8')) {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      if (rest.length > ANSWER_MAX) throw new Error('a line without end');
      if (lines.length > 0) yield lines.map((line) => JSON.parse(line) as FlowLine);
    }
  }

  close(): void {
    this.#agent.destroy();
  }

  async #get<Answer>(peer: Peer, path: string): Promise<Answer> {
    const signal = AbortSignal.timeout(DEADLINE_MS);
    try {
      return JSON.parse(await readAll(await this.#send(peer, path, signal))) as Answer;
    } catch (error) {
      if (signal.aborted) throw new Error(`no answer within ${DEADLINE_MS / 1000} s`, { cause: error });
      throw error;
    }
  }

  async #send(peer: Peer, path: string, signal: AbortSignal): Promise<IncomingMessage> {
    const { pems } = this.#options.credentials;
    if (pems === undefined) throw new Error('this agent has no certificate yet');
    if (peer.host === undefined) throw new Error('the address of the node is not known yet');
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      const { host, serverName: servername } = peer;
      const sent = request({ host, port: this.#options.port, path, servername, ...pems, agent: this.#agent, signal });
      sent.on('response', resolve);
      sent.on('error', reject);
      sent.end();
    });
    if (answer.statusCode === 200) return answer;
    const said = await readAll(answer);
    throw refused(said, answer.statusCode);
  }
}

function refused(text: string, status: number | undefined): Error {
  try {
    const { error } = JSON.parse(text) as ErrorAnswer;
    if (error.code === 'BAD_REQUEST') return new WeirError('BAD_REQUEST', error.operation, error.message);
    return new Error(error.message);
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
