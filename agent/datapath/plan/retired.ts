/**
 * Rows that nothing points to any more, but that a packet which read the pointer a moment ago may still be looking up.
 * They are deleted when that packet is long through; a row that is wanted again before then stays.
 */
import { type Changes, keyText } from './changes.ts';
import type { Deletion } from './plan.ts';

interface Batch {
  readonly dueMs: number;
  readonly deletions: Map<string, Deletion>;
}

export class Retired {
  private readonly graceMs: number;
  private readonly batches: Batch[] = [];

  /** `graceMs`: a packet takes microseconds; the rest is for a CPU that the hypervisor took away in the middle of one. */
  constructor(graceMs: number) {
    this.graceMs = graceMs;
  }

  get isEmpty(): boolean {
    return this.batches.length === 0;
  }

  /** When the first of them may be deleted; undefined when there are none. */
  get dueMs(): number | undefined {
    return this.batches[0]?.dueMs;
  }

  /** When all of them may be deleted. */
  get lastDueMs(): number | undefined {
    return this.batches.at(-1)?.dueMs;
  }

  add(deletions: readonly Deletion[], nowMs: number): void {
    if (deletions.length === 0) return;
    this.batches.push({
      dueMs: nowMs + this.graceMs,
      deletions: new Map(deletions.map((deletion) => [slotOf(deletion), deletion])),
    });
  }

  /** Rows a change sets again are not deleted. */
  keep({ policies, verdicts, identityClasses, addressClasses }: Changes): void {
    for (const { deletions } of this.batches) {
      for (const row of policies.set) deletions.delete(`policy ${keyText.policies(row)}`);
      for (const row of verdicts.set) deletions.delete(`verdict ${keyText.verdicts(row)}`);
      for (const row of identityClasses.set) deletions.delete(`identityClass ${keyText.identityClasses(row)}`);
      for (const row of addressClasses.set) deletions.delete(`addressClass ${keyText.addressClasses(row)}`);
    }
  }

  /** Nothing is to be deleted any more. */
  forget(): void {
    this.batches.length = 0;
  }

  /** Takes out what is due, in the order it was added. */
  take(nowMs: number): Deletion[] {
    const due: Deletion[] = [];
    while (this.batches[0] !== undefined && this.batches[0].dueMs <= nowMs) {
      due.push(...(this.batches.shift()?.deletions.values() ?? []));
    }
    return due;
  }
}

function slotOf(deletion: Deletion): string {
  switch (deletion.kind) {
    case 'policy.delete':
      return `policy ${keyText.policies(deletion.key)}`;
    case 'verdict.delete':
      return `verdict ${keyText.verdicts(deletion.key)}`;
    case 'identityClass.delete':
      return `identityClass ${keyText.identityClasses(deletion.key)}`;
    case 'addressClass.delete':
      return `addressClass ${keyText.addressClasses(deletion.key)}`;
    case 'backends.delete':
      return `backends ${deletion.key.slots}`; // Under an id that is not used again: nothing sets them again.
  }
}
