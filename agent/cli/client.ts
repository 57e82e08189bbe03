/** Talks to an agent's HTTP API, over whatever leads to it: its unix socket, TCP, or a program in its container. */
import { type Agent, type IncomingMessage, request } from 'node:http';
import type { ErrorAnswer } from '../api/errors-answer.ts';
import { CliError, UsageError } from './command.ts';

/** Query fields; a list stands for a repeated field. */
export type Query = Readonly<Record<string, string | readonly string[] | undefined>>;

export interface Client {
  /** The JSON answer. Throws UsageError for what the agent finds wrong with the question, CliError for anything else. */
  get<Answer>(path: string, query?: Query): Promise<Answer>;
  /** The answer as it is. Throws as {@link get}. */
  text(path: string): Promise<string>;
  /** The JSON lines of an answer that does not end by itself; ends quietly on Ctrl-C. */
  follow<Line>(path: string, query: Query): AsyncGenerator<Line, void, void>;
}

/** What leads to an agent. */
export type Way = { readonly socketPath: string } | { readonly host: string; readonly port: number } | { agent: Agent };

/** @param name of the agent, for messages: "the agent at unix:///run/weir/api.sock", "the agent of node1" */
export function createClient(name: string, way: Way, signal: AbortSignal): Client {
  async function send(path: string, query: Query): Promise<IncomingMessage> {
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      const sent = request({ ...way, path: path + queryText(query), signal }, resolve);
      sent.on('error', (error) => reject(new CliError(unreachable(name, error), { cause: error })));
      sent.end();
    });
    if (answer.statusCode === 200) return answer;
    throw refused(await readAll(answer), answer.statusCode);
  }

  return {
    async get<Answer>(path: string, query: Query = {}): Promise<Answer> {
      const text = await readAll(await send(path, query));
      return parseJson(text, name) as Answer;
    },
    text: async (path) => readAll(await send(path, {})),
    async *follow<Line>(path: string, query: Query) {
      let answer: IncomingMessage;
      try {
        answer = await send(path, query);
        for await (const line of linesOf(answer)) yield parseJson(line, name) as Line;
      } catch (error) {
        if (signal.aborted) return;
        throw error instanceof CliError || error instanceof UsageError
          ? error
          : new CliError(`the connection to ${name} broke: ${(error as Error).message}`, { cause: error });
      }
      if (!signal.aborted) throw new CliError(`${name} ended the stream`);
    },
  };
}

/** What --server names. */
export function readServer(server: string): Way {
  const path = /^unix:(?:\/\/)?(\/.+)$/.exec(server)?.[1];
  if (path !== undefined) return { socketPath: path };
  const url = URL.parse(/^https?:/.test(server) ? server : `http://${server}`);
  if (url?.protocol === 'http:' && url.port !== '' && url.pathname === '/' && url.search === '') {
    return { host: url.hostname.replace(/^\[|\]$/g, ''), port: Number(url.port) };
  }
  throw new UsageError(`--server: expected unix:///PATH or http://HOST:PORT, got "${server}"`);
}

function queryText(query: Query): string {
  const fields = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of value === undefined ? [] : [value].flat()) fields.append(name, one);
  }
  return fields.size === 0 ? '' : `?${fields}`;
}

function unreachable(name: string, error: NodeJS.ErrnoException): string {
  const hints: Readonly<Record<string, string>> = {
    ENOENT: 'no such socket: is the agent running? Another place is named by --server or $WEIR_SERVER',
    ECONNREFUSED: 'nobody listens: is the agent running?',
    EACCES: 'permission denied: only root may talk to the agent',
  };
  return `cannot reach ${name}: ${hints[error.code ?? ''] ?? error.message}`;
}

function refused(text: string, status: number | undefined): Error {
  let answer: Partial<ErrorAnswer> = {};
  try {
    answer = JSON.parse(text) as Partial<ErrorAnswer>;
  } catch {
    // no answer of our API: its status is all there is to say
  }
  const message = answer.error?.message ?? `the agent answered with HTTP status ${status}`;
  const code = answer.error?.code;
  return code === 'BAD_REQUEST' ? new UsageError(message) : new CliError(message, { code });
}

async function* linesOf(answer: IncomingMessage): AsyncGenerator<string, void, void> {
  let rest = '';
  for await (const chunk of answer.setEncoding('utf8')) {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) if (line !== '') yield line;
  }
}

async function readAll(answer: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of answer) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

function parseJson(text: string, name: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new CliError(`what answers as ${name} is none: ${(error as Error).message}`, { cause: error });
  }
}
