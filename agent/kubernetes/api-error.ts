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
    options: { status?: number; reason?: string; retryAfterMs?: number | undefined; cause?: unknown } = {},
  ) {
    super(code, operation, message, options.cause === undefined ? {} : { cause: options.cause });
    this.name = 'ApiError';
    this.status = options.status ?? 0;
    this.reason = options.reason ?? '';
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** Kind Status, as the API server sends it with an error and in a watch. Source: meta/v1 Status. */
interface Status {
  readonly kind?: unknown;
  readonly message?: unknown;
  readonly reason?: unknown;
  readonly code?: unknown;
  readonly details?: { readonly retryAfterSeconds?: unknown };
}

/** The longest wait a server may ask for, seconds: a wrong clock there must not stop an agent here. */
const LONGEST_RETRY_AFTER_S = 60;

/**
 * The error of an answer. `status` 0 takes the code of the Status object, as it comes in a watch.
 * @param operation what was asked, e.g. "GET /api/v1/pods"
 */
export function errorOfAnswer(operation: string, status: number, body: unknown, retryAfter?: string): ApiError {
  const answer: Status = isStatus(body) ? body : {};
  const code = status === 0 && typeof answer.code === 'number' ? answer.code : status;
  const reason = typeof answer.reason === 'string' ? answer.reason : '';
  const said = typeof answer.message === 'string' && answer.message !== '' ? `: ${answer.message}` : '';
  const message = `${operation}: the API server answers ${code}${reason === '' ? '' : ` ${reason}`}${said}`;
  const seconds = Number(retryAfter ?? answer.details?.retryAfterSeconds ?? Number.NaN);
  const retryAfterMs =
    Number.isFinite(seconds) && seconds >= 0 ? Math.min(seconds, LONGEST_RETRY_AFTER_S) * 1000 : undefined;
  return new ApiError(codeOf(code, reason), operation, message, { status: code, reason, retryAfterMs });
}

/** No answer: the connection failed or ended early. */
export function unreachable(operation: string, cause: unknown): ApiError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new ApiError('API_UNREACHABLE', operation, `${operation}: no answer of the API server: ${why}`, { cause });
}

function isStatus(body: unknown): body is Status {
  return typeof body === 'object' && body !== null && (body as Status).kind === 'Status';
}

function codeOf(status: number, reason: string): ErrorCode {
  if (reason === 'AlreadyExists') return 'API_EXISTS';
  switch (status) {
    case 401:
    case 403:
      return 'API_FORBIDDEN';
    case 404:
      return 'NOT_FOUND';
    case 409:
      return 'API_CONFLICT';
    case 410:
      return 'API_GONE';
    case 429:
      return 'BUSY';
    case 504:
      return 'TIMEOUT';
    default:
      return status >= 500 ? 'API_UNREACHABLE' : 'API_REFUSED';
  }
}
