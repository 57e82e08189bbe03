/** What the API server answers when it does not do what was asked. */
import { type ErrorCode, WeirError } from '../errors.ts';

/** An answer of the API server that is no success, or none at all (`status` 0). */
export class ApiError extends WeirError {
  /** HTTP status; 0 when there was no answer. */
  readonly status: number;
  /** Status.reason: "AlreadyExists", "Expired", ...; '' when there is none. */
  readonly reason: string;
  /** How long the server asks to wait, milliseconds. */
  readonly retryAfterMs: number | undefined;

  constructor(
    code: ErrorCode,
    operation: string,
    message: string,
    options: { status?: number; reason?: string; retryAfterMs?: number; cause?: unknown } = {},
  ) {
    super(code, operation, message, options.cause === undefined ? {} : { cause: options.cause });
    this.name = 'ApiError';
    this.status = options.status ?? 0;
    this.reason = options.reason ?? '';
    this.retryAfterMs = options.retryAfterMs;
  }
}
