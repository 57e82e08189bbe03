import { addon } from './addon.ts';

/** What a failed operation can add to its errno. */
export interface KernelErrorFacts {
  /** One clause that makes the message precise. */
  detail?: string;
  /** The kernel's own words: the tail of the verifier's log, or netlink's extended acknowledgement. */
  log?: string;
  /** Batches: how many entries were written before the failure. */
  done?: number;
  /** Batches of netlink operations: which one failed. */
  index?: number;
}

/** ENOTSUPP is the kernel's internal number; the C library has no name for it, and some map types return it all the same. */
const ENOTSUPP = 524;

/** The kernel refused. The message reads "map update weir_policies: E2BIG (Argument list too long)". */
export class KernelError extends Error {
  readonly operation: string;
  /** Positive. */
  readonly errno: number;
  /** Its name, such as "E2BIG". */
  readonly code: string;
  declare readonly log?: string;
  declare readonly done?: number;
  declare readonly index?: number;

  constructor(operation: string, errno: number, facts: KernelErrorFacts = {}) {
    const [name, text] = errno === ENOTSUPP ? ['ENOTSUPP', 'Operation is not supported'] : addon.errnoText(errno);
    const code = name === '' ? `errno ${errno}` : name;
    super(`${operation}: ${code} (${text})${facts.detail ? `: ${facts.detail}` : ''}`);
    this.name = 'KernelError';
    this.operation = operation;
    this.errno = errno;
    this.code = code;
    if (facts.log !== undefined && facts.log !== '') this.log = facts.log;
    if (facts.done !== undefined) this.done = facts.done;
    if (facts.index !== undefined) this.index = facts.index;
  }
}

/** Passes a result on; throws for a negative status. */
export function checked<T>(operation: string, result: T | number): Exclude<T, number> {
  if (typeof result === 'number') {
    if (result < 0) throw new KernelError(operation, -result);
    throw new TypeError(`${operation}: the addon answered ${result}`);
  }
  return result as Exclude<T, number>;
}

/** Passes a descriptor or 0 on; throws for a negative status. */
export function checkedStatus(operation: string, status: number): number {
  if (status < 0) throw new KernelError(operation, -status);
  return status;
}
