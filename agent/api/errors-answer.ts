/** Every error as the API answers it. */
import type { FastifyError } from 'fastify';
import { asWeirError, ERRORS, WeirError } from '../errors.ts';
import { didYouMean } from '../model/did-you-mean.ts';

export interface ErrorAnswer {
  readonly error: {
    readonly code: string;
    readonly message: string;
    readonly operation: string;
    readonly retryable: boolean;
  };
}

export function errorAnswer(error: WeirError): ErrorAnswer {
  const { code, message, operation, retryable } = error;
  return { error: { code, message, operation, retryable } };
}

export function httpStatus(error: WeirError): number {
  return ERRORS[error.code].http;
}

/** What Fastify threw, as one of ours: its own errors are about the request, everything else is our fault. */
export function toWeirError(error: unknown, operation: string): WeirError {
  if (error instanceof WeirError) return error;
  const { code, statusCode } = error as Partial<FastifyError>;
  const message = error instanceof Error ? error.message : String(error);
  if (statusCode === 413) return new WeirError('TOO_LARGE', operation, message, { cause: error });
  if (code?.startsWith('FST_') && statusCode !== undefined && statusCode >= 400 && statusCode < 500) {
    return new WeirError('BAD_REQUEST', operation, message, { cause: error });
  }
  return asWeirError(error, operation);
}

/** The part of ajv's ErrorObject (with `verbose`) that matters here. */
export interface SchemaFault {
  readonly keyword: string;
  readonly instancePath: string;
  readonly params: Record<string, unknown>;
  readonly message?: string;
  readonly data?: unknown;
  readonly parentSchema?: { readonly properties?: Record<string, unknown>; readonly description?: string };
}

/** One sentence for all faults: "unknown field podd; did you mean pod? Known fields: ...". */
export function schemaFaults(faults: readonly SchemaFault[], where: string): WeirError {
  const texts = new Set(faults.map((fault) => faultText(fault, where)));
  return new WeirError('BAD_REQUEST', `read the ${where}`, [...texts].join('; '));
}

function faultText(fault: SchemaFault, where: string): string {
  const name = fault.instancePath.split('/')[1] ?? '';
  switch (fault.keyword) {
    case 'additionalProperties': {
      const unknown = String(fault.params.additionalProperty);
      const known = Object.keys(fault.parentSchema?.properties ?? {});
      const list = known.length === 0 ? 'it takes no fields' : `known fields: ${known.join(', ')}`;
      return `unknown field ${JSON.stringify(unknown)} in the ${where}${didYouMean(unknown, known)} (${list})`;
    }
    case 'enum':
      return `${name}: expected one of ${(fault.params.allowedValues as unknown[]).join(', ')}, got ${shown(fault.data)}`;
    case 'type':
      if (Array.isArray(fault.data)) return `${name}: expected one value, got ${fault.data.length}`;
      return `${name}: expected ${fault.params.type === 'boolean' ? 'true or false' : `a value of type ${fault.params.type}`}, got ${shown(fault.data)}`;
    case 'minimum':
    case 'maximum':
      return `${name}: expected a number ${fault.params.comparison} ${fault.params.limit}, got ${shown(fault.data)}`;
    case 'minLength':
      return `${name}: expected a value, got none`;
    case 'maxLength':
      return `${name}: expected at most ${fault.params.limit} characters`;
    case 'pattern': {
      if (fault.data === '') return `${name}: expected a value, got none`;
      const expected = fault.parentSchema?.description || `text like ${fault.params.pattern}`;
      return `${name}: expected ${expected}, got ${shown(fault.data)}`;
    }
    case 'maxItems':
      return `${name}: expected at most ${fault.params.limit} values`;
    default:
      return `${name}: ${fault.message ?? fault.keyword}`;
  }
}

/** Cut, so that an answer is not as long as an attack. */
function shown(data: unknown): string {
  const text = JSON.stringify(data) ?? 'nothing';
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}
