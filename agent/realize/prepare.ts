/** Compiles policies ahead of a revision without keeping everybody else waiting: CNI, the API and events share the thread. */
import type { Engine } from '../policy/engine.ts';

/** At most so long at a stretch: nothing should wait for 20 ms, and a garbage collection takes its part of them. */
const SLICE_MS = 3;
/** While documents keep changing there is always something left; after this long, take() does what there is. */
const PATIENCE_MS = 5000;

/** Resolves when the engine has little left to compute. */
export async function prepare(engine: Pick<Engine, 'prepare'>): Promise<void> {
  const giveUp = performance.now() + PATIENCE_MS;
  for (;;) {
    const end = performance.now() + SLICE_MS;
    if (engine.prepare(() => performance.now() < end) || performance.now() > giveUp) return;
    await new Promise(setImmediate);
  }
}
