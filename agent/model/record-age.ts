/** Which of two records that nodes' agents wrote is the younger one: it counts where both claim the same pod CIDR. */

/** metadata.creationTimestamp and uid, as the API server gave them. */
export interface RecordAge {
  readonly created: string;
  readonly uid: string;
}

/**
 * By the API server's clock, and by uid within a second: every node has to come to the same answer. One of which neither is
 * known (a node without an agent) is older than any other.
 */
export function isYounger(one: RecordAge | undefined, other: RecordAge | undefined): boolean {
  const [created, before] = [one, other].map((age) => Date.parse(age?.created ?? '') || 0) as [number, number];
  if (created !== before) return created > before;
  return (one?.uid ?? '') > (other?.uid ?? '');
}
