/** HTTP as a hostile client speaks it: bytes out as they are, answers taken apart as they come. */
import { connect, type NetConnectOpts, type Socket } from 'node:net';

export interface RawAnswer {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
}

/** What came back until the server closed the connection, or the client lost patience. */
export interface Exchange {
  readonly answers: readonly RawAnswer[];
  /** Bytes that are no whole answer. */
  readonly rest: string;
  readonly closed: boolean;
}

/** Sends the pieces one after the other and reads until the server hangs up, `wanted` answers are there, or `patienceMs` are over. */
export function exchange(
  to: NetConnectOpts,
  pieces: readonly (string | Uint8Array)[],
  { wanted = Number.POSITIVE_INFINITY, patienceMs = 500 }: { wanted?: number; patienceMs?: number } = {},
): Promise<Exchange> {
  return new Promise((resolve) => {
    let got = '';
    const socket = connect(to);
    const end = (closed: boolean): void => {
      clearTimeout(late);
      socket.destroy();
      resolve({ ...takeApart(got), closed });
    };
    const late = setTimeout(() => end(false), patienceMs);
    socket.setEncoding('latin1');
    socket.on('error', () => {}); // 'close' follows
    socket.on('close', () => end(true));
    socket.on('data', (text: string) => {
      got += text;
      if (Number.isFinite(wanted) && takeApart(got).answers.length >= wanted) end(false);
    });
    void (async () => {
      for (const piece of pieces) {
        if (!socket.destroyed) socket.write(piece);
        await new Promise(setImmediate);
      }
    })();
  });
}

/** A client that sends and never reads. */
export function deaf(to: NetConnectOpts): Socket {
  const socket = connect(to);
  socket.on('error', () => {}); // the server may hang up on it
  socket.pause();
  return socket;
}

function takeApart(text: string): Pick<Exchange, 'answers' | 'rest'> {
  const answers: RawAnswer[] = [];
  let at = 0;
  for (;;) {
    const one = readAnswer(text, at);
    if (one === undefined) return { answers, rest: text.slice(at) };
    answers.push(one.answer);
    at = one.end;
  }
}

/** The answer that begins at `at`; undefined while it is not whole. */
function readAnswer(text: string, at: number): { answer: RawAnswer; end: number } | undefined {
  const headEnd = text.indexOf('\r\n\r\n', at);
  if (headEnd < 0) return undefined;
  const [statusLine = '', ...lines] = text.slice(at, headEnd).split('\r\n');
  const status = Number(/^HTTP\/1\.1 ([0-9]{3}) /.exec(statusLine)?.[1]);
  if (Number.isNaN(status)) return undefined;
  if (status === 100) return readAnswer(text, headEnd + 4); // the answer is yet to come
  const headers = new Map(
    lines.map((line): [string, string] => {
      const colon = line.indexOf(':');
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
    }),
  );
  const begin = headEnd + 4;
  if (headers.get('transfer-encoding') === 'chunked') {
    const chunks = readChunks(text, begin);
    return chunks && { answer: { status, headers, body: utf8(chunks.body) }, end: chunks.end };
  }
  const end = begin + Number(headers.get('content-length') ?? 0);
  // of HEAD, the length is told and nothing comes
  if (end > text.length && text.length > begin) return undefined;
  return { answer: { status, headers, body: utf8(text.slice(begin, end)) }, end: Math.min(end, text.length) };
}

function readChunks(text: string, begin: number): { body: string; end: number } | undefined {
  let body = '';
  for (let at = begin; ; ) {
    const lineEnd = text.indexOf('\r\n', at);
    if (lineEnd < 0) return undefined;
    const length = Number.parseInt(text.slice(at, lineEnd), 16);
    const next = lineEnd + 2 + length + 2;
    if (Number.isNaN(length) || next > text.length) return undefined;
    if (length === 0) return { body, end: next };
    body += text.slice(lineEnd + 2, lineEnd + 2 + length);
    at = next;
  }
}

function utf8(latin1: string): string {
  return Buffer.from(latin1, 'latin1').toString('utf8');
}
