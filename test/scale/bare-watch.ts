/**
 * A watch and nothing else: when an object's version reached this machine, and how many bytes came. What it costs to know of
 * something at all, beside which the agent's own time is measured.
 */
import { readFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { Agent, request } from 'node:https';
import { text } from 'node:stream/consumers';
import type { ApiServer } from '../cluster/api-server.ts';

export type Server = Pick<ApiServer, 'url' | 'caFile' | 'token'>;

export class BareWatch {
  readonly #agent: Agent;
  readonly #answer: IncomingMessage;
  #bytes = 0;
  #events = 0;

  private constructor(agent: Agent, answer: IncomingMessage, onEvent: (line: string) => void) {
    this.#agent = agent;
    this.#answer = answer;
    let rest = '';
    answer.setEncoding('utf8').on('data', (chunk: string) => {
      this.#bytes += Buffer.byteLength(chunk);
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      this.#events += lines.length;
      for (const line of lines) onEvent(line);
    });
    answer.on('error', () => {}); // It is ended by close().
  }

  /** What happens to the collection from now on. `onEvent` is handed each event as it came, one line of JSON. */
  static async start(server: Server, path: string, onEvent: (line: string) => void = () => {}): Promise<BareWatch> {
    const agent = new Agent({ ca: readFileSync(server.caFile) });
    const get = async (query: string): Promise<IncomingMessage> => {
      const answer = await new Promise<IncomingMessage>((resolve, reject) => {
        const headers = { Authorization: `Bearer ${server.token}` };
        request(`${server.url}${path}?${query}`, { agent, headers }, resolve).on('error', reject).end();
      });
      if (answer.statusCode !== 200) throw new Error(`GET ${path}: status ${answer.statusCode}`);
      return answer;
    };
    const list = JSON.parse(await text(await get('limit=1'))) as { metadata: { resourceVersion: string } };
    const answer = await get(`watch=true&resourceVersion=${list.metadata.resourceVersion}`);
    return new BareWatch(agent, answer, onEvent);
  }

  get bytes(): number {
    return this.#bytes;
  }
  get events(): number {
    return this.#events;
  }

  close(): void {
    this.#answer.destroy();
    this.#agent.destroy();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
