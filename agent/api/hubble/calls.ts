/** Calls of grpc-js as functions that return or throw; streams that wait for their reader. */
import {
  type handleUnaryCall,
  ServerInterceptingCall,
  type ServerInterceptor,
  type ServerWritableStream,
  status,
} from '@grpc/grpc-js';
import { asWeirError } from '../../errors.ts';
import type { Logger } from '../../run/log.ts';
import { Places } from '../places.ts';
import { Refusal } from './refusal.ts';

/** Streams open at once, of all clients. */
export const STREAMS_MAX = 32;
/** Other calls that are worked on at once: some of them look at the whole history. */
export const UNARY_AT_ONCE = 8;

type Message = object | Buffer;
type Stream = ServerWritableStream<object, readonly Message[]>;
type Messages = (request: object, signal: AbortSignal) => AsyncIterable<readonly Message[]>;

/**
 * grpc-js takes one message at a time and waits for each to be written: half of what a follower costs. What a stream
 * writes are batches; here, below that queue, each becomes its messages, which leave in one write.
 */
export const unpackBatches: ServerInterceptor = (_, call) => new UnpackedBatches(call);

class UnpackedBatches extends ServerInterceptingCall {
  override sendMessage(message: Message | readonly Message[], written: () => void): void {
    const batch: readonly Message[] = Array.isArray(message) ? message : [message];
    const last = batch.length - 1;
    for (const [i, one] of batch.entries()) super.sendMessage(one, i === last ? written : () => {});
  }
}

export class Calls {
  readonly #log: Logger | undefined;
  readonly #closing = new AbortController();
  readonly #places = new Places(UNARY_AT_ONCE);
  #streams = 0;

  constructor(log: Logger | undefined) {
    this.#log = log;
  }

  unary(answer: (request: object) => object | Promise<object>): handleUnaryCall<object, object> {
    return (call, reply) => {
      this.#places
        .take()
        .then(() => (call.cancelled ? {} : answer(call.request)))
        .then(
          (message) => reply(null, message),
          (error: unknown) => reply(this.#refusal(call.getPath(), error)),
        )
        .finally(this.#places.leave);
    };
  }

  /** A reader who does not read is waited for; the messages are made only when there is room. */
  stream(messages: Messages): (call: ServerWritableStream<object, Message>) => void {
    return (unpacked) => {
      const call = unpacked as unknown as Stream; // unpackBatches
      if (this.#streams >= STREAMS_MAX) {
        call.emit(
          'error',
          new Refusal('RESOURCE_EXHAUSTED', `${STREAMS_MAX} streams are open already, no more are served`),
        );
        return;
      }
      this.#streams++;
      this.#send(call, messages)
        .catch((error: unknown) => {
          if (!call.cancelled) call.emit('error', this.#refusal(call.getPath(), error));
        })
        .finally(() => this.#streams--);
    };
  }

  /** Ends all streams. */
  close(): void {
    this.#closing.abort();
  }

  async #send(call: Stream, messages: Messages): Promise<void> {
    const gone = new AbortController();
    call.once('cancelled', () => gone.abort());
    const signal = AbortSignal.any([gone.signal, this.#closing.signal]);
    let goOn = (): void => {};
    signal.addEventListener('abort', () => goOn(), { once: true });
    for await (const batch of messages(call.request, signal)) {
      if (signal.aborted) break;
      if (batch.length === 0) continue;
      // one batch is on its way, no more: what a reader does not read stays where it is
      await new Promise<void>((resolve) => {
        goOn = resolve;
        call.write(batch, () => resolve());
      });
      if (signal.aborted) break;
    }
    if (this.#closing.signal.aborted) {
      call.emit('error', { code: status.UNAVAILABLE, details: 'the agent stops' });
    } else {
      call.end();
    }
  }

  #refusal(path: string, error: unknown): { code: number; details: string } {
    if (error instanceof Refusal) return error;
    const ours = asWeirError(error, path);
    this.#log?.error('the Hubble API could not answer', { operation: ours.operation, error: ours });
    return { code: status.INTERNAL, details: ours.message };
  }
}
