/**
 * What the documents' status should say, given what the nodes refuse. Pure. Cilium's users know the condition `Valid`; a
 * document whose kind has no status gets an Event only.
 */
import type { RefusedDocument } from '../../model/refused-document.ts';
import type { Condition, TrackedDocument } from './document-table.ts';

export const VALID = 'Valid';
/** Most nodes named in a message. */
const MOST_NAMES = 5;
/** A reason names every error of a document; what is longer is cut. */
const LONGEST_REASON = 4000;

export interface StatusWrite {
  readonly document: TrackedDocument;
  /** All conditions, those of others included. */
  readonly conditions: readonly Condition[];
  /** The document was valid and is not, or the other way round, or nobody had said yet. */
  readonly isTurn: boolean;
}

export interface Refusal {
  readonly document: TrackedDocument;
  readonly message: string;
}

export interface StatusPlan {
  readonly writes: readonly StatusWrite[];
  /** Every document that is refused in its present version. */
  readonly refusals: readonly Refusal[];
}

/**
 * @param refused by node, with an empty list for a node that refuses nothing; what a node says of another version or of a
 *   document's predecessor of the same name does not count
 * @param now for lastTransitionTime, RFC 3339
 */
export function planStatus(
  documents: readonly TrackedDocument[],
  refused: ReadonlyMap<string, readonly RefusedDocument[]>,
  now: string,
): StatusPlan {
  const reports = new Map<string, { node: string; reason: string }[]>();
  /** By uid: the newest version anybody speaks of. */
  const spokenOf = new Map<string, number>();
  for (const [node, list] of [...refused].sort(([a], [b]) => (a < b ? -1 : 1))) {
    for (const { uid, generation, reason } of list) {
      const key = versionKey(uid, generation);
      reports.set(key, [...(reports.get(key) ?? []), { node, reason }]);
      spokenOf.set(uid, Math.max(generation, spokenOf.get(uid) ?? 0));
    }
  }
  const writes: StatusWrite[] = [];
  const refusals: Refusal[] = [];
  for (const document of documents) {
    const of = reports.get(versionKey(document.ref.uid, document.generation)) ?? [];
    // Nodes that refused the version before have not said yet what they think of this one.
    if (of.length === 0 && (spokenOf.get(document.ref.uid) ?? document.generation) < document.generation) continue;
    const message = of.length > 0 ? describe(of, refused.size) : 'every node accepts it';
    if (of.length > 0) refusals.push({ document, message });
    const write = document.conditions && writeOf(document, document.conditions, of.length === 0, message, now);
    if (write) writes.push(write);
  }
  return { writes, refusals };
}

function writeOf(
  document: TrackedDocument,
  conditions: readonly Condition[],
  isValid: boolean,
  message: string,
  now: string,
): StatusWrite | undefined {
  const before = conditions.find(({ type }) => type === VALID);
  const status = isValid ? 'True' : 'False';
  const reason = isValid ? 'Accepted' : 'Refused';
  const { generation } = document;
  const isTurn = before?.status !== status;
  // Cilium's own CRDs drop observedGeneration: asking for it would be writing for ever.
  const isOfThis = (before?.observedGeneration ?? generation) === generation;
  if (!isTurn && isOfThis && before?.reason === reason && before.message === message) {
    return undefined;
  }
  const lastTransitionTime = isTurn ? now : (before?.lastTransitionTime ?? now);
  const condition = { type: VALID, status, reason, message, lastTransitionTime, observedGeneration: generation };
  return { document, conditions: [...conditions.filter(({ type }) => type !== VALID), condition], isTurn };
}

/** "refused by node-1 and node-2 (2 of 5 nodes, the others accept it): spec.x: ...". The most frequent reason speaks for all. */
function describe(reports: readonly { readonly node: string; readonly reason: string }[], nodes: number): string {
  const byReason = Map.groupBy(reports, ({ reason }) => reason);
  const [reason = ''] = [...byReason.keys()].sort(
    (a, b) => (byReason.get(b)?.length ?? 0) - (byReason.get(a)?.length ?? 0),
  );
  const cut = reason.length > LONGEST_REASON ? `${reason.slice(0, LONGEST_REASON)}...` : reason;
  // No number where all agree: it would change with every node that joins.
  if (reports.length >= nodes) return `every node refuses it: ${cut}`;
  const names = reports.slice(0, MOST_NAMES).map(({ node }) => node);
  const more = reports.length > MOST_NAMES ? ` and ${reports.length - MOST_NAMES} more` : '';
  return `refused by ${names.join(', ')}${more}, the other nodes accept it: ${cut}`;
}

function versionKey(uid: string, generation: number): string {
  return `${uid} ${generation}`;
}
