/** Compiling in steps: whatever happens after any step, take() ends where an engine ends that never paused. */
import * as assert from 'uvu/assert';
import type { Labels } from '../../agent/model/labels.ts';
import { createEngine, type Engine } from '../../agent/policy/engine.ts';
import { suite } from '../kit/suite.ts';
import { canonical } from '../scenario/policy-compare.ts';
import { createMirror } from '../scenario/policy-world.ts';
import { cnp } from './policy-documents.ts';

const test = suite('policy: compiling in steps');
const IDENTITIES = 100; // More than are looked at in one step.

function labels(app: string): Labels {
  return new Map([
    ['k8s:io.kubernetes.pod.namespace', 'default'],
    ['k8s:app', app],
  ]);
}

const app = (name: string) => ({ matchLabels: { app: name } });
const policy = (...peers: string[]) =>
  cnp({
    endpointSelector: app('web'),
    ingress: peers.map((peer, i) => ({
      fromEndpoints: [app(peer)],
      toPorts: [{ ports: [{ port: String(80 + i), protocol: 'TCP' }] }],
    })),
    egress: [{ toCIDR: ['192.0.2.0/24'] }, { toEntities: ['cluster'] }],
  });
const WEB = { identity: 300, labels: labels('web'), namedPorts: [] };

/** What may come between two steps. */
const EVENTS: Readonly<Record<string, (engine: Engine, key: string) => void>> = {
  'the subject goes': (engine, key) => engine.removeSubject(key),
  'the subject goes and comes back': (engine, key) => {
    engine.removeSubject(key);
    engine.addSubject(WEB);
  },
  'the document changes': (engine) => void engine.upsertDocument(policy('far', 'other')),
  'the document goes': (engine) => engine.removeDocument(policy().ref),
  'a peer changes its labels': (engine) => engine.upsertIdentity(310, labels('far')),
  'a peer goes': (engine) => engine.removeIdentity(310),
  'the last of a class goes': (engine) => engine.removeIdentity(301),
  'a peer comes': (engine) => engine.upsertIdentity(999, labels('near')),
  'one with new labels comes': (engine) => engine.upsertIdentity(999, labels('other')),
};

function start() {
  const engine = createEngine();
  const mirror = createMirror();
  for (let n = 0; n < IDENTITIES; n++) engine.upsertIdentity(301 + n, labels(n === 0 ? 'far' : 'near'));
  const key = engine.addSubject(WEB);
  engine.upsertDocument(policy('other', 'near'));
  mirror.apply(engine.take());
  engine.upsertDocument(policy('near', 'far'));
  return { engine, mirror, key };
}

function stepsInAll(): number {
  let steps = 0;
  start().engine.prepare(() => {
    steps += 1;
    return true;
  });
  return steps;
}

for (const [event, happens] of Object.entries(EVENTS)) {
  test(`${event}, after any step`, () => {
    const straight = start();
    straight.mirror.apply(straight.engine.take());
    happens(straight.engine, straight.key);
    straight.mirror.apply(straight.engine.take());
    const expected = canonical(straight.mirror.rows());
    for (let stop = 0; stop <= stepsInAll(); stop++) {
      const { engine, mirror, key } = start();
      let steps = stop;
      engine.prepare(() => --steps > 0);
      happens(engine, key);
      assert.ok(engine.pending());
      mirror.apply(engine.take());
      assert.is(canonical(mirror.rows()), expected, `after step ${stop}`);
      assert.is(canonical(engine.rows()), expected, `after step ${stop}`);
      assert.not(engine.pending());
    }
  });
}

test('prepare() leaves nothing for take() to compute, and changes no revision', () => {
  const { engine } = start();
  const revision = engine.revision();
  assert.not(engine.prepare(() => false));
  assert.ok(engine.prepare(() => true));
  assert.is(engine.revision(), revision);
  assert.ok(engine.pending());
  assert.is(engine.take().set.policies.length, 1);
  assert.is(engine.revision(), revision + 1);
  assert.ok(engine.prepare(() => assert.unreachable('asked though there was nothing to do') as never));
});

test.run();
