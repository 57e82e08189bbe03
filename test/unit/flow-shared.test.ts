/** A flow is told once for all followers that want it told alike and keep up, over gRPC and over HTTP. */
import * as assert from 'uvu/assert';
import { allOf } from '../../agent/flow/filter.ts';
import type { FlowLine } from '../../agent/flow/flow.ts';
import { SharedFlows } from '../../agent/flow/shared-flows.ts';
import { suite } from '../kit/suite.ts';
import * as r from './flow-records.ts';

const test = suite('flow: shared tellings');

test('three followers, one telling of each flow; another key is told apart; who is far behind tells for itself', () => {
  const shared = new SharedFlows<string>(8);
  let tellings = 0;
  const tell = (sequence: number) => () => {
    tellings++;
    return `flow ${sequence}`;
  };
  const followers = [shared.share('all'), shared.share('all'), shared.share('all')];
  for (let sequence = 1; sequence <= 100; sequence++) {
    for (const follower of followers) assert.is(follower.flow(sequence, tell(sequence)), `flow ${sequence}`);
  }
  assert.is(tellings, 100);
  const other = shared.share('some fields');
  assert.is(
    other.flow(100, () => 'little'),
    'little',
  );
  assert.is(followers[0]?.flow(92, tell(92)), 'flow 92', 'overwritten by flow 100, and never mistaken for it');
  assert.is(tellings, 101);
  for (const follower of followers) follower.release();
  assert.is(shared.share('all').flow(100, tell(100)), 'flow 100');
  assert.is(tellings, 102, 'nothing is kept for nobody');
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

test.run();
