/** Calls of grpc-js as functions that return or throw; streams that wait for their reader. */
import { once } from 'node:events';
import { type handleUnaryCall, type ServerWritableStream, status } from '@grpc/grpc-js';
import { asWeirError } from '../../errors.ts';
import type { Logger } from '../../run/log.ts';
import { Refusal } from './refusal.ts';

/** Streams open at once, of all clients. */
export const STREAMS_MAX = 32;

type Stream = ServerWritableStream<object, object | Buffer>;
type Messages = (request: object, signal: AbortSignal) => AsyncIterable<readonly (object | Buffer)[]>;

export class Calls {
  readonly #log: Logger | undefined;
  readonly #closing = new AbortController();
  #streams = 0;

  constructor(log: Logger | undefined) {
    this.#log = log;
  }

  unary(answer: (request: object) => object | Promise<object>): handleUnaryCall<object, object> {
    return (call, reply) => {
      Promise.resolve(call.request)
        .then(answer)
        .then(
          (message) => reply(null, message),
          (error: unknown) => reply(this.#refusal(call.getPath(), error)),
        );
    };
  }

  /** A reader who does not read is waited for; the messages are made only when there is room. */
  stream(messages: Messages): (call: Stream) => void {
    return (call) => {
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
    for await (const batch of messages(call.request, signal)) {
      for (const message of batch) {
        if (signal.aborted) break;
        if (!call.write(message)) await once(call, 'drain', { signal }).catch(() => {}); // aborted: seen above
      }
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
