/** Several sources as one: synced when all are. What comes before anybody listens is kept in order. */
import type { SourceChange } from '../model/object.ts';
import type { Sink } from '../source/source.ts';

export interface Input {
  change(changes: readonly SourceChange[]): void;
  synced(): void;
}

export interface Merge {
  input(): Input;
  /** Delivers to the sink from now on. */
  into(sink: Sink): Sink;
}

/** @param inputs how many must be synced, the sink of {@link Merge.into} among them */
export function createMerge(inputs: number): Merge {
  let target: Sink | undefined;
  let kept: SourceChange[] = [];
  let unsynced = inputs;

  function change(changes: readonly SourceChange[]): void {
    if (target) target.change(changes);
    else kept.push(...changes);
  }
  function synced(): void {
    unsynced--;
    if (unsynced === 0) target?.synced();
  }

  return {
    input: () => ({ change, synced }),
    into(sink) {
      target = sink;
      if (kept.length > 0) sink.change(kept);
      kept = [];
      return { change, synced, problems: sink.problems };
    },
  };
}
