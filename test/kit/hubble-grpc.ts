/** A plain gRPC client of the Hubble API, for what the stock `hubble` cannot ask. */
import {
  type ChannelCredentials,
  type ClientReadableStream,
  credentials,
  makeGenericClientConstructor,
  type ServiceError,
} from '@grpc/grpc-js';
import {
  type CallDefinitions,
  callsOf,
  type GetFlowsRequest,
  type Timestamp,
} from '../../agent/api/hubble/messages.ts';
import { until } from './until.ts';

/** A GetFlowsResponse; only the fields that tests look at. */
export interface FlowLine {
  readonly flow?: Readonly<Record<string, unknown>> & {
    readonly time?: Timestamp;
    readonly uuid?: string;
    readonly verdict?: number;
    readonly event_type?: unknown;
    readonly drop_reason?: number;
    readonly drop_reason_desc?: number;
    readonly trace_reason?: number;
    readonly trace_observation_point?: number;
    readonly l4?: { readonly TCP?: { readonly destination_port?: number } };
    readonly ingress_denied_by?: readonly { readonly name?: string }[];
    readonly ingress_allowed_by?: readonly { readonly name?: string }[];
  };
  readonly lost_events?: { readonly source?: number; readonly num_events_lost?: number };
  readonly node_name?: string;
  readonly time?: Timestamp;
}

type Answer = Readonly<Record<string, unknown>>;
interface Calls {
  readonly [name: string]: ((...args: never[]) => unknown) | undefined;
}

const CALLS: CallDefinitions = {
  ...callsOf('observer.Observer'),
  ...callsOf('peer.Peer'),
  ...callsOf('grpc.health.v1.Health'),
};
const Client = makeGenericClientConstructor(CALLS, 'hubble');

/** An open stream and what came so far. */
export class OpenStream<Line> {
  readonly lines: Line[] = [];
  /** Resolves with "" or "code details". */
  readonly ended: Promise<string>;
  readonly #call: ClientReadableStream<Line>;

  constructor(call: ClientReadableStream<Line>) {
    this.#call = call;
    call.on('data', (line: Line) => this.lines.push(line));
    this.ended = new Promise((resolve) => {
      call.once('end', () => resolve(''));
      call.once('error', (error: ServiceError) => resolve(`${error.code} ${error.details}`));
    });
  }

  async has(count: number): Promise<void> {
    await until(() => this.lines.length >= count, {
      what: `${count} lines of a stream`,
      everyMs: 5,
      detail: () => `there are ${this.lines.length}`,
    });
  }

  pause(): void {
    this.#call.pause();
  }

  resume(): void {
    this.#call.resume();
  }

  cancel(): void {
    this.#call.cancel();
  }
}

export class HubbleClient {
  readonly #client: InstanceType<typeof Client>;

  constructor(address: string, how: ChannelCredentials = credentials.createInsecure(), serverName?: string) {
    // Each its own connection: how one is read does not hold up another.
    const options = serverName === undefined ? {} : { 'grpc.ssl_target_name_override': serverName };
    this.#client = new Client(address, how, { ...options, 'grpc.use_local_subchannel_pool': 1 });
  }

  /** All that a GetFlows without follow answers; rejects with grpc-js's error. */
  async flows(request: GetFlowsRequest): Promise<FlowLine[]> {
    const stream = this.stream<FlowLine>('GetFlows', request);
    const error = await stream.ended;
    if (error !== '') throw new Error(error);
    return stream.lines;
  }

  follow(request: GetFlowsRequest): OpenStream<FlowLine> {
    return this.stream('GetFlows', { ...request, follow: true });
  }

  stream<Line>(name: string, request: object): OpenStream<Line> {
    const call = this.#method(name) as (request: object) => ClientReadableStream<Line>;
    return new OpenStream(call.call(this.#client, request));
  }

  call(name: string, request: object): Promise<Answer> {
    const call = this.#method(name) as (
      request: object,
      done: (error: ServiceError | null, answer: Answer) => void,
    ) => void;
    return new Promise((resolve, reject) => {
      call.call(this.#client, request, (error, answer) => (error === null ? resolve(answer) : reject(error)));
    });
  }

  /** "code details" of the refusal; '' when it was none. */
  async refusalOf(name: string, request: object): Promise<string> {
    if (CALLS[name]?.responseStream) return this.stream(name, request).ended;
    return this.call(name, request).then(
      () => '',
      (error: ServiceError) => `${error.code} ${error.details}`,
    );
  }

  close(): void {
    this.#client.close();
  }

  #method(name: string): unknown {
    return (this.#client as unknown as Calls)[name];
  }
}
