/** What a verb is given, and what it may use. */
import type { Endpoints } from '../endpoint/lifecycle.ts';
import type { Invocation } from './environment.ts';
import type { Raw } from './netconf.ts';
import type { DeleteQueue } from './replay.ts';
import type { CniVersion } from './version.ts';

export interface CniRequest {
  readonly invocation: Invocation;
  readonly version: CniVersion;
  /** Stdin, decoded but not checked. */
  readonly config: Raw;
}

/** Whether pods can be added now. `reason` is a clause for people: "waiting for the first list of manifests". */
export type CniReadiness =
  | { readonly state: 'ready' }
  | { readonly state: 'starting' | 'degraded'; readonly reason: string };

export interface CniParts {
  readonly endpoints: Pick<Endpoints, 'add' | 'del' | 'check' | 'gc' | 'find'>;
  readonly queue: DeleteQueue;
  readonly readiness: () => CniReadiness;
}

/** Returns what goes to stdout, '' for nothing; throws what becomes the error object. */
export type VerbHandler = (request: CniRequest, parts: CniParts) => Promise<string>;
