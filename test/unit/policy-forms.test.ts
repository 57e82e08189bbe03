/** Ways to write a policy that other people's documents have: found by feeding them theirs. */
import * as assert from 'uvu/assert';
import { suite } from '../kit/suite.ts';
import { anyDocument, bed, netpol, outside } from './policy-documents.ts';

const test = suite('policy: forms met in the wild');

// kubernetes-network-policy-recipes 04 has "matchLabels:", the network-policy-api's conformance suite "podSelector:".
test('NetworkPolicy: a selector with nothing behind it selects all', () => {
  for (const podSelector of [null, {}, { matchLabels: null }, { matchExpressions: null }]) {
    const world = bed();
    const [web, near, far] = [world.pod('web'), world.pod('near'), world.pod('other/far')];
    world.apply(
      netpol({
        podSelector,
        ingress: [{ from: [{ podSelector: podSelector ?? {}, namespaceSelector: null }] }],
        egress: null,
      }),
    );
    assert.is(world.receives(web, near, '80/TCP'), 'allowed', JSON.stringify(podSelector));
    assert.is(world.receives(web, far, '80/TCP'), 'denied');
    assert.is(world.sends(web, far, '80/TCP'), 'allowed', 'an egress section that is not there isolates nobody');
  }
});

test('NetworkPolicy: a peer or port list with nothing behind it is no list, which opens and is warned about', () => {
  const world = bed();
  const web = world.pod('web');
  const { status, problems } = world.engine.upsertDocument(
    netpol({ podSelector: {}, ingress: [{ from: null, ports: null }] }),
  );
  assert.is(status, 'valid');
  assert.equal(
    problems.map(({ severity, code, message }) => `${severity} ${code} ${message}`),
    [
      'warning nothing-given spec.ingress[0].from: nothing stands here, which means everybody, as without the field',
      'warning nothing-given spec.ingress[0].ports: nothing stands here, which means every port, as without the field',
    ],
  );
  assert.is(world.receives(web, outside('203.0.113.1'), '80/TCP'), 'allowed');
});

// policy-assistant and its examples speak v1alpha1 as of network-policy-api v0.1.1.
test('AdminNetworkPolicy, BaselineAdminNetworkPolicy: peers as before v0.1.2 and since', () => {
  const other = { matchLabels: { 'kubernetes.io/metadata.name': 'other' } };
  const app = { matchLabels: { app: 'far' } };
  const forms = [
    { namespaces: other },
    { namespaces: { namespaceSelector: other } },
    { pods: { namespaceSelector: other, podSelector: app } },
    { pods: { namespaces: { namespaceSelector: other }, podSelector: app } },
  ];
  for (const kind of ['AdminNetworkPolicy', 'BaselineAdminNetworkPolicy']) {
    for (const peer of forms) {
      const world = bed();
      const [web, near, far] = [world.pod('web'), world.pod('near'), world.pod('other/far')];
      const spec = {
        ...(kind === 'AdminNetworkPolicy' && { priority: 10 }),
        subject: { namespaces: { matchLabels: { 'kubernetes.io/metadata.name': 'default' } } },
        ingress: [{ action: 'Deny', from: [peer] }],
        egress: [{ action: 'Deny', to: [peer] }],
      };
      world.apply(anyDocument('policy.networking.k8s.io/v1alpha1', kind, { spec }));
      const what = `${kind} ${JSON.stringify(peer)}`;
      assert.equal([world.receives(web, far, '80/TCP'), world.sends(web, far, '80/TCP')], ['denied', 'denied'], what);
      assert.equal(
        [world.receives(web, near, '80/TCP'), world.sends(web, near, '80/TCP')],
        ['allowed', 'allowed'],
        what,
      );
    }
  }
});

test('AdminNetworkPolicy: what the old form had beside is refused by name', () => {
  for (const peer of [
    { namespaces: { sameLabels: ['env'] } },
    { pods: { namespaces: { notSameLabels: ['env'] }, podSelector: {} } },
  ]) {
    const spec = { priority: 1, subject: { namespaces: {} }, ingress: [{ action: 'Deny', from: [peer] }] };
    const { status, problems } = bed().engine.upsertDocument(
      anyDocument('policy.networking.k8s.io/v1alpha1', 'AdminNetworkPolicy', { spec }),
    );
    assert.is(status, 'isolating');
    assert.match(problems.map(({ message }) => message).join(), /unknown|did you mean|expected/);
  }
});
test.run();
