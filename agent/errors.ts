/**
 * Every error the agent reports has a code from this table, which says what CNI and HTTP answer and whether trying
 * again can help. The cause is always kept. CNI codes: containernetworking/cni SPEC.md, "Error"; 100 and above are ours.
 */
export const ERRORS = {
  CNI_INCOMPATIBLE_VERSION: { cni: 1, http: 400, retryable: false },
  CNI_UNSUPPORTED_FIELD: { cni: 2, http: 400, retryable: false },
  CNI_UNKNOWN_CONTAINER: { cni: 3, http: 404, retryable: false },
  CNI_BAD_ENVIRONMENT: { cni: 4, http: 400, retryable: false },
  CNI_IO: { cni: 5, http: 500, retryable: true },
  CNI_DECODE: { cni: 6, http: 400, retryable: false },
  CNI_INVALID_CONFIG: { cni: 7, http: 400, retryable: false },
  CNI_TRY_AGAIN: { cni: 11, http: 503, retryable: true },
  CNI_NOT_AVAILABLE: { cni: 50, http: 503, retryable: true },
  CNI_NOT_AVAILABLE_LIMITED: { cni: 51, http: 503, retryable: true },
  ENDPOINT_EXISTS: { cni: 100, http: 409, retryable: false },
  ENDPOINT_CHECK_FAILED: { cni: 101, http: 409, retryable: false },
  IPAM_EXHAUSTED: { cni: 102, http: 507, retryable: true },
  STATE_NOT_DURABLE: { cni: 103, http: 507, retryable: true },
  WIRING_FAILED: { cni: 104, http: 500, retryable: true },
  POD_UNKNOWN: { cni: 11, http: 404, retryable: true },
  NETWORK_FAILED: { cni: 105, http: 500, retryable: true },
  DATAPATH_FAILED: { cni: 105, http: 500, retryable: true },
  CONFIG_INVALID: { cni: 7, http: 400, retryable: false },
  KERNEL_UNSUPPORTED: { cni: 50, http: 500, retryable: false },
  ALREADY_RUNNING: { cni: 50, http: 409, retryable: false },
  /** Files on the host that a container runtime reads. */
  INSTALL_FAILED: { cni: 50, http: 500, retryable: true },
  /** A file or a collector that flows go to. */
  EXPORT_FAILED: { cni: 5, http: 502, retryable: true },
  BAD_REQUEST: { cni: 6, http: 400, retryable: false },
  /** Asked for what this agent's settings leave out. */
  NOT_ENABLED: { cni: 50, http: 501, retryable: false },
  UNAUTHENTICATED: { cni: 50, http: 401, retryable: false },
  FORBIDDEN: { cni: 50, http: 403, retryable: false },
  NOT_FOUND: { cni: 3, http: 404, retryable: false },
  TOO_LARGE: { cni: 6, http: 413, retryable: false },
  TIMEOUT: { cni: 11, http: 504, retryable: true },
  BUSY: { cni: 11, http: 503, retryable: true },
  /** The API server (agent/kubernetes/api-error.ts). Not allowed is tried again all the same where something is awaited: a role may come. */
  API_UNREACHABLE: { cni: 11, http: 503, retryable: true },
  API_FORBIDDEN: { cni: 50, http: 403, retryable: false },
  API_CONFLICT: { cni: 11, http: 409, retryable: true },
  API_EXISTS: { cni: 5, http: 409, retryable: false },
  API_GONE: { cni: 11, http: 410, retryable: true },
  API_REFUSED: { cni: 5, http: 502, retryable: false },
  INTERNAL: { cni: 5, http: 500, retryable: false },
} as const;
export type ErrorCode = keyof typeof ERRORS;

/** An error with a code, the operation that failed, and the cause. Its message is one sentence for a person. */
export class WeirError extends Error {
  readonly code: ErrorCode;
  readonly operation: string;
  readonly details: string;

  constructor(
    code: ErrorCode,
    operation: string,
    message: string,
    options: { cause?: unknown; details?: string } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'WeirError';
    this.code = code;
    this.operation = operation;
    this.details = options.details ?? describeCause(options.cause);
  }

  get retryable(): boolean {
    return ERRORS[this.code].retryable;
  }
}

/** Any thrown thing as a WeirError: itself, or INTERNAL around it. */
export function asWeirError(error: unknown, operation: string): WeirError {
  if (error instanceof WeirError) return error;
  return new WeirError('INTERNAL', operation, error instanceof Error ? error.message : String(error), { cause: error });
}

function describeCause(cause: unknown): string {
  const seen: string[] = [];
  for (let at = cause; at !== undefined && seen.length < 5; at = at instanceof Error ? at.cause : undefined) {
    seen.push(at instanceof Error ? at.message : String(at));
  }
  return seen.join(': ');
}
