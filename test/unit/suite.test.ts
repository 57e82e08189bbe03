/** Policy tests: what a suite may say, when a test fails, and what it then says. */
import * as assert from 'uvu/assert';
import { type Expectation, readSuite, runTest } from '../../agent/policy/suite.ts';
import { parseManifest } from '../../agent/source/manifests/parse.ts';
import { suite } from '../kit/suite.ts';
import { BACKEND_POLICY, bench, CLUSTER } from './questions-cluster.ts';

const test = suite('policy suites');
const CLOSED = `---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: database, name: closed}
spec: {podSelector: {}, ingress: [{from: [{podSelector: {}}]}, {ports: [{port: 1}]}]}
`;
const guide = bench(CLUSTER + BACKEND_POLICY + CLOSED);
const FRONTEND: Expectation = { from: 'default/frontend', to: 'default/backend', port: 8080, expect: 'allow' };

const RUNS: readonly [test: Expectation, failures: readonly string[]][] = [
  [FRONTEND, []],
  [
    { ...FRONTEND, expect: 'deny' },
    ['IPv4: expected deny, but it is allowed', 'IPv6: expected deny, but it is allowed'],
  ],
  [{ ...FRONTEND, expect: 'deny', family: 'IPv6' }, ['IPv6: expected deny, but it is allowed']],
  [{ ...FRONTEND, port: 'http' }, []],
  [{ ...FRONTEND, port: '8080/UDP', expect: 'deny' }, []],
  // backend may not speak, whoever may listen
  [{ from: 'default/backend', to: 'default/frontend', port: 80, expect: 'allow', side: 'ingress' }, []],
  [{ from: 'default/backend', to: 'default/frontend', port: 80, expect: 'deny', side: 'egress' }, []],
  // rules, with and without kind and place
  [{ ...FRONTEND, rule: 'CiliumNetworkPolicy default/backend-policy spec.ingress[0]' }, []],
  [{ ...FRONTEND, rule: 'default/backend-policy' }, []],
  [
    { ...FRONTEND, family: 'IPv4', rule: 'default/backend' },
    ['IPv4: allowed, but by CiliumNetworkPolicy default/backend-policy spec.ingress[0] instead of default/backend'],
  ],
  [{ ...FRONTEND, from: 'entity:world', expect: 'deny', rule: 'CiliumNetworkPolicy default/backend-policy' }, []],
  [
    { from: 'database/postgres', to: 'default/frontend', port: 1, expect: 'allow', rule: 'x/y' },
    ['IPv4: allowed, but by nobody instead of x/y'],
  ],
  [
    { from: 'default/frontend', to: 'database/postgres', port: 1, expect: 'allow', rule: 'x/y' },
    ['IPv4: allowed, but by NetworkPolicy database/closed spec.ingress[1] instead of x/y'],
  ],
  // the receiver denies: what the sender's own policy allows is not what decides
  [
    { from: 'default/backend', to: 'database/postgres', port: 5432, expect: 'deny', rule: 'default/backend-policy' },
    ['IPv4: denied, but by NetworkPolicy database/closed instead of default/backend-policy'],
  ],
  // what cannot be asked fails, it is not skipped
  [{ ...FRONTEND, from: 'default/nobody' }, ['there is no pod default/nobody']],
  [{ ...FRONTEND, port: 'https', expect: 'deny' }, ['default/backend has no port named https']],
  [
    { ...FRONTEND, to: 'database/postgres', family: 'IPv6' },
    ['default/frontend and database/postgres cannot talk over IPv6'],
  ],
];
for (const [one, failures] of RUNS) {
  test(`${JSON.stringify(one)}: ${failures.length === 0 ? 'passes' : 'fails'}`, () => {
    const outcome = runTest(guide, one);
    assert.equal(outcome.failures, failures);
  });
}

test('a failure comes with its explanation, edits included; a pass does not', () => {
  const [failed] = runTest(guide, { ...FRONTEND, port: 9090 }).explanations;
  assert.is(failed?.ingress.fix?.length, 1);
  assert.equal(runTest(guide, FRONTEND).explanations, []);
});

function read(text: string) {
  const [written] = parseManifest(text, 'suite.yaml').objects;
  if (!written) throw new Error('nothing is written');
  return readSuite(written.raw, written.origin);
}

test('a suite is read, its tests with their lines', () => {
  const { suite: found, problems } = read(
    'manifests: [a, b.yaml]\ntests:\n  - {from: a/b, to: c/d, port: 80, expect: allow}\n',
  );
  assert.equal(problems, []);
  assert.equal(found?.manifests, ['a', 'b.yaml']);
  assert.is(found?.line(0), 3);
});

const WRONG: readonly [text: string, problem: string][] = [
  ['tests: []\n', '1 tests: expected at least 1, found 0'],
  ['test: []\n', '1 test: did you mean tests?'],
  ['tests: [{form: a, to: b, port: 1, expect: allow}]\n', '1 tests[0].form: did you mean tests[0].from?'],
  [
    'tests:\n - {from: a, to: b, port: 1, expect: alow}\n',
    '2 tests[0].expect: expected one of allow, deny, found "alow"',
  ],
  [
    'tests: [{from: a, to: b, port: [1], expect: deny}]\n',
    '1 tests[0].port: expected a number or a name, found a list',
  ],
  ['- 1\n', '1 expected fields, found a list'],
];
for (const [text, problem] of WRONG) {
  test(`${JSON.stringify(text)} is refused with what was expected`, () => {
    const { suite: found, problems } = read(text);
    assert.is(found, undefined);
    assert.ok(problems.map(({ line, message }) => `${line} ${message}`).includes(problem), JSON.stringify(problems));
  });
}

test.run();
