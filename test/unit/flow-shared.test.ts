/** A flow is told once for all followers that want it told alike and keep up, over gRPC and over HTTP. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { writtenHere } from '../../agent/api/flow-streams.ts';
import { allOf } from '../../agent/flow/filter.ts';
import type { FlowLine } from '../../agent/flow/flow.ts';
import { SharedFlows, type SharedTelling } from '../../agent/flow/shared-flows.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';
import * as r from './flow-records.ts';

const test = suite('flow: shared tellings');

const SIZE = 1000;
const sizeOf = () => SIZE;

/** Counts how often flows are told. */
function teller() {
  const told = new Map<number, number>();
  const tell = (sequence: number) => () => {
    told.set(sequence, (told.get(sequence) ?? 0) + 1);
    return `flow ${sequence}`;
  };
  return { told, tell, tellings: () => [...told.values()].reduce((sum, count) => sum + count, 0) };
}

test('three followers, one telling of each flow; another kind is told apart; nothing is kept for nobody', () => {
  const shared = new SharedFlows(1 << 20);
  const { tell, tellings } = teller();
  const followers = Array.from({ length: 3 }, () => shared.share<string>('all', sizeOf));
  for (let sequence = 1; sequence <= 100; sequence++) {
    for (const follower of followers) assert.is(follower.flow(sequence, tell(sequence)), `flow ${sequence}`);
  }
  assert.is(tellings(), 100);
  const other = shared.share<string>('some fields', sizeOf);
  assert.is(
    other.flow(100, () => 'little'),
    'little',
  );
  assert.ok(shared.bytes < 64 * 2 * SIZE, 'what all have passed is forgotten');
  for (const follower of [...followers, other]) follower.release();
  assert.is(shared.bytes, 0);
  const alone = shared.share<string>('all', sizeOf);
  assert.is(alone.flow(100, tell(100)), 'flow 100');
  assert.is(tellings(), 101);
  assert.is(shared.bytes, 0, 'nor for one who is alone');
});

test('followers that drift apart share as long as what lies between them fits; the memory is bounded', () => {
  const maxBytes = 1000 * SIZE;
  const shared = new SharedFlows(maxBytes);
  const { tell, tellings } = teller();
  const [first, second, third] = Array.from({ length: 3 }, () => shared.share<string>('all', sizeOf));
  for (let sequence = 1; sequence <= 20_000; sequence++) {
    first?.flow(sequence, tell(sequence));
    if (sequence > 300) second?.flow(sequence - 300, tell(sequence - 300));
    if (sequence > 750) third?.flow(sequence - 750, tell(sequence - 750));
    assert.ok(shared.bytes <= maxBytes, `${shared.bytes} bytes`);
  }
  assert.is(tellings(), 20_000);
  assert.equal(shared.tellings, { made: 20_000, shared: 2 * 20_000 - 300 - 750 });
  for (const kind of ['some', 'few']) {
    const [one, other] = [0, 1].map(() => shared.share<string>(kind, sizeOf));
    one?.flow(1, () => 'little');
    for (let sequence = 1; sequence <= 2000; sequence++) other?.flow(sequence, () => 'little');
    assert.ok(shared.bytes <= maxBytes, 'another kind takes its part from those that were there');
  }
});

test('one that is too far behind tells for itself, and takes nothing from those in front', () => {
  const shared = new SharedFlows(1000 * SIZE);
  const { told, tell } = teller();
  const [first, second, late] = Array.from({ length: 3 }, () => shared.share<string>('all', sizeOf));
  const BEHIND = 50_000;
  for (let sequence = BEHIND; sequence <= BEHIND + 10_000; sequence++) {
    first?.flow(sequence, tell(sequence));
    second?.flow(sequence - 200, tell(sequence - 200));
    late?.flow(sequence - BEHIND + 1, tell(sequence - BEHIND + 1));
  }
  for (let sequence = BEHIND; sequence <= BEHIND + 9800; sequence++) assert.is(told.get(sequence), 1, `${sequence}`);
});

/** Is told `from` up to the flow before `to` as a follower is: a batch, then others have a turn. */
async function told(
  follower: SharedTelling<string>,
  from: number,
  to: number,
  tell: ReturnType<typeof teller>['tell'],
) {
  for (let sequence = from; sequence < to; sequence++) {
    follower.flow(sequence, tell(sequence));
    if (sequence % 64 !== 0) continue;
    await nextTurn();
    await follower.giveWay();
  }
}

test('who drifted too far apart to share comes together again: told anew is what lay between them, and no more', async () => {
  const shared = new SharedFlows(1000 * SIZE);
  const { tell, tellings } = teller();
  const [first, second, third] = ['all', 'all', 'all'].map((kind) => shared.share<string>(kind, sizeOf));
  for (let sequence = 1; sequence <= 100; sequence++)
    for (const one of [first, second, third]) one?.flow(sequence, tell(sequence));
  for (let sequence = 101; sequence <= 3000; sequence++) first?.flow(sequence, tell(sequence));
  for (let sequence = 101; sequence <= 1500; sequence++) second?.flow(sequence, tell(sequence));
  const before = tellings();
  await Promise.all([
    told(first as SharedTelling<string>, 3001, 30_001, tell),
    told(second as SharedTelling<string>, 1501, 30_001, tell),
    told(third as SharedTelling<string>, 101, 30_001, tell),
  ]);
  const anew = tellings() - before - 27_000;
  assert.ok(anew <= 1500 + 2900, `${anew} flows were told anew`);
});

test('nobody waits for one who does not read, nor for one who is so far behind that it will not be there soon', async () => {
  const shared = new SharedFlows(1000 * SIZE);
  const { tell } = teller();
  const [first, second] = ['all', 'all'].map((kind) => shared.share<string>(kind, sizeOf));
  const turnsGiven = async (follower: SharedTelling<string> | undefined) => {
    let turns = 0;
    let isOver = false;
    const count = (async () => {
      for (; !isOver; turns++) await nextTurn();
    })();
    await follower?.giveWay();
    isOver = true;
    await count;
    return turns;
  };
  second?.flow(1, tell(1));
  for (let sequence = 1; sequence <= 300; sequence++) first?.flow(sequence, tell(sequence));
  assert.ok((await turnsGiven(first)) <= 1, 'they still share');
  for (let sequence = 301; sequence <= 3000; sequence++) first?.flow(sequence, tell(sequence));
  assert.ok((await turnsGiven(first)) <= 4, 'it may be about to read');
  assert.ok((await turnsGiven(second)) <= 1, 'the last has nobody behind');
  for (let sequence = 3001; sequence <= 6000; sequence++) first?.flow(sequence, tell(sequence));
  assert.ok((await turnsGiven(first)) <= 1, 'too far');
});

test('whatever the order: the telling of that flow, and never more than the bound', () => {
  const shared = new SharedFlows(200 * SIZE);
  const kinds = ['a', 'b'].map((kind) => ({
    kind,
    tellings: [shared.share<string>(kind, sizeOf), shared.share<string>(kind, sizeOf)],
  }));
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(1), fc.nat(1), fc.integer({ min: 1, max: 5000 })), { maxLength: 400 }),
      (steps) => {
        for (const [kind, follower, sequence] of steps) {
          const { kind: name, tellings } = kinds[kind] as (typeof kinds)[0];
          assert.is(
            tellings[follower]?.flow(sequence, () => `${name} ${sequence}`),
            `${name} ${sequence}`,
          );
          assert.ok(shared.bytes <= 200 * SIZE);
        }
      },
    ),
  );
});

test('followers of the history get the same line, not just an equal one', async () => {
  const { history } = r.makeHistory(1000);
  const stop = new AbortController();
  const query = { wanted: allOf([]), order: 'newest', count: 0, cursor: undefined } as const;
  const followers = Array.from({ length: 3 }, () => history.follow(query, stop.signal));
  const first = followers.map((follower) => follower.next());
  history.listener(r.numbered(200), 200, 0);
  const lines: FlowLine[][] = [];
  for (const [i, follower] of followers.entries()) {
    const got = [...((await first[i])?.value ?? [])];
    while (got.length < 200) got.push(...((await follower.next()).value ?? []));
    lines.push(got);
  }
  for (let i = 0; i < 200; i++) {
    assert.is(lines[1]?.[i], lines[0]?.[i]);
    assert.is(lines[2]?.[i], lines[0]?.[i]);
  }
  stop.abort();
  for (const follower of followers) await follower.return();
});

test('NDJSON and server-sent events: one text for all', async () => {
  const { history } = r.makeHistory(1000);
  const stop = new AbortController();
  const query = { wanted: allOf([]), order: 'newest', count: 0, cursor: undefined } as const;
  const followers = [0, 1].map(() => writtenHere(history, 'node-1', query, stop.signal));
  const first = followers.map((follower) => follower.next());
  await until(() => history.stats().followers === 2, { what: 'both followers to be there' });
  history.listener(r.numbered(10), 10, 0);
  const [one, other] = await Promise.all(first);
  const line = JSON.parse(one?.value?.[9]?.json ?? '') as FlowLine;
  assert.is(line.flow?.weir.sequence, 10);
  assert.equal(one?.value?.[9], other?.value?.[9]);
  assert.equal(one?.value?.[9]?.next, { run: history.run, sequence: 11 });
  assert.ok(history.shared.bytes > 10 * 500);
  stop.abort();
  for (const follower of followers) await follower.return();
  assert.is(history.shared.bytes, 0);
});

test('a follower over HTTP that stood still shares again soon after it goes on', async () => {
  const { history } = r.makeHistory(100_000);
  const FLOWS = 50_000;
  const [STOOD, BEHIND] = [5000, 20_000];
  const stop = new AbortController();
  const query = { wanted: allOf([]), order: 'newest', count: 0, cursor: undefined } as const;
  const read = [0, 0];
  const reading = read.map(async (_, i) => {
    for await (const lines of writtenHere(history, 'node-1', query, stop.signal)) {
      read[i] = (read[i] as number) + lines.length;
      if (read[i] === FLOWS) return;
      const isToStand = i === 1 && read[i] === STOOD - (STOOD % 64);
      while (isToStand && (read[0] as number) < STOOD + BEHIND) await nextTurn();
    }
  });
  await until(() => history.stats().followers === 2, { what: 'both followers to be there' });
  const some = r.numbered(1000);
  for (let i = 0; i < FLOWS; i += 1000) history.listener(some, 1000, 0);
  await Promise.all(reading);
  const { made, shared } = history.shared.tellings;
  assert.is(made + shared, 2 * FLOWS);
  assert.ok(made >= FLOWS && made <= FLOWS + BEHIND + 1000, `${made} tellings of ${FLOWS} flows`);
});

test('a reader who takes whatever there is leaves turns to others', async () => {
  const { history } = r.makeHistory(10_000);
  const stop = new AbortController();
  const query = { wanted: allOf([]), order: 'oldest', count: 0, cursor: undefined } as const;
  history.listener(r.numbered(6400), 6400, 0);
  let turns = 0;
  let read = 0;
  const reading = (async () => {
    for await (const lines of writtenHere(history, 'node-1', query, stop.signal)) {
      read += lines.length;
      if (read === 6400) return;
    }
  })();
  for (; read < 6400; turns++) await nextTurn();
  await reading;
  assert.ok(turns >= 99, `${turns} turns for 100 batches`);
});

test.run();
