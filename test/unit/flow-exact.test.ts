/**
 * Every event that the kernel sent, or had no room for, is either read or told as lost, to each reader of its own: also when
 * the word of a loss is itself overwritten.
 */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { allOf } from '../../agent/flow/filter.ts';
import type { Flow, FlowLine, LossStage, LostEvents } from '../../agent/flow/flow.ts';
import type { FlowHistory, FlowQuery } from '../../agent/flow/history.ts';
import { suite } from '../kit/suite.ts';
import * as r from './flow-records.ts';

const test = suite('flow: exactness');
const FOLLOW: FlowQuery = { wanted: allOf([]), order: 'newest', count: 0, cursor: undefined };

/** What one reader has been given and told. */
class Account {
  read = 0;
  /** Of the last flow read. */
  sequence = 0;
  readonly told: Record<LossStage, number> = { ring: 0, queue: 0, overwritten: 0, subscriber: 0 };

  take(lines: readonly FlowLine[]): void {
    for (const line of lines) {
      if (line.flow) this.see(line.flow);
      if (line.lost_events) this.tell(line.lost_events);
    }
  }

  see({ weir: { sequence } }: Flow): void {
    assert.ok(sequence > this.sequence, 'in order, nothing twice');
    this.sequence = sequence;
    this.read++;
  }

  tell({ weir: { stage }, num_events_lost }: LostEvents): void {
    this.told[stage] += Number(num_events_lost);
  }

  get total(): number {
    return this.read + this.told.ring + this.told.queue + this.told.subscriber;
  }
}

/** A follower that reads when it is told to. Its first read starts it. */
class ManualFollower {
  readonly account = new Account();
  readonly #history: FlowHistory;
  readonly #stop = new AbortController();
  readonly #stream: AsyncGenerator<FlowLine[], void, void>;

  constructor(history: FlowHistory) {
    this.#history = history;
    this.#stream = history.follow(FOLLOW, this.#stop.signal);
  }

  /** The newest record is always an event (offer), so there is something to read until that has come. */
  get isBehind(): boolean {
    return this.account.sequence < this.#history.next - 1;
  }

  async read(): Promise<void> {
    const { value } = await this.#stream.next();
    if (value) this.account.take(value);
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#stream.return();
  }
}

/** What the kernel offers at once: events that arrive, one more after them, and others that the ring and the queue lose. */
interface Step {
  readonly events: number;
  readonly ringLost: number;
  readonly queueLost: number;
  readonly reads: number;
}
const STEP: fc.Arbitrary<Step> = fc.record({
  events: fc.nat(120),
  ringLost: fc.oneof(fc.constant(0), fc.nat(50)),
  queueLost: fc.oneof(fc.constant(0), fc.nat(50)),
  reads: fc.nat(3),
});

function offer({ history, ring }: ReturnType<typeof r.makeHistory>, step: Step): number {
  ring.lost += step.ringLost;
  history.listener(r.numbered(step.events), step.events, step.queueLost);
  // so that the word of a loss is written at once and not once per second
  void history.page(FOLLOW);
  history.listener(r.event(), 1, 0);
  return step.events + 1 + step.ringLost + step.queueLost;
}

test('a follower of any speed has read or been told of every event, by the stage that lost it', async () => {
  const steps = fc.array(STEP, { minLength: 1, maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(steps, async (all) => {
      const made = r.makeHistory(100);
      const follower = new ManualFollower(made.history);
      const first = follower.read(); // waits at the end of an empty history
      let offered = offer(made, { events: 0, ringLost: 0, queueLost: 0, reads: 0 });
      await first;
      const sent = { ring: 0, queue: 0 };
      for (const step of all) {
        offered += offer(made, step);
        sent.ring += step.ringLost;
        sent.queue += step.queueLost;
        for (let i = 0; i < step.reads && follower.isBehind; i++) await follower.read();
      }
      while (follower.isBehind) await follower.read();
      assert.is(follower.account.total, offered);
      assert.is(follower.account.told.ring, sent.ring);
      assert.is(follower.account.told.queue, sent.queue);
      assert.is(made.history.losses().subscriber, follower.account.told.subscriber);
      await follower.close();
    }),
    { numRuns: 100 },
  );
});

test('pages by cursor likewise', async () => {
  const steps = fc.array(STEP, { minLength: 1, maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(steps, async (all) => {
      const made = r.makeHistory(100);
      const account = new Account();
      let cursor = { run: made.history.run, sequence: 1 };
      const turn = async () => {
        const page = await made.history.page({ ...FOLLOW, order: 'oldest', count: 40, cursor });
        for (const flow of page.flows) account.see(flow);
        for (const lost of page.lost) account.tell(lost);
        cursor = page.cursor;
        return page.more;
      };
      let offered = 0;
      for (const step of all) {
        offered += offer(made, step);
        for (let i = 0; i < step.reads; i++) await turn();
      }
      while (await turn());
      assert.is(account.total, offered);
      assert.is(made.history.losses().subscriber, account.told.subscriber);
    }),
    { numRuns: 100 },
  );
});

test.run();
