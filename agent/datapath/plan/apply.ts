/**
 * Executes plans on the tables: retries what the kernel may grant in a moment, locks down a policy that does not fit, and
 * deletes what was retired after its grace period. Calls must not overlap: kernel.ts queues them.
 */
import { WeirError } from '../../errors.ts';
import { POLICY_LOCKDOWN, type PolicyId } from '../../model/verdict.ts';
import { backoffMs } from '../../run/backoff.ts';
import type { Clock } from '../../run/clock.ts';
import type { ApplyResult, DatapathRows } from '../datapath.ts';
import { type Changes, difference, merge, NO_CHANGES } from './changes.ts';
import { holdBack, policiesNeeding } from './lockdown.ts';
import { type Deletion, type Op, plan } from './plan.ts';
import type { Retired } from './retired.ts';
import { type Tables, WriteFailure } from './tables.ts';
import { withoutRoom } from './without-room.ts';

/** ENOMEM and EBUSY: the kernel under pressure. Ten tries are 0.4 s. */
const TRIES = 10;
const TRY_AGAIN = { firstMs: 1, maxMs: 100 };
/** Written at a stretch, a few milliseconds; then the event loop has its turn. Any moment between two operations is a safe one. */
const AT_ONCE = 2048;

export interface Applier {
  /**
   * @throws WeirError DATAPATH_FAILED; what was written until then is safe, and the next call starts from what there is.
   * For a table other than those of policies that is full: then all the rest is written, and the epoch is bumped.
   */
  apply(changes: Changes): Promise<ApplyResult>;
  /** Makes the tables hold exactly these rows. */
  replace(desired: DatapathRows): Promise<ApplyResult>;
  /** Deletes what is due. */
  collect(): Promise<void>;
  /** When to call {@link collect} next, milliseconds of the clock; undefined: nothing is left to delete. */
  readonly dueMs: number | undefined;
}

export function createApplier(tables: Tables, retired: Retired, clock: Clock): Applier {
  /** Rows and pointers of policies that did not fit. */
  let waiting: Changes = NO_CHANGES;
  let lockedDown = new Map<PolicyId, Error>();
  /** Pointers were switched and the epoch could not be bumped any more: the next plan owes it. */
  let bumpOwed = false;

  async function apply(changes: Changes): Promise<ApplyResult> {
    const totals = { epochBumped: false, operations: 0 };
    if (sizeOf(changes) > AT_ONCE) await nextTurn(); // Computing it took its time, and so will planning it.
    let todo = merge(waiting, changes);
    waiting = NO_CHANGES;
    lockedDown = new Map();
    await carryOut(todo, totals);
    if (lockedDown.size > 0 && !retired.isEmpty) {
      // What this change retired may be the room that was missing.
      await collectAll();
      todo = waiting;
      waiting = NO_CHANGES;
      lockedDown = new Map();
      await carryOut(todo, totals);
    }
    const listed = [...lockedDown].map(([policy, cause]) => ({ policy, cause }));
    return { ...totals, lockedDown: listed };
  }

  /** One plan after the other, each without the policies the one before had no room for. */
  async function carryOut(changes: Changes, totals: { epochBumped: boolean; operations: number }): Promise<void> {
    for (let todo = changes; ; ) {
      const planned = plan(todo, tables);
      retired.keep(todo);
      const bumps = planned.ops.some(({ kind }) => kind === 'epoch.bump');
      const ops: Op[] =
        bumpOwed && !bumps ? [...planned.ops, { kind: 'epoch.bump', because: 'owed' }] : [...planned.ops];
      bumpOwed ||= bumps;
      const { stoppedAt, leftOut } = await write(ops, todo);
      if (stoppedAt === undefined) {
        totals.epochBumped ||= bumpOwed;
        bumpOwed = false;
        totals.operations += ops.length + planned.later.length;
        retired.add(leftOut ? afterLeavingOut(planned.later) : planned.later, clock.nowMs());
        if (leftOut) throw failed(leftOut);
        return;
      }
      todo = lockDown(stoppedAt, todo);
    }
  }

  /** A Service that was not switched still leads to the backends that its plan retires; others may have been written in vain. */
  function afterLeavingOut(later: readonly Deletion[]): Deletion[] {
    return [...later.filter(({ kind }) => kind !== 'backends.delete'), ...tables.unusedBackends()];
  }

  /**
   * Writes all, or stops where a policy finds its table full. What is no policy's and finds no room is left out: addresses
   * that are too many must keep nobody from being judged by the policies in force, nor what is deleted from making room.
   */
  async function write(
    ops: readonly Op[],
    changes: Changes,
  ): Promise<{ stoppedAt?: WriteFailure; leftOut?: WriteFailure }> {
    let rest = ops;
    let leftOut: WriteFailure | undefined;
    for (let failures = 0; ; ) {
      try {
        await writeInParts(rest, (done) => {
          rest = rest.slice(done);
          failures = 0;
        });
        return leftOut ? { leftOut } : {};
      } catch (error) {
        if (!(error instanceof WriteFailure)) throw error;
        if (error.isFull) {
          if (policiesNeeding(error.op, changes, tables).length > 0) return { stoppedAt: error };
          const others = withoutRoom(rest.slice(error.index), tables);
          if (others === undefined) throw failed(error);
          leftOut ??= error;
          rest = others;
          continue;
        }
        failures = error.index > 0 ? 1 : failures + 1;
        if (!error.isTransient || failures > TRIES) throw failed(error);
        rest = rest.slice(error.index);
        await pause(backoffMs(failures, TRY_AGAIN));
      }
    }
  }

  /** `wrote` is told the length of every part that is done, of the operations not told of before. */
  async function writeInParts(ops: readonly Op[], wrote: (done: number) => void): Promise<void> {
    for (let at = 0; at < ops.length; at += AT_ONCE) {
      if (ops.length > AT_ONCE) await nextTurn();
      tables.write(ops.slice(at, at + AT_ONCE));
      wrote(Math.min(AT_ONCE, ops.length - at));
    }
  }

  function lockDown(failure: WriteFailure, changes: Changes): Changes {
    const policies = policiesNeeding(failure.op, changes, tables).filter((id) => id !== POLICY_LOCKDOWN);
    if (policies.length === 0) throw failed(failure);
    for (const policy of policies) lockedDown.set(policy, failure);
    const { now, waiting: heldBack, undo } = holdBack(changes, new Set(policies), tables);
    waiting = merge(waiting, heldBack);
    tables.write(undo);
    return now;
  }

  async function collectAll(): Promise<void> {
    const { lastDueMs } = retired;
    if (lastDueMs !== undefined) await pause(lastDueMs - clock.nowMs());
    await collect();
  }

  async function collect(): Promise<void> {
    let due: readonly Deletion[] = retired.take(clock.nowMs());
    try {
      await writeInParts(due, (done) => {
        due = due.slice(done);
      });
    } catch (error) {
      retired.add(due, clock.nowMs());
      throw error;
    }
  }

  const pause = (ms: number): Promise<void> => new Promise((resolve) => void clock.after(Math.max(0, ms), resolve));

  return {
    apply,
    async replace(desired) {
      waiting = NO_CHANGES;
      retired.forget(); // The tables still hold those rows: the difference says which of them are to go.
      const result = await apply(difference(tables.rows(), desired));
      retired.add(tables.unusedBackends(), clock.nowMs());
      return result;
    },
    collect,
    get dueMs() {
      return retired.dueMs;
    },
  };
}

function sizeOf(changes: Changes): number {
  return Object.values(changes).reduce((sum, { set, remove }) => sum + set.length + remove.length, 0);
}

function nextTurn(): Promise<void> {
  return new Promise(setImmediate);
}

function failed(cause: WriteFailure): WeirError {
  return new WeirError('DATAPATH_FAILED', 'apply', `the kernel refused ${cause.op.kind}`, { cause });
}
