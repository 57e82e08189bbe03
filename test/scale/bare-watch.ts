/**
 * A watch and nothing else: when an object's version reached this machine, and how many bytes came. What it costs to know of
 * something at all, beside which the agent's own time is measured.
 */
import { readFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { Agent, request } from 'node:https';
import type { ApiServer } from '../cluster/api-server.ts';

export class BareWatch {
  readonly #agent: Agent;
  readonly #answer: IncomingMessage;
  #bytes = 0;
  #events = 0;

  private constructor(agent: Agent, answer: IncomingMessage, onEvent: (line: string) => void) {
    this.#agent = agent;
    this.#answer = answer;
    let rest = '';
    answer.setEncoding('utf8').on('data', (text: string) => {
      this.#bytes += Buffer.byteLength(text);
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      this.#events += lines.length;
      for (const line of lines) onEvent(line);
    });
    answer.on('error', () => {}); // It is ended by close().
  }

  /** What happens to the collection from now on. `onEvent` is handed each event as it came, one line of JSON. */
  static async start(api: ApiServer, path: string, onEvent: (line: string) => void = () => {}): Promise<BareWatch> {
    const list = await api.request('GET', `${path}?limit=1`);
    const { resourceVersion } = (list.body as { metadata: { resourceVersion: string } }).metadata;
    const agent = new Agent({ ca: readFileSync(api.caFile) });
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      const url = `${api.url}${path}?watch=true&resourceVersion=${resourceVersion}`;
      const sent = request(url, { agent, headers: { Authorization: `Bearer ${api.token}` } }, resolve);
      sent.on('error', reject).end();
    });
    if (answer.statusCode !== 200) throw new Error(`watching ${path}: status ${answer.statusCode}`);
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
