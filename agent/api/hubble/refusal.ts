/** An answer that is no: a gRPC status and a sentence for the caller. */
import { status } from '@grpc/grpc-js';

export type RefusalCode = 'INVALID_ARGUMENT' | 'UNIMPLEMENTED' | 'NOT_FOUND' | 'RESOURCE_EXHAUSTED';

/** grpc-js sends `code` and `details`. */
export class Refusal extends Error {
  readonly code: number;
  readonly details: string;

  constructor(code: RefusalCode, details: string) {
    super(details);
    this.name = 'Refusal';
    this.code = status[code];
    this.details = details;
  }
}
