/**
 * Runs inside a network namespace, one per simulated pod: echo servers, clients and a ticker with real sockets.
 * Requests come as JSON lines on stdin, answers go to stdout; ends when stdin closes. Driven by traffic.ts.
 */
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { connect, createServer, isIPv6, type Socket } from 'node:net';
import { createInterface } from 'node:readline';

type To = { address: string; port: number; timeoutMs: number; sourcePort: number };
export type Request = { id: number } & (
  | { op: 'hello' }
  | { op: 'serveTcp' | 'serveUdp'; address: string; port: number }
  | ({ op: 'tcp' | 'udp' | 'open' } & To)
  | { op: 'say'; connection: number; text: string; timeoutMs: number }
  | { op: 'hangUp'; connection: number; abort: boolean }
  | ({ op: 'startTicker'; protocol: 'tcp' | 'udp'; intervalMs: number } & To)
  | { op: 'tickerStats'; ticker: number }
  | { op: 'stopTicker'; ticker: number; settleMs: number }
  | { op: 'served' }
);
export type Answer = { id: number; value: unknown } | { id: number; error: string };

/** What became of an attempt: its echo came back, silence, RST to the SYN, RST later, or an ICMP error. */
export type Outcome = 'ok' | 'timeout' | 'refused' | 'reset' | 'unreachable';

export interface TickerStats {
  readonly sent: number;
  readonly received: number;
  /** Echoes that came out of order (never on TCP). */
  readonly reordered: number;
  /** Longest time without an echo, in ms, while messages were being sent. */
  readonly longestGapMs: number;
  /** Milliseconds since the last echo (until the ticker was stopped). */
  readonly silentMs: number;
  /** Why the connection ended, when it did. */
  readonly ended?: Outcome;
}

const served = { connections: 0, datagrams: 0, bytes: 0 };
const connections = new Map<number, Socket>();
const tickers = new Map<number, Ticker>();
let lastNumber = 0;

const OUTCOMES: Record<string, Outcome> = {
  ECONNREFUSED: 'refused',
  ECONNRESET: 'reset',
  EPIPE: 'reset',
  ETIMEDOUT: 'timeout',
  EHOSTUNREACH: 'unreachable',
  ENETUNREACH: 'unreachable',
  EACCES: 'unreachable',
  EPERM: 'unreachable',
};

/** An error that is no network outcome (a bug, a bad address) stays an error. */
function outcomeOf(error: Error): Outcome {
  const outcome = OUTCOMES[(error as NodeJS.ErrnoException).code ?? ''];
  if (outcome === undefined) throw error;
  return outcome;
}

function serveTcp(address: string, port: number): Promise<number> {
  const server = createServer((socket) => {
    served.connections += 1;
    socket.setNoDelay(true);
    socket.on('error', () => socket.destroy());
    socket.on('data', (data) => {
      served.bytes += data.length;
      socket.write(data);
    });
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, address, () => {
      const bound = server.address();
      resolve(bound !== null && typeof bound === 'object' ? bound.port : port);
    });
  });
}

function udpSocket(address: string): UdpSocket {
  return createSocket({ type: isIPv6(address) ? 'udp6' : 'udp4' });
}

function bind(socket: UdpSocket, port: number, address?: string): Promise<number> {
  return new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.bind(port, address, () => {
      socket.off('error', reject);
      resolve(socket.address().port);
    });
  });
}

async function serveUdp(address: string, port: number): Promise<number> {
  const socket = udpSocket(address);
  const bound = await bind(socket, port, address);
  socket.on('error', () => {}); // An ICMP error about an echo: the asker sees silence, which is its answer.
  socket.on('message', (data, from) => {
    served.datagrams += 1;
    served.bytes += data.length;
    socket.send(data, from.port, from.address);
  });
  return bound;
}

function open(to: To): Promise<Socket | Outcome> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: to.address,
      port: to.port,
      ...(to.sourcePort === 0 ? {} : { localPort: to.sourcePort }),
    });
    const timer = setTimeout(() => {
      socket.destroy();
      resolve('timeout');
    }, to.timeoutMs);
    const failed = (error: Error) => {
      clearTimeout(timer);
      try {
        resolve(outcomeOf(error));
      } catch (unexpected) {
        reject(unexpected);
      }
    };
    socket.once('error', failed);
    socket.once('connect', () => {
      clearTimeout(timer);
      socket.off('error', failed);
      socket.setNoDelay(true);
      resolve(socket);
    });
  });
}

/** Sends and waits for as many bytes back. */
function say(socket: Socket, text: string, timeoutMs: number): Promise<Outcome> {
  return new Promise((resolve) => {
    let missing = Buffer.byteLength(text);
    const done = (outcome: Outcome) => {
      clearTimeout(timer);
      socket.off('data', onData).off('error', onError).off('close', onClose);
      resolve(outcome);
    };
    const onData = (data: Buffer) => {
      missing -= data.length;
      if (missing <= 0) done('ok');
    };
    const onError = (error: Error) => done(outcomeOf(error));
    const onClose = () => done('reset');
    const timer = setTimeout(() => done('timeout'), timeoutMs);
    socket.on('data', onData).on('error', onError).on('close', onClose);
    if (socket.destroyed) done('reset');
    else socket.write(text);
  });
}

async function tcp(to: To): Promise<Outcome> {
  const socket = await open(to);
  if (typeof socket === 'string') return socket;
  const outcome = await say(socket, 'hello\n', to.timeoutMs);
  socket.on('error', () => {});
  socket.destroy();
  return outcome;
}

async function udp(to: To): Promise<Outcome> {
  const socket = udpSocket(to.address);
  if (to.sourcePort !== 0) await bind(socket, to.sourcePort);
  return new Promise((resolve) => {
    const done = (outcome: Outcome) => {
      clearTimeout(timer);
      socket.close();
      resolve(outcome);
    };
    const timer = setTimeout(() => done('timeout'), to.timeoutMs);
    socket.once('message', () => done('ok'));
    // Connected, so that an ICMP error about the datagram reaches this socket.
    socket.once('error', (error) => done(outcomeOf(error)));
    socket.connect(to.port, to.address, () => socket.send('hello'));
  });
}

/** Numbered 4-byte messages to an echo server; counts what comes back and how long it was silent. */
class Ticker {
  private sent = 0;
  private received = 0;
  private reordered = 0;
  private expected = 0;
  private lastEcho = performance.now();
  private longestGapMs = 0;
  private ended: Outcome | undefined;
  private stopped: number | undefined;
  private rest = Buffer.alloc(0);
  private readonly timer: NodeJS.Timeout;

  constructor(intervalMs: number, send: (message: Buffer) => void) {
    this.timer = setInterval(() => {
      if (this.ended !== undefined) return;
      const message = Buffer.alloc(4);
      message.writeUInt32BE(this.sent);
      this.sent += 1;
      send(message);
    }, intervalMs);
  }

  /** Bytes of a stream or of one datagram. */
  echoed(data: Buffer): void {
    this.rest = Buffer.concat([this.rest, data]);
    for (; this.rest.length >= 4; this.rest = this.rest.subarray(4)) {
      const number = this.rest.readUInt32BE();
      if (number < this.expected) this.reordered += 1;
      else this.expected = number + 1;
      this.received += 1;
    }
    const silentMs = Math.min(performance.now(), this.stopped ?? Infinity) - this.lastEcho;
    this.longestGapMs = Math.max(this.longestGapMs, silentMs);
    this.lastEcho = performance.now();
  }

  end(why: Outcome): void {
    this.ended ??= why;
  }

  stop(): void {
    clearInterval(this.timer);
    this.stopped = performance.now();
  }

  stats(): TickerStats {
    const silentMs = Math.max(0, (this.stopped ?? performance.now()) - this.lastEcho);
    const { sent, received, reordered, ended } = this;
    const longestGapMs = Math.max(this.longestGapMs, silentMs);
    return { sent, received, reordered, longestGapMs, silentMs, ...(ended === undefined ? {} : { ended }) };
  }
}

async function startTicker(request: Extract<Request, { op: 'startTicker' }>): Promise<number> {
  const number = ++lastNumber;
  if (request.protocol === 'tcp') {
    const socket = await open(request);
    if (typeof socket === 'string') throw new Error(socket);
    const ticker = new Ticker(request.intervalMs, (message) => socket.write(message));
    socket.on('data', (data: Buffer) => ticker.echoed(data));
    socket.on('error', (error) => ticker.end(outcomeOf(error)));
    socket.on('close', () => ticker.end('reset'));
    connections.set(number, socket);
    tickers.set(number, ticker);
    return number;
  }
  const socket = udpSocket(request.address);
  await bind(socket, request.sourcePort);
  const ticker = new Ticker(request.intervalMs, (message) => socket.send(message, request.port, request.address));
  socket.on('message', (data) => ticker.echoed(data));
  socket.on('error', () => {}); // A denied datagram may be answered by ICMP: the count of echoes tells.
  tickers.set(number, ticker);
  return number;
}

function known<T>(table: Map<number, T>, number: number, what: string): T {
  const found = table.get(number);
  if (found === undefined) throw new Error(`no ${what} ${number}`);
  return found;
}

async function handle(request: Request): Promise<unknown> {
  switch (request.op) {
    case 'hello':
      return 'hello';
    case 'serveTcp':
      return serveTcp(request.address, request.port);
    case 'serveUdp':
      return serveUdp(request.address, request.port);
    case 'tcp':
      return tcp(request);
    case 'udp':
      return udp(request);
    case 'open': {
      const socket = await open(request);
      if (typeof socket === 'string') throw new Error(socket);
      const number = ++lastNumber;
      socket.on('error', () => {}); // Seen by the next say().
      connections.set(number, socket);
      return number;
    }
    case 'say':
      return say(known(connections, request.connection, 'connection'), request.text, request.timeoutMs);
    case 'hangUp': {
      const socket = known(connections, request.connection, 'connection');
      connections.delete(request.connection);
      if (request.abort) socket.resetAndDestroy();
      else socket.end();
      return undefined;
    }
    case 'startTicker':
      return startTicker(request);
    case 'tickerStats':
      return known(tickers, request.ticker, 'ticker').stats();
    case 'stopTicker': {
      const ticker = known(tickers, request.ticker, 'ticker');
      ticker.stop();
      await new Promise((resolve) => setTimeout(resolve, request.settleMs));
      tickers.delete(request.ticker);
      return ticker.stats();
    }
    case 'served':
      return served;
  }
}

if (import.meta.main) {
  const lines = createInterface({ input: process.stdin });
  lines.on('close', () => process.exit(0));
  lines.on('line', (line) => {
    const request = JSON.parse(line) as Request;
    const answer = (value: Answer) => process.stdout.write(`${JSON.stringify(value)}\n`);
    handle(request).then(
      (value) => answer({ id: request.id, value: value ?? null }),
      (error) => answer({ id: request.id, error: error instanceof Error ? error.message : String(error) }),
    );
  });
}
