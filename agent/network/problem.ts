/** Problems of the node's network: they have no document and no line. */
import type { Problem } from '../model/object.ts';

/** Packets between pods are lost by it. */
export const error = (code: string, message: string): Problem => problem('error', code, message);
/** It may be as somebody wants it, or may come to harm later. */
export const warning = (code: string, message: string): Problem => problem('warning', code, message);

function problem(severity: Problem['severity'], code: string, message: string): Problem {
  return { severity, code, message, path: [], place: 'network', line: undefined };
}
