/** What rules decided, over restarts of the agent. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { RuleAnswer } from '../../agent/api/rules.ts';
import { unusedRules } from '../../agent/cli/policy/unused.ts';
import { EventType } from '../../agent/datapath/layout.gen.ts';
import { RuleHits } from '../../agent/flow/rule-hits.ts';
import { openRuleHits, RULE_HITS_FILE } from '../../agent/flow/rule-hits-file.ts';
import { suite } from '../kit/suite.ts';
import * as r from './flow-records.ts';

const test = suite('flow: rule hits');

test('new connections and drops are hits; later signs of life only move the time', () => {
  const { history } = r.makeHistory(100);
  const before = Date.now() - 1;
  history.listener(r.event(), 1, 0);
  const first = history.rules.of(r.ALLOW_RULE);
  assert.is(first?.hits, 1);
  assert.ok((first?.lastHit ?? 0) >= before);
  history.listener(r.event({ type: EventType.EVENT_UPDATE, time: process.hrtime.bigint() + 5_000_000n }), 1, 0);
  history.listener(r.drop({ rule: [r.DENY_RULE, 0] }), 1, 0);
  const second = history.rules.of(r.ALLOW_RULE);
  assert.is(second?.hits, 1);
  assert.ok((second?.lastHit ?? 0) > (first?.lastHit ?? 0));
  assert.is(history.rules.of(r.DENY_RULE)?.hits, 1);
  assert.is(history.rules.of(77), undefined);
});

test('a restart keeps hits and since when, and adds what came meanwhile', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'wt-hits-'));
  try {
    const one = r.makeHistory(100).history;
    const file = await openRuleHits(folder, one.rules);
    one.listener(r.batch(r.event(), r.event()), 2, 0);
    await file.keep([r.ALLOW_RULE, r.DENY_RULE], 1000);
    const two = r.makeHistory(100).history;
    two.listener(r.event(), 1, 0);
    const again = await openRuleHits(folder, two.rules);
    assert.equal(again.problems, []);
    assert.is(two.rules.of(r.ALLOW_RULE)?.hits, 3);
    const denied = two.rules.of(r.DENY_RULE);
    assert.equal([denied?.hits, denied?.lastHit, denied?.since], [0, undefined, 1000]);
    await again.keep([], Date.now());
    const { rules } = JSON.parse(await readFile(join(folder, RULE_HITS_FILE), 'utf8'));
    const kept = rules.map(([rule]: number[]) => rule);
    assert.equal(kept, [r.ALLOW_RULE], 'the other is of no policy and was never hit');
  } finally {
    await rm(folder, { recursive: true });
  }
});

for (const [what, text] of Object.entries({
  'no JSON': '{',
  'another version': '{"version":2,"rules":[]}',
  'a short row': '{"version":1,"rules":[[1,2,3]]}',
  'no numbers': '{"version":1,"rules":[[1,2,3,"4"]]}',
})) {
  test(`a damaged file is told and counting starts anew: ${what}`, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'wt-hits-'));
    try {
      await writeFile(join(folder, RULE_HITS_FILE), text);
      const hits = new RuleHits();
      const file = await openRuleHits(folder, hits);
      assert.is(file.problems.length, 1);
      await file.keep([5], 1);
      assert.equal((await openRuleHits(folder, new RuleHits())).problems, []);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
}

const DAY = 24 * 3600_000;
const now = Date.UTC(2026, 0, 31);
const at = (days: number) => new Date(now - days * DAY).toISOString();
const answer = (fields: Partial<RuleAnswer>): RuleAnswer => ({
  id: 1,
  policy: { kind: 'NetworkPolicy', namespace: 'default', name: 'p' },
  tier: 'normal',
  direction: 'ingress',
  action: 'allow',
  path: 'spec.ingress[0]',
  place: '',
  description: '',
  hits: 0,
  watchedSince: at(60),
  ...fields,
});
const nodes = (...rules: RuleAnswer[]) => ({
  answers: rules.map((rule, i) => ({ node: `n${i}`, value: { node: `n${i}`, rules: [rule] } })),
});

test('unused: on every node, and certain only when every node watched long enough', () => {
  const from = now - 30 * DAY;
  const certainOf = (...rules: RuleAnswer[]) => unusedRules(nodes(...rules), from).map(({ certain }) => certain);
  assert.equal(certainOf(answer({})), [true]);
  assert.equal(certainOf(answer({ lastHit: at(31) })), [true]);
  assert.equal(certainOf(answer({ lastHit: at(29) })), []);
  assert.equal(certainOf(answer({ lastHit: at(31) }), answer({ lastHit: at(1) })), [], 'another node needs it');
  assert.equal(certainOf(answer({}), answer({ watchedSince: at(3) })), [false], 'the second node is new');
});

test.run();
