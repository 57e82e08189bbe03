/**
 * What is behind the policy engine: with root the kernel's own maps, in a network namespace (the rig starts the process again
 * in one) and under pins of the bench; otherwise everything up to the encoded rows.
 */
import type { DatapathDelta } from '../../agent/datapath/datapath.ts';
import {
  encodeAddressClasses,
  encodeAddressClassKey,
  encodeIdentityClassKey,
  encodePolicy,
  encodeVerdict,
  encodeVerdictKey,
} from '../../agent/datapath/map/policy-rows.ts';
import { createApplier } from '../../agent/datapath/plan/apply.ts';
import { changesOf, NO_ROWS } from '../../agent/datapath/plan/changes.ts';
import { heldIn } from '../../agent/datapath/plan/held.ts';
import type { Op } from '../../agent/datapath/plan/plan.ts';
import { Retired } from '../../agent/datapath/plan/retired.ts';
import type { PolicyDelta } from '../../agent/model/verdict.ts';
import type { Engine } from '../../agent/policy/engine.ts';
import { prepare } from '../../agent/realize/prepare.ts';
import { systemClock } from '../../agent/run/clock.ts';
import { Rig } from '../netns/datapath-rig.ts';

const HAS_ROOT = process.getuid?.() === 0;
/** How far the figures of this run reach. */
export const REACH = HAS_ROOT ? 'kernel maps' : 'encoded rows, no root';

export interface Kernel extends AsyncDisposable {
  /** Brings the engine's revision into force, as realize/realizer.ts does. */
  realize(engine: Engine): Promise<void>;
}

export async function openKernel(): Promise<Kernel> {
  const rig = HAS_ROOT ? await Rig.start('w7') : undefined;
  const apply = rig ? (delta: DatapathDelta) => rig.datapath.apply(delta) : encoder();
  return {
    async realize(engine) {
      await prepare(engine);
      const { lockedDown } = await apply(deltaOf(engine.take()));
      if (lockedDown.length > 0) throw new Error('the policy does not fit the maps: not what was to be measured');
    },
    [Symbol.asyncDispose]: async () => rig?.close(),
  };
}

function deltaOf(policy: PolicyDelta): DatapathDelta {
  return {
    policy,
    setEndpoints: [],
    removeEndpoints: [],
    setPeers: [],
    removePeers: [],
    setRanges: [],
    removeRanges: [],
  };
}

/** Plans and encodes for a kernel that holds nothing and keeps nothing. */
function encoder() {
  const nothing = { ...heldIn(NO_ROWS), endpoints: () => [], rows: () => NO_ROWS, unusedBackends: () => [] };
  const applier = createApplier({ ...nothing, write: (ops) => ops.forEach(encode) }, new Retired(0), systemClock);
  return async (delta: DatapathDelta) => {
    const result = await applier.apply(changesOf(delta));
    await applier.collect();
    return result;
  };
}

function encode(op: Op): void {
  switch (op.kind) {
    case 'verdict.set':
      encodeVerdictKey(op.row);
      encodeVerdict(op.row);
      break;
    case 'identityClass.set':
      encodeIdentityClassKey(op.row);
      break;
    case 'addressClass.set':
      encodeAddressClassKey(op.row);
      encodeAddressClasses(op.row);
      break;
    case 'policy.set':
      encodePolicy(op.row);
      break;
  }
}
