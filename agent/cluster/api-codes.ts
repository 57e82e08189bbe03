/** What an error of the API server means here. */
import { type ErrorCode, WeirError } from '../errors.ts';

export function isCode(cause: unknown, ...codes: readonly ErrorCode[]): boolean {
  return cause instanceof WeirError && codes.includes(cause.code);
}
