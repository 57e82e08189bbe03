/** What the parser of each policy language gives back. */
import type { CidrGroup, PeerKind, PolicySpec } from '../rule.ts';

export interface ParseOptions {
  readonly clusterName: string;
  /** Kinds of peer that Cilium's CIDR rules match. */
  readonly cidrKinds: readonly PeerKind[];
}

export interface ParsedLanguage {
  /** Meaningful only if the report has no errors. */
  readonly specs: readonly PolicySpec[];
  /** The same subjects, isolated in the directions the document names, with nothing allowed: for a refused document. */
  readonly isolation: readonly PolicySpec[];
  readonly group?: CidrGroup;
}
