/** Between any two writes a packet to a Service finds the whole old set of backends or the whole new one, or a refusal. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import type { ServiceBackend, ServiceFrontend, ServiceRow } from '../../agent/datapath/datapath.ts';
import { difference, keyText, NO_CHANGES, NO_ROWS } from '../../agent/datapath/plan/changes.ts';
import {
  type HeldServices,
  planServices,
  type ServiceDeletion,
  type ServiceOp,
  servicesChanged,
} from '../../agent/datapath/plan/service-plan.ts';
import { type Address, parseAddress } from '../../agent/model/address.ts';
import { suite } from '../kit/suite.ts';

const address = (text: string): Address => parseAddress(text) as Address;
const VIRTUAL = ['10.96.0.1', '10.96.0.2', 'fd96::1'].map(address);
const backend: fc.Arbitrary<ServiceBackend> = fc.record({
  address: fc.constantFrom(...['10.0.0.1', '10.0.0.2', '10.0.0.3', 'fd00::1'].map(address)),
  port: fc.constantFrom(80, 8080),
});
const frontend: fc.Arbitrary<ServiceFrontend> = fc.record({
  address: fc.constantFrom(...VIRTUAL),
  protocol: fc.constantFrom('TCP' as const, 'UDP' as const),
  port: fc.constantFrom(53, 80),
});
const row: fc.Arbitrary<ServiceRow> = fc.record({
  frontend,
  backends: fc.uniqueArray(backend, { maxLength: 4, selector: (one) => `${one.address} ${one.port}` }),
  affinitySeconds: fc.constantFrom(0, 600),
});
const rows = fc.uniqueArray(row, { maxLength: 6, selector: keyText.services });

/** The tables as the programs read them. */
class Memory implements HeldServices {
  readonly services = new Map<string, { row: ServiceRow; slots: number }>();
  readonly slots = new Map<string, string>();
  readonly members = new Set<string>();
  readonly virtual = new Set<Address>();
  nextSlots = 1;

  service = (of: ServiceFrontend) => this.services.get(keyText.services({ frontend: of }));
  frontendsAt = (at: Address): number =>
    [...this.services.values()].filter((held) => held.row.frontend.address === at).length;

  do(op: ServiceOp | ServiceDeletion): void {
    switch (op.kind) {
      case 'backends.set':
        this.nextSlots = Math.max(this.nextSlots, op.set.slots + 1);
        for (const [index, one] of op.set.backends.entries()) {
          this.slots.set(`${op.set.slots} ${index}`, JSON.stringify(one));
          this.members.add(`${op.set.slots} ${JSON.stringify(one)}`);
        }
        break;
      case 'backends.delete':
        for (const [index, one] of op.key.backends.entries()) {
          this.slots.delete(`${op.key.slots} ${index}`);
          this.members.delete(`${op.key.slots} ${JSON.stringify(one)}`);
        }
        break;
      case 'service.set':
        this.services.set(keyText.services(op.row), { row: op.row, slots: op.slots });
        break;
      case 'service.delete':
        this.services.delete(keyText.services({ frontend: op.key }));
        break;
      case 'virtualAddress.set':
        this.virtual.add(op.address);
        break;
      case 'virtualAddress.delete':
        this.virtual.delete(op.address);
        break;
    }
  }

  /** What a packet to the frontend can come to: every slot it may be given, or why none. */
  resolve(of: ServiceFrontend): string {
    if (!this.virtual.has(of.address)) return 'world';
    const held = this.service(of);
    if (held === undefined) return 'refused';
    const found = held.row.backends.map((_, index) => this.slots.get(`${held.slots} ${index}`) ?? 'EMPTY SLOT');
    for (const one of found) if (!this.members.has(`${held.slots} ${one}`)) return 'NO MEMBER';
    return found.join();
  }
}

const changesTo = (from: readonly ServiceRow[], to: readonly ServiceRow[]) =>
  difference({ ...NO_ROWS, services: from }, { ...NO_ROWS, services: to });
const held = (memory: Memory): ServiceRow[] => [...memory.services.values()].map((one) => one.row);
const meaning = (of: readonly ServiceRow[], at: ServiceFrontend): string => {
  const found = of.find((one) => keyText.services(one) === keyText.services({ frontend: at }));
  if (found) return found.backends.map((one) => JSON.stringify(one)).join();
  return of.some((one) => one.frontend.address === at.address) ? 'refused' : 'world';
};
const FRONTENDS: ServiceFrontend[] = VIRTUAL.flatMap((at) =>
  (['TCP', 'UDP'] as const).flatMap((protocol) => [53, 80].map((port) => ({ address: at, protocol, port }))),
);

const test = suite('the plan of Services');

test('no packet sees half of a set of backends, and nothing is left behind', () => {
  fc.assert(
    fc.property(fc.array(rows, { minLength: 1, maxLength: 4 }), fc.boolean(), (states, graceEnds) => {
      const memory = new Memory();
      let before: ServiceRow[] = [];
      const pending: ServiceDeletion[] = [];
      for (const state of states) {
        const { ops, later } = planServices(changesTo(held(memory), state), memory);
        for (const op of ops) {
          memory.do(op);
          for (const at of FRONTENDS) {
            const seen = memory.resolve(at);
            const allowed = [meaning(before, at), meaning(state, at), 'refused'];
            // While the address is not virtual yet, it is what it was: somebody in the world.
            if (meaning(before, at) === 'world' || meaning(state, at) === 'world') allowed.push('world');
            assert.ok(allowed.includes(seen), `${keyText.services({ frontend: at })} after ${op.kind}: ${seen}`);
          }
        }
        pending.push(...later);
        if (graceEnds) for (const deletion of pending.splice(0)) memory.do(deletion);
        for (const at of FRONTENDS) assert.is(memory.resolve(at), meaning(state, at));
        before = state;
      }
      for (const deletion of pending) memory.do(deletion);
      const sets = before.reduce((sum, one) => sum + one.backends.length, 0);
      assert.equal([memory.slots.size, memory.members.size], [sets, sets], 'no slot without a Service');
    }),
    { numRuns: 500 },
  );
});

const web: ServiceRow = {
  frontend: { address: address('10.96.0.1'), protocol: 'TCP', port: 80 },
  backends: [{ address: address('10.0.0.1'), port: 8080 }],
  affinitySeconds: 0,
};

test('only another set of backends gets another id', () => {
  const memory = new Memory();
  for (const op of planServices(changesTo([], [web]), memory).ops) memory.do(op);
  const sticky = { ...web, affinitySeconds: 60 };
  const { ops, later } = planServices(changesTo([web], [sticky]), memory);
  assert.equal(ops, [{ kind: 'service.set', row: sticky, slots: 1 }]);
  assert.equal(later, []);
});

test('established connections are looked at again when a Service is new, gone, or has lost a backend', () => {
  const memory = new Memory();
  const why = (to: readonly ServiceRow[]): string | undefined => servicesChanged(changesTo(held(memory), to), memory);
  assert.is(why([web]), 'Service TCP 10.96.0.1 80 is new');
  for (const op of planServices(changesTo([], [web]), memory).ops) memory.do(op);
  const more = { ...web, backends: [...web.backends, { address: address('10.0.0.2'), port: 8080 }] };
  assert.is(why([more]), undefined, 'one more takes nobody away');
  assert.is(why([{ ...web, affinitySeconds: 60 }]), undefined);
  assert.is(why([{ ...web, backends: [] }]), 'Service TCP 10.96.0.1 80 lost a backend');
  assert.is(why([]), 'Service TCP 10.96.0.1 80 removed');
  assert.is(servicesChanged(NO_CHANGES, memory), undefined);
});

test.run();
