/** `weir.dev/established: keep`: a denial that is for new connections only. */
import * as assert from 'uvu/assert';
import type { TierVerdict } from '../../agent/model/verdict.ts';
import { judge } from '../../agent/policy/evaluate.ts';
import { suite } from '../kit/suite.ts';
import { type Bed, bed, cnp, type PodPeer } from './policy-documents.ts';

const test = suite('policy: established connections that are kept');
const app = (name: string) => ({ matchLabels: { app: name } });
const KEEP = { 'weir.dev/established': 'keep' };
const ISOLATE = { endpointSelector: app('web'), ingress: [{ fromEndpoints: [app('near')] }] };
const DENY = { endpointSelector: app('web'), ingressDeny: [{ fromEndpoints: [app('far')] }], ingress: [{}] };

/** What the web pod's ingress says of a connection from the peer: a new one, and one that was allowed. */
function says(world: Bed, subject: string, peer: PodPeer): string {
  world.engine.take();
  const rows = world.engine.rows();
  const policy = world.engine.policyOf(subject) ?? 0;
  const ask = (established: boolean) =>
    judge(rows, { policy, direction: 'ingress', peer, protocol: 6, port: 80, established });
  return [ask(false), ask(true)].map(({ verdict, reason }) => `${verdict} (${reason})`).join(', ');
}

test('default deny of a policy that keeps', () => {
  const world = bed();
  const [web, near, far] = [world.pod('web'), world.pod('near'), world.pod('far')];
  world.apply(cnp(ISOLATE, { annotations: KEEP }));
  assert.is(says(world, web.subject, far), 'denied (default-deny), allowed (kept)');
  assert.is(says(world, web.subject, near), 'allowed (rule), allowed (rule)');
  world.apply(cnp(ISOLATE));
  assert.is(says(world, web.subject, far), 'denied (default-deny), denied (default-deny)');
});

test('default deny of several policies: one that does not keep is enough to end it', () => {
  const world = bed();
  const [web, far] = [world.pod('web'), world.pod('far')];
  world.apply(cnp(ISOLATE, { annotations: KEEP }));
  world.apply(cnp(ISOLATE, { name: 'other' }));
  assert.is(says(world, web.subject, far), 'denied (default-deny), denied (default-deny)');
  world.apply(cnp(ISOLATE, { name: 'other', annotations: KEEP }));
  assert.is(says(world, web.subject, far), 'denied (default-deny), allowed (kept)');
});

test('a deny rule of a policy that keeps; another that does not goes before it', () => {
  const world = bed();
  const [web, far] = [world.pod('web'), world.pod('far')];
  world.apply(cnp(DENY, { annotations: KEEP }));
  assert.is(says(world, web.subject, far), 'denied (rule), allowed (kept)');
  world.apply(cnp(DENY, { name: 'a-strict' }));
  world.apply(cnp(DENY, { name: 'z-strict' }));
  assert.is(says(world, web.subject, far), 'denied (rule), denied (rule)');
});

test('only its denials carry it, and only the direction it isolates', () => {
  const world = bed();
  const [web] = [world.pod('web'), world.pod('far')];
  world.apply(cnp(DENY, { annotations: KEEP }));
  world.engine.take();
  const tiers = world.engine.rows().verdicts.flatMap(({ enforced, audited }) => [...enforced, ...audited]);
  const kept = tiers.filter((verdict): verdict is TierVerdict => verdict?.keep === true);
  assert.ok(kept.length > 0 && kept.every(({ action }) => action === 'deny'));
  const policy = world.engine.rows().policies.find(({ id }) => id === world.engine.policyOf(web.subject));
  assert.is(policy?.ingress.keepsEstablished, true);
  assert.is(policy?.egress.keepsEstablished, false);
});

test("the agent's own isolation ends what it denies: enforcement always, and init", () => {
  const world = bed({ enforcement: 'always' });
  const [web, far] = [world.pod('web'), world.pod('far')];
  world.apply(cnp(ISOLATE, { annotations: KEEP }));
  assert.is(says(world, web.subject, far), 'denied (default-deny), denied (default-deny)');
});

test('an audited policy that does not keep does not take it from an enforced one that does', () => {
  const world = bed();
  const [web, far] = [world.pod('web'), world.pod('far')];
  world.apply(cnp(ISOLATE, { annotations: KEEP }));
  world.apply(cnp(ISOLATE, { name: 'audited', annotations: { 'weir.dev/audit': 'true' } }));
  assert.is(says(world, web.subject, far), 'denied (default-deny), allowed (kept)');
});

test('adding or removing the annotation alone makes another policy', () => {
  const world = bed();
  const web = world.pod('web');
  const after = (annotations: Record<string, string>): number | undefined => {
    world.apply(cnp(ISOLATE, { annotations }));
    world.engine.take();
    return world.engine.policyOf(web.subject);
  };
  const plain = after({});
  const keeping = after(KEEP);
  assert.is.not(keeping, plain);
  assert.is.not(after({}), keeping);
});

test.run();
