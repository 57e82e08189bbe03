/** The policy tables as apply.ts needs them: looked up by key, read as a whole, and written by a plan's operations. */
import type { DatapathRows, EndpointRow } from '../datapath.ts';
import type { Held } from './held.ts';
import type { Op } from './plan.ts';
import type { ServiceDeletion } from './service-plan.ts';

export interface Tables extends Held {
  endpoints(): Iterable<EndpointRow>;
  /** Everything but what every datapath has by itself. */
  rows(): DatapathRows;
  /** Does the operations in order. @throws WriteFailure at the first that fails; those before it are done. */
  write(ops: readonly Op[]): void;
  /** Backends nothing leads to any more and that no plan has retired. */
  unusedBackends(): readonly ServiceDeletion[];
}

/** One operation could not be done. `index`: which one of those given. */
export class WriteFailure extends Error {
  readonly index: number;
  readonly op: Op;
  /** errno name, such as 'E2BIG'; '' when the kernel was not even asked. */
  readonly code: string;

  constructor(index: number, op: Op, cause: unknown) {
    super(`${op.kind}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
    this.name = 'WriteFailure';
    this.index = index;
    this.op = op;
    this.code = (cause as { code?: string } | undefined)?.code ?? '';
  }

  /** The table has no room. */
  get isFull(): boolean {
    return this.code === 'E2BIG' || this.code === 'ENOSPC';
  }

  /** May well work in a moment. */
  get isTransient(): boolean {
    return this.code === 'ENOMEM' || this.code === 'EBUSY' || this.code === 'EAGAIN';
  }
}
