/**
 * A follower of all flows in a process of its own, as cheap as Node allows so that it is not what is measured: it takes from
 * each flow no more than its numbers. On stdin: "begin PORT" (what comes from now on counts; datagrams to PORT and up are
 * numbered), "pause", "resume", "report"; it answers each with one line of JSON (FollowerReport).
 *
 *     node flows-follower.ts grpc|http SOCKET
 */
import { request } from 'node:http';
import { connect as openHttp2 } from 'node:http2';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import protobuf from 'protobufjs/minimal.js';
import type { FlowLine } from '../../agent/flow/flow.ts';
import { quantile } from './figure.ts';

/** As in flows-load.c. */
const FIRST_SOURCE = 20_000;
const SPAN = 256;
const SOURCES = 8000;

export interface FollowerReport {
  /** Flows that came. */
  readonly flows: number;
  /** Different numbered datagrams whose first flow came. */
  readonly datagrams: number;
  /** Records that are missing between the first flow and the last, by the sequence number in their uuids. */
  readonly missing: number;
  /** What the agent said was lost, by Hubble's source. */
  readonly lost: { readonly ring: number; readonly queue: number; readonly history: number };
  /** From the packet to this process, ms. */
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** Bytes on the way: with HTTP/2's 64 KiB a follower waits for its own acknowledgements. */
const WINDOW = 4 << 20;
const LATENCIES_MOST = 200_000;

class Tally {
  flows = 0;
  datagrams = 0;
  missing = 0;
  readonly lost = { ring: 0, queue: 0, history: 0 };
  #port = 0;
  #sequence = 0;
  #seen = new Uint8Array(SOURCES * SPAN);
  #latencies: number[] = [];

  begin(port: number): void {
    this.flows = this.datagrams = this.missing = 0;
    this.lost.ring = this.lost.queue = this.lost.history = 0;
    this.#port = port;
    this.#sequence = 0;
    this.#seen.fill(0);
    this.#latencies = [];
  }

  flow(sequence: number, timeMs: number, sourcePort: number, destinationPort: number): void {
    this.flows++;
    if (this.#sequence > 0) this.missing += sequence - this.#sequence - 1;
    this.#sequence = sequence;
    if (this.#latencies.length < LATENCIES_MOST) {
      this.#latencies.push(performance.timeOrigin + performance.now() - timeMs);
    }
    const column = destinationPort - this.#port;
    if (sourcePort < FIRST_SOURCE || column < 0 || column >= SPAN) return;
    const number = (sourcePort - FIRST_SOURCE) * SPAN + column;
    if (this.#seen[number] !== 0) return;
    this.#seen[number] = 1;
    this.datagrams++;
  }

  told(source: number, count: number): void {
    if (source === 1) this.lost.ring += count;
    else if (source === 2) this.lost.queue += count;
    else this.lost.history += count;
  }

  report(): FollowerReport {
    const { flows, datagrams, missing, lost } = this;
    const latencies = this.#latencies.length === 0 ? [0] : this.#latencies;
    return { flows, datagrams, missing, lost, p50Ms: quantile(latencies, 0.5), p99Ms: quantile(latencies, 0.99) };
  }
}

/** Reads of a GetFlowsResponse what counts; field numbers as in agent/api/hubble/proto. */
class ResponseReader {
  #reader = protobuf.Reader.create(new Uint8Array());
  #sequence = 0;
  #source = 0;
  #destination = 0;
  #seconds = 0;
  #nanos = 0;
  #lostSource = 0;
  #lost = 0;

  read(bytes: Buffer, tally: Tally): void {
    this.#reader = protobuf.Reader.create(bytes);
    this.#sequence = this.#source = this.#destination = this.#nanos = this.#lost = 0;
    this.#fields(bytes.length, this.#response);
    if (this.#lost > 0) tally.told(this.#lostSource, this.#lost);
    else tally.flow(this.#sequence, this.#seconds * 1000 + this.#nanos / 1e6, this.#source, this.#destination);
  }

  readonly #response = (field: number): boolean => {
    if (field === 1) return this.#message(this.#flow);
    if (field === 3) return this.#message(this.#lostEvents);
    return field === 1001 && this.#message(this.#time);
  };
  readonly #flow = (field: number): boolean => {
    if (field === 6) return this.#message(this.#layer4);
    if (field !== 34) return false;
    this.#sequence = Number.parseInt(this.#reader.string().slice(-12), 16);
    return true;
  };
  readonly #layer4 = (field: number): boolean => (field === 1 || field === 2) && this.#message(this.#ports);
  readonly #ports = (field: number): boolean => {
    if (field === 1) this.#source = this.#reader.uint32();
    else if (field === 2) this.#destination = this.#reader.uint32();
    else return false;
    return true;
  };
  readonly #time = (field: number): boolean => {
    if (field === 1) this.#seconds = this.#reader.uint32();
    else if (field === 2) this.#nanos = this.#reader.uint32();
    else return false;
    return true;
  };
  readonly #lostEvents = (field: number): boolean => {
    if (field === 1) this.#lostSource = this.#reader.uint32();
    else if (field === 2) this.#lost = this.#reader.uint32();
    else return false;
    return true;
  };

  #message(read: (field: number) => boolean): true {
    const length = this.#reader.uint32();
    this.#fields(this.#reader.pos + length, read);
    return true;
  }

  #fields(end: number, read: (field: number) => boolean): void {
    while (this.#reader.pos < end) {
      const tag = this.#reader.uint32();
      if (!read(tag >>> 3)) this.#reader.skipType(tag & 7);
    }
  }
}

/** Cuts what comes into pieces; `cut` says where the first one ends, or -1 for not yet. */
function pieces(stream: Readable, cut: (bytes: Buffer) => number, take: (piece: Buffer) => void): void {
  let rest: Buffer = Buffer.alloc(0);
  stream.on('data', (chunk: Buffer) => {
    let left = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    for (let end = cut(left); end >= 0 && end <= left.length; end = cut(left)) {
      take(left.subarray(0, end));
      left = left.subarray(end);
    }
    rest = left;
  });
}

/** grpc-js would decode every field and cost more than the agent; this is HTTP/2 with a length before each message. */
function openGrpc(socket: string, tally: Tally): Readable {
  const session = openHttp2('http://localhost', {
    createConnection: () => connect(socket),
    settings: { initialWindowSize: WINDOW },
  });
  session.once('connect', () => session.setLocalWindowSize(WINDOW));
  const call = session.request({
    ':method': 'POST',
    ':path': '/observer.Observer/GetFlows',
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  const follow = Buffer.from([3 << 3, 1]); // GetFlowsRequest { follow: true }
  call.end(Buffer.concat([Buffer.from([0, 0, 0, 0, follow.length]), follow]));
  const response = new ResponseReader();
  const messageEnd = (bytes: Buffer) => (bytes.length < 5 ? -1 : 5 + bytes.readUInt32BE(1));
  // The head of the answer comes with the first flow.
  pieces(call, messageEnd, (message) => response.read(message.subarray(5), tally));
  return call;
}

/** NDJSON; the numbers are looked for in the text. */
function openHttp(socket: string, tally: Tally): Promise<Readable> {
  const number = (line: string, name: string) => {
    const at = line.indexOf(`"${name}":`);
    return at < 0 ? 0 : Number.parseInt(line.slice(at + name.length + 3, at + name.length + 14), 10);
  };
  const take = (bytes: Buffer) => {
    const line = bytes.toString('latin1');
    if (line.startsWith('{"flow"')) {
      const timeMs = Date.parse(line.slice(line.indexOf('"time":"') + 8, line.indexOf('"time":"') + 35));
      tally.flow(number(line, 'sequence'), timeMs, number(line, 'source_port'), number(line, 'destination_port'));
    } else {
      const { lost_events } = JSON.parse(line) as FlowLine;
      if (lost_events === undefined) throw new Error(`neither flow nor lost_events: ${line}`);
      const source = ['', 'PERF_EVENT_RING_BUFFER', 'OBSERVER_EVENTS_QUEUE'].indexOf(lost_events.source);
      tally.told(source, Number(lost_events.num_events_lost));
    }
  };
  return new Promise((resolve, reject) => {
    const call = request({ socketPath: socket, path: '/v1/flows?follow=true' }, (answer) => {
      pieces(answer, (bytes) => bytes.indexOf('\n') + 1 || -1, take);
      resolve(answer);
    });
    call.once('error', reject);
    call.end();
  });
}

const [kind = '', socket = ''] = process.argv.slice(2);
const tally = new Tally();
const stream = kind === 'grpc' ? openGrpc(socket, tally) : await openHttp(socket, tally);
createInterface({ input: process.stdin })
  .on('line', (line) => {
    const [word, port] = line.split(' ');
    if (word === 'begin') tally.begin(Number(port));
    else if (word === 'pause') stream.pause();
    else if (word === 'resume') stream.resume();
    console.log(JSON.stringify(tally.report()));
  })
  .on('close', () => process.exit());
console.log('following');
