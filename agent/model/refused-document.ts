/** A policy document a node refuses: what nodes publish of it (WeirNode status.refused), and the status condition is made of. */
export interface RefusedDocument {
  readonly kind: string;
  /** '' for cluster-wide kinds. */
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** metadata.generation of the version that is refused. */
  readonly generation: number;
  /** Every error in one sentence each, joined by "; ". */
  readonly reason: string;
}
