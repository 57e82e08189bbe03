/** Port names by identity: what is told is what the pods have, and only when that is something else. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import type { NamedPort } from '../../agent/model/object.ts';
import { createNamedPorts } from '../../agent/realize/named-ports.ts';
import { suite } from '../kit/suite.ts';

const http = (port: number): NamedPort => ({ name: 'http', protocol: 'TCP', port });

function build() {
  const ports = new Map<number, readonly NamedPort[]>();
  let told = 0;
  const named = createNamedPorts((identity, now) => {
    told++;
    ports.set(identity, now);
  });
  return { named, ports, told: () => told };
}

const test = suite('realize: named ports');

test('five thousand equal pods are told once, and their going once', () => {
  const { named, ports, told } = build();
  for (let i = 0; i < 5000; i++) named.set(`pod ${i}`, 300, [http(80)]);
  assert.is(told(), 1);
  assert.equal(ports.get(300), [http(80)]);
  for (let i = 0; i < 4999; i++) named.remove(`pod ${i}`);
  assert.is(told(), 1);
  named.remove('pod 4999');
  assert.is(told(), 2);
  assert.equal(ports.get(300), []);
});

test('during a rollout an identity has the ports of the old pods and of the new ones', () => {
  const { named, ports } = build();
  named.set('old', 300, [http(80)]);
  named.set('new', 300, [http(8080)]);
  assert.equal(ports.get(300), [http(80), http(8080)]);
  named.remove('old');
  assert.equal(ports.get(300), [http(8080)]);
});

test('reserved identities have none', () => {
  const { named, told } = build();
  named.set('pod', 5, [http(80)]);
  named.remove('pod');
  assert.is(told(), 0);
});

const step = fc.record({
  owner: fc.constantFrom('a', 'b', 'c', 'd'),
  identity: fc.constantFrom(5, 300, 301),
  ports: fc.uniqueArray(fc.constantFrom(80, 8080)),
  goes: fc.boolean(),
});
test('whatever happens, each identity has the ports of exactly the pods that have it', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const { named, ports } = build();
      const pods = new Map<string, { identity: number; ports: number[] }>();
      for (const { owner, identity, ports: numbers, goes } of steps) {
        if (goes) named.remove(owner);
        else named.set(owner, identity, numbers.map(http));
        if (goes) pods.delete(owner);
        else pods.set(owner, { identity, ports: numbers });
        for (const one of [5, 300, 301]) {
          const expected = [...pods.values()].flatMap((pod) => (pod.identity === one && one >= 256 ? pod.ports : []));
          const told = (ports.get(one) ?? []).map(({ port }) => port);
          assert.equal(new Set(told), new Set(expected));
        }
      }
    }),
  );
});

test.run();
