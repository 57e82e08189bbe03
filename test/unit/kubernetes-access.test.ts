/** Tokens judged by an API server of the test's own: what is kept, and what those who guess can take from others. */
import * as assert from 'uvu/assert';
import { createAccess } from '../../agent/kubernetes/access.ts';
import { fakeClock } from '../kit/clock.ts';
import { suite } from '../kit/suite.ts';

const test = suite('access: tokens');

interface Review {
  readonly kind: string;
  readonly spec: {
    readonly token?: string;
    readonly user?: string;
    readonly nonResourceAttributes?: { readonly path: string };
  };
}

/** Knows the token of each user "u1", "u2", ...: it is the name; all may get /v1/flows. */
function makeServer() {
  const clock = fakeClock();
  const calls: Review[] = [];
  const revoked = new Set<string>();
  async function create(_path: string, review: unknown) {
    const { kind, spec } = review as Review;
    calls.push(review as Review);
    if (kind === 'SubjectAccessReview')
      return { status: { allowed: spec.nonResourceAttributes?.path === '/v1/flows' } };
    const { token = '' } = spec;
    const authenticated = /^u[0-9]+$/.test(token) && !revoked.has(token);
    return { status: { authenticated, user: { username: token } } };
  }
  const ask = createAccess({ create: create as never }, clock);
  const said = (token: string, path = '/v1/flows') =>
    ask({ token, path, verb: 'get' }).catch(({ code }: { code: string }) => code);
  return { clock, calls, revoked, said };
}

test('a right is kept a minute, a refusal five seconds', async () => {
  const { clock, calls, revoked, said } = makeServer();
  assert.is(await said('u1'), 'allowed');
  revoked.add('u1');
  clock.advance(59_999);
  assert.is(await said('u1'), 'allowed');
  assert.is(calls.length, 2);
  clock.advance(1);
  assert.is(await said('u1'), 'unknown token');
  revoked.clear();
  clock.advance(4999);
  assert.is(await said('u1'), 'unknown token');
  clock.advance(1);
  assert.is(await said('u1'), 'allowed');
});

test('who guesses tokens asks the API server five times a second, and the rest is told to wait', async () => {
  const { clock, calls, said } = makeServer();
  const guess = async (from: number) => Promise.all(Array.from({ length: 5000 }, (_, i) => said(`guess-${from + i}`)));
  const first = await guess(0);
  assert.is(calls.length, 20);
  assert.is(first.filter((one) => one === 'BUSY').length, 4980);
  clock.advance(10_000);
  await guess(5000);
  assert.is(calls.length, 40, 'ten seconds later no more than were saved up');
});

test('who was known before is judged again while others guess', async () => {
  const { clock, said } = makeServer();
  assert.is(await said('u1'), 'allowed');
  assert.is(await said('u2', '/v1/policies'), 'not allowed');
  for (let minute = 0; minute < 3; minute++) {
    clock.advance(60_000);
    await Promise.all(Array.from({ length: 5000 }, (_, i) => said(`guess-${minute}-${i}`)));
    assert.is(await said('u1'), 'allowed');
    assert.is(await said('u2', '/v1/policies'), 'not allowed', 'a token without the right is no guess');
    assert.is(await said('u3'), 'BUSY');
  }
});

test('a known token is no way to ask without end either', async () => {
  const { calls, said } = makeServer();
  await said('u1');
  const told = await Promise.all(Array.from({ length: 5000 }, (_, i) => said('u1', `/v1/endpoints/${i}`)));
  assert.ok(calls.length <= 2 + 2 * 40, `${calls.length} calls`);
  assert.is(told.filter((one) => one === 'BUSY').length, 5000 - 40);
});

test.run();
