/** Whether the agent may be used yet: named tasks that must each be done once. */
export interface Readiness {
  /** Marks a task done; twice is fine. Throws on a name that was not declared. */
  done(task: string): void;
  /** Names of the tasks not done yet, in the order they were declared. */
  pending(): string[];
  /** Resolves when nothing is pending. */
  readonly ready: Promise<void>;
}

export function createReadiness(tasks: readonly string[]): Readiness {
  const open = new Set(tasks);
  const all = Promise.withResolvers<void>();
  if (open.size === 0) all.resolve();
  return {
    ready: all.promise,
    pending: () => [...open],
    done(task) {
      if (!tasks.includes(task)) throw new TypeError(`no such readiness task: ${task}`);
      open.delete(task);
      if (open.size === 0) all.resolve();
    },
  };
}
