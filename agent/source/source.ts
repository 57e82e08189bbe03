/**
 * Where desired state comes from: the Kubernetes API or a directory of the same YAML. Both speak this interface.
 * Source: design.md, "Two rivers".
 */
import type { Problem, SourceChange } from '../model/object.ts';

/** Receives what a source sees. Calls come one at a time, in order. */
export interface Sink {
  /** Objects that came, changed or went; applied together, as one revision. */
  change(changes: readonly SourceChange[]): void;
  /** All first lists are complete: from now on absence means deletion. Called once. */
  synced(): void;
  /** All problems at present in the document at `place`, replacing what was said of that place before; [] when it is clean. */
  problems(place: string, problems: readonly Problem[]): void;
}

export interface Source {
  /** For status, e.g. "manifests /etc/weir/manifests". */
  readonly name: string;
  /** Runs until the signal aborts; rejects only when it can never work (then the agent stops with that error). */
  run(sink: Sink, signal: AbortSignal): Promise<void>;
}
