/** Every drop reason of the datapath has a name in Hubble's words. */
import * as assert from 'uvu/assert';
import { DROP_REASON_DOC, DropReason, dropReasonName } from '../../agent/datapath/layout.gen.ts';
import { DROP_REASONS, dropReason, dropReasonNumbers } from '../../agent/flow/drop-reason.ts';
import { suite } from '../kit/suite.ts';

const test = suite('flow: drop reasons');

test('the table is complete: each reason of bpf/abi/drop.h once, with its meaning', () => {
  const numbers = Object.keys(dropReasonName)
    .map(Number)
    .filter((number) => number !== DropReason.DROP_NONE);
  assert.equal(
    DROP_REASONS.map((reason) => reason.number),
    numbers,
  );
  for (const { name, number, meaning } of DROP_REASONS) {
    assert.is(`DROP_${name.toUpperCase()}`, dropReasonName[number]);
    assert.is(meaning, DROP_REASON_DOC[number]);
    assert.ok(meaning.length > 0, `${name} has no meaning`);
  }
});

test("Hubble's numbers are real ones, and each number has one name, each name one number", () => {
  const names = new Map<number, string>();
  const numbers = new Map<string, number>();
  for (const { hubble } of DROP_REASONS) {
    assert.ok(hubble.number >= 130 && hubble.number <= 207, `${hubble.name} ${hubble.number}`);
    assert.match(hubble.name, /^[A-Z][A-Z0-9_]+$/);
    assert.is(names.get(hubble.number) ?? hubble.name, hubble.name);
    names.set(hubble.number, hubble.name);
    assert.is(numbers.get(hubble.name) ?? hubble.number, hubble.number);
    numbers.set(hubble.name, hubble.number);
  }
});

test('what policy denies is what Hubble calls denied', () => {
  assert.equal(dropReason(DropReason.DROP_POLICY_DENIED).hubble, {
    number: 133,
    name: 'POLICY_DENIED',
    text: 'Policy denied',
  });
  assert.is(dropReason(DropReason.DROP_POLICY_DENY_RULE).hubble.number, 181);
});

test('names are found in both spellings; an unknown one is nothing', () => {
  assert.equal(dropReasonNumbers('policy_denied'), [DropReason.DROP_POLICY_DENIED]);
  assert.equal(dropReasonNumbers('POLICY_DENIED'), [DropReason.DROP_POLICY_DENIED, DropReason.DROP_POLICY_REVOKED]);
  assert.equal(dropReasonNumbers('Policy_Denied'), []);
});

test.run();
