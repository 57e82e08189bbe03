/** The promises of agent/endpoint/README.md, one by one, on a fake kernel and a real disk. */
import * as assert from 'uvu/assert';
import { createExclusive } from '../../agent/endpoint/exclusive.ts';
import { ADD_STEPS, REMOVE_STEPS, type Step } from '../../agent/endpoint/options.ts';
import { ERRORS, type ErrorCode, WeirError } from '../../agent/errors.ts';
import { createPool } from '../../agent/ipam/pool.ts';
import type { Address, Prefix } from '../../agent/model/address.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';
import { type Agent, container, createWorld, podNamed, type World } from './endpoint-world.ts';

const never = (): Promise<never> => new Promise(() => {});

async function refused(promise: Promise<unknown>, code: ErrorCode, text: RegExp = /./): Promise<WeirError> {
  try {
    await promise;
  } catch (error) {
    assert.instance(error, WeirError);
    assert.is((error as WeirError).code, code, (error as Error).message);
    assert.match((error as Error).message, text);
    return error as WeirError;
  }
  throw new Error(`succeeded, ${code} was expected`);
}

async function inWorld(body: (world: World) => Promise<void>): Promise<void> {
  const world = createWorld();
  try {
    await body(world);
  } finally {
    world.remove();
  }
}

/** Nothing anywhere, and every address free. */
function assertClean(world: World, agent: Agent): void {
  assert.equal(world.residue(), []);
  assert.is(agent.pool.use()[0]?.used, 0);
  assert.equal(agent.endpoints.list(), []);
  assert.is(agent.endpoints.counters().changing, 0);
}

const add = suite('endpoint ADD');

add('gives addresses of both families, wires, records, admits, and only then answers', () =>
  inWorld(async (world) => {
    const admission = Promise.withResolvers<void>();
    const agent = await world.boot({
      realize: { podOf: async () => podNamed('a'), admit: () => admission.promise, withdraw: async () => {} },
    });
    let answered = false;
    const adding = agent.endpoints.add(container(world, 'a')).then((added) => {
      answered = true;
      return added;
    });
    await until(() => world.residue().some((line) => line.endsWith('.json')), { what: 'the record is durable' });
    await new Promise(setImmediate);
    assert.not.ok(answered);
    assert.equal(agent.endpoints.list(), []);
    admission.resolve();
    const { record } = await adding;
    assert.equal(record.addresses, ['10.7.0.2', 'fd07::2'] as Address[]);
    assert.is(record.id, 1);
    assert.match(record.hostInterface, /^weir[0-9a-f]{10}$/);
    assert.match(record.mac, /^0a:70(:[0-9a-f]{2}){4}$/);
    assert.equal(agent.endpoints.list(), [record]);
  }),
);

add('a second ADD of the same interface is refused and gets no address', () =>
  inWorld(async (world) => {
    const agent = await world.boot();
    await agent.endpoints.add(container(world, 'a'));
    const error = await refused(agent.endpoints.add(container(world, 'a')), 'ENDPOINT_EXISTS', /eth0 of container a/);
    assert.ok(ERRORS[error.code].cni >= 100);
    assert.is(agent.pool.use()[0]?.used, 1);
    assert.is(world.links.size, 1);
  }),
);

add('of two at the same time one wins', () =>
  inWorld(async (world) => {
    const agent = await world.boot();
    const both = await Promise.allSettled([1, 2].map(() => agent.endpoints.add(container(world, 'a'))));
    assert.equal(
      both.map(({ status }) => status),
      ['fulfilled', 'rejected'],
    );
    assert.is(agent.pool.use()[0]?.used, 1);
  }),
);

add('a pod the source does not know is named after the wait, and nothing stays', () =>
  inWorld(async (world) => {
    const agent = await world.boot();
    const request = container(world, 'a');
    world.pods.clear();
    const error = await refused(agent.endpoints.add(request), 'POD_UNKNOWN', /pod default\/a after 1 s/);
    assert.is(ERRORS[error.code].cni, 11);
    assertClean(world, agent);
  }),
);

add('a pod of the same name but another uid is not this one', () =>
  inWorld(async (world) => {
    const agent = await world.boot();
    const request = container(world, 'web-0');
    world.pods.set('default/web-0', podNamed('web-0', 'old'));
    const pod = { ...request.pod, uid: 'new' };
    await refused(agent.endpoints.add({ ...request, pod }), 'POD_UNKNOWN', /as uid old, not new/);
    world.pods.set('default/web-0', podNamed('web-0', 'new'));
    await agent.endpoints.add({ ...request, pod });
  }),
);

add('a static pod is known by the hash of its file: the API server gives its mirror a uid of its own', () =>
  inWorld(async (world) => {
    const agent = await world.boot();
    const request = container(world, 'static');
    const mirror = { 'kubernetes.io/config.mirror': 'hash' };
    world.pods.set('default/static', { ...podNamed('static', 'of-the-mirror'), annotations: mirror });
    const another = { ...request.pod, uid: 'hash-before' };
    await refused(agent.endpoints.add({ ...request, pod: another }), 'POD_UNKNOWN', /as uid of-the-mirror, not hash-b/);
    await agent.endpoints.add({ ...request, pod: { ...request.pod, uid: 'hash' } });
  }),
);

add('a container that is no pod is admitted without one', () =>
  inWorld(async (world) => {
    const admitted: unknown[] = [];
    const agent = await world.boot({
      realize: { podOf: never, admit: async (_, pod) => void admitted.push(pod), withdraw: async () => {} },
    });
    await agent.endpoints.add({ ...container(world, 'a'), pod: undefined });
    assert.equal(admitted, [undefined]);
  }),
);

add('a path that is no namespace is refused by the name of its variable', () =>
  inWorld(async (world) => {
    const agent = await world.boot();
    const request = { ...container(world, 'a'), netns: '/run/netns/none' };
    await refused(agent.endpoints.add(request), 'CNI_BAD_ENVIRONMENT', /CNI_NETNS/);
    assertClean(world, agent);
  }),
);

add('the deadline names what was being waited for, and what was made is removed', () =>
  inWorld(async (world) => {
    const agent = await world.boot({
      addDeadlineMs: 60,
      realize: { podOf: async () => podNamed('a'), admit: never, withdraw: async () => {} },
    });
    const error = await refused(agent.endpoints.add(container(world, 'a')), 'TIMEOUT', /identity and policy/);
    assert.is(ERRORS[error.code].cni, 11);
    await until(() => agent.endpoints.counters().changing === 0, { what: 'all is removed' });
    assertClean(world, agent);
  }),
);

add('the deadline is kept even if the kernel never answers', () =>
  inWorld(async (world) => {
    const datapath = { wire: never, unwire: async () => {}, check: async () => [], repair: async () => [] };
    const agent = await world.boot({ addDeadlineMs: 60, datapath });
    await refused(agent.endpoints.add(container(world, 'a')), 'TIMEOUT', /interface pair/);
  }),
);

add('an exhausted pool says how many are used, and recovers when one is freed', () =>
  inWorld(async (world) => {
    const agent = await world.boot();
    for (const name of ['a', 'b', 'c', 'd', 'e']) await agent.endpoints.add(container(world, name));
    await refused(agent.endpoints.add(container(world, 'f')), 'IPAM_EXHAUSTED', /10\.7\.0\.0\/29: 5 used, 0 free/);
    await agent.endpoints.del({ containerId: 'c', interfaceName: 'eth0' });
    const { record } = await agent.endpoints.add(container(world, 'f'));
    assert.is(record.addresses[0], '10.7.0.4');
  }),
);

add('an address rests when others may have heard of its pod, and not when none has', () =>
  inWorld(async (world) => {
    const pool = createPool(['10.7.0.0/30' as Prefix], { restMs: 5000, now: () => 0 });
    const told = Promise.withResolvers<void>();
    const realize = {
      podOf: async (namespace: string, name: string) => world.pods.get(`${namespace}/${name}`),
      admit: async () => {},
      withdraw: async () => {},
      told: () => told.promise,
    };
    const agent = await world.boot({ pool, realize });
    const stranger = { ...container(world, 'a'), pod: { namespace: 'default', name: 'nobody', uid: '' } };
    for (let i = 0; i < 3; i++) await refused(agent.endpoints.add(stranger), 'POD_UNKNOWN', /does not know/);
    await agent.endpoints.add(container(world, 'b'));
    await agent.endpoints.del({ containerId: 'b', interfaceName: 'eth0' });
    assert.is(pool.use()[0]?.used, 0);
    await refused(agent.endpoints.add(container(world, 'c')), 'IPAM_EXHAUSTED', /1 of pods that went/);
    told.resolve();
  }),
);

for (const step of ADD_STEPS) {
  add(`a failure at "${step}" leaves nothing`, () =>
    inWorld(async (world) => {
      const agent = await world.boot({
        at: (now) => {
          if (now === step) throw new Error(`failed at ${step}`);
        },
      });
      await refused(agent.endpoints.add(container(world, 'a')), 'INTERNAL', new RegExp(`failed at ${step}`));
      assertClean(world, agent);
    }),
  );
}

add('the record is on its way before the kernel is touched, so that our death leaves no nameless interface', () =>
  inWorld(async (world) => {
    let filesAtWire: string[] = [];
    const wire = async () => {
      filesAtWire = world.residue();
      return { hostIfindex: 1, hostMac: '', mtu: 1500 };
    };
    const datapath = { wire, unwire: async () => {}, check: async () => [], repair: async () => [] };
    const agent = await world.boot({ datapath });
    await agent.endpoints.add(container(world, 'a'));
    assert.match(filesAtWire.join(), /^file 1\.weir[0-9a-f]+\.staged$/);
  }),
);

add('a record that fails is undone only when the wiring beside it is over', () =>
  inWorld(async (world) => {
    const { store } = await world.boot();
    const wired = Promise.withResolvers<void>();
    const commit = (): Promise<void> => Promise.reject(new WeirError('STATE_NOT_DURABLE', 'commit', 'EIO'));
    const agent = await world.boot({
      store: { ...store, stage: (record) => ({ ...store.stage(record), commit }) },
      at: (step) => (step === 'wired' ? wired.promise : undefined),
    });
    const adding = refused(agent.endpoints.add(container(world, 'a')), 'STATE_NOT_DURABLE');
    await until(() => world.links.size === 1, { what: 'the interface to be made' });
    await new Promise(setImmediate);
    assert.is(world.links.size, 1);
    wired.resolve();
    await adding;
    assertClean(world, agent);
  }),
);

add('after an undo that failed the same container can be added again', () =>
  inWorld(async (world) => {
    let broken = true;
    const agent = await world.boot({
      at: (step) => {
        if (broken && (step === 'attached' || step === 'withdrawn')) throw new Error(step);
      },
    });
    await refused(agent.endpoints.add(container(world, 'a')), 'INTERNAL', /attached/);
    broken = false;
    await agent.endpoints.add(container(world, 'a'));
    assert.is(agent.pool.use()[0]?.used, 1);
  }),
);

add('an undo that fails keeps the addresses until it succeeds', () =>
  inWorld(async (world) => {
    let broken = true;
    const agent = await world.boot({
      at: (step) => {
        if (step === 'admitted') throw new Error('first');
        if (step === 'withdrawn' && broken) throw new Error('second');
      },
    });
    await refused(agent.endpoints.add(container(world, 'a')), 'INTERNAL', /first/);
    assert.is(agent.pool.use()[0]?.used, 1);
    assert.is(agent.endpoints.counters().changing, 1);
    assert.match(agent.log.join(''), /could not be undone/);
    assert.is(await agent.endpoints.collect(), 0);
    broken = false;
    assert.is(await agent.endpoints.collect(), 1);
    assertClean(world, agent);
  }),
);
add.run();

const order = suite('endpoint: one at a time');
order('work of one key runs in the order of asking, that of others beside it', async () => {
  const exclusive = createExclusive();
  const seen: string[] = [];
  const gate = Promise.withResolvers<void>();
  const work = (name: string, wait?: Promise<void>) => async () => {
    seen.push(`${name} starts`);
    await wait;
    seen.push(`${name} ends`);
    if (name === 'a1') throw new Error('a1');
  };
  const all = [exclusive('a', work('a1', gate.promise)), exclusive('a', work('a2')), exclusive('b', work('b1'))];
  const settled = Promise.allSettled(all);
  await all[2];
  gate.resolve();
  assert.equal(
    (await settled).map(({ status }) => status),
    ['rejected', 'fulfilled', 'fulfilled'],
  );
  assert.equal(seen, ['a1 starts', 'b1 starts', 'b1 ends', 'a1 ends', 'a2 starts', 'a2 ends']);
});
order.run();

const crash = suite('endpoint: the agent dies');
const STEPS: readonly [verb: 'ADD' | 'DEL', step: Step][] = [
  ...ADD_STEPS.map((step): ['ADD', Step] => ['ADD', step]),
  ...REMOVE_STEPS.map((step): ['DEL', Step] => ['DEL', step]),
];

/** An agent that dies at the step: its work never goes on. */
async function dieAt(world: World, verb: 'ADD' | 'DEL', step: Step): Promise<void> {
  const reached = Promise.withResolvers<void>();
  let armed = verb === 'ADD';
  const agent = await world.boot({
    at: (now) => {
      if (!armed || now !== step) return undefined;
      reached.resolve();
      return never();
    },
  });
  const adding = agent.endpoints.add(container(world, 'a'));
  adding.catch(() => {});
  if (verb === 'DEL') {
    await adding;
    armed = true;
    agent.endpoints.del({ containerId: 'a', interfaceName: 'eth0' }).catch(() => {});
  }
  await reached.promise;
  // What runs beside the step (the fsync, the wiring) gets to its end or not; both happen.
  await new Promise(setImmediate);
}

for (const [verb, step] of STEPS) {
  crash(`in ${verb} at "${step}": restart, then DEL leaves nothing`, () =>
    inWorld(async (world) => {
      await dieAt(world, verb, step);
      const agent = await world.boot();
      await agent.endpoints.del({ containerId: 'a', interfaceName: 'eth0' });
      assertClean(world, agent);
    }),
  );
  crash(`in ${verb} at "${step}": a restart without the namespace leaves nothing`, () =>
    inWorld(async (world) => {
      await dieAt(world, verb, step);
      world.namespaces.clear();
      assertClean(world, await world.boot());
    }),
  );
  crash(`in ${verb} at "${step}": what is taken up is whole, and another pod gets other addresses`, () =>
    inWorld(async (world) => {
      await dieAt(world, verb, step);
      const agent = await world.boot();
      for (const { hostInterface } of agent.restored.endpoints) assert.ok(world.links.has(hostInterface));
      assert.is(world.links.size, agent.restored.endpoints.length);
      await agent.endpoints.add(container(world, 'b')); // the fake kernel refuses an address twice
      assert.is(world.links.size, agent.restored.endpoints.length + 1);
    }),
  );
}

crash('an answered ADD is taken up again as it was', () =>
  inWorld(async (world) => {
    const before = await world.boot();
    const { record } = await before.endpoints.add(container(world, 'a'));
    for (let restart = 0; restart < 2; restart++) {
      const agent = await world.boot();
      assert.equal(agent.restored.endpoints, [record]);
      assert.equal(agent.restored.problems, []);
      assert.equal(agent.endpoints.list(), [record]);
      assert.is(agent.pool.ownerOf(record.addresses[0] as Address), 'a/eth0');
      await refused(agent.endpoints.add(container(world, 'a')), 'ENDPOINT_EXISTS');
    }
  }),
);
crash.run();

const del = suite('endpoint DEL');
del('twice, of an unknown container, and without a namespace: no error, freed once', () =>
  inWorld(async (world) => {
    const agent = await world.boot();
    const key = { containerId: 'a', interfaceName: 'eth0' };
    await agent.endpoints.add(container(world, 'a'));
    world.namespaces.clear();
    await agent.endpoints.del(key);
    await agent.endpoints.del(key);
    await agent.endpoints.del({ containerId: 'nobody', interfaceName: 'eth0' });
    assert.is(agent.endpoints.counters().removed, 1);
    assertClean(world, agent);
  }),
);

del('ends an ADD of the same container that is still running', () =>
  inWorld(async (world) => {
    const agent = await world.boot({
      realize: { podOf: async () => podNamed('a'), admit: never, withdraw: async () => {} },
    });
    const adding = refused(agent.endpoints.add(container(world, 'a')), 'CNI_TRY_AGAIN', /deleted while/);
    await until(() => world.links.size === 1, { what: 'it is wired' });
    await agent.endpoints.del({ containerId: 'a', interfaceName: 'eth0' });
    await adding;
    assertClean(world, agent);
  }),
);

del('a late one of an old container frees nothing of the new owner of its address', () =>
  inWorld(async (world) => {
    const agent = await world.boot();
    const { record: old } = await agent.endpoints.add(container(world, 'old'));
    await agent.endpoints.del(old);
    const names = ['b', 'c', 'd', 'e', 'f'];
    const added = await Promise.all(names.map((name) => agent.endpoints.add(container(world, name))));
    const reused = added.find(({ record }) => record.addresses[0] === old.addresses[0]);
    assert.ok(reused, 'five addresses: one of five new pods has the old one');
    await agent.endpoints.del(old);
    assert.is(agent.endpoints.list().length, 5);
    assert.is(agent.pool.ownerOf(old.addresses[0] as Address), `${reused?.record.containerId}/eth0`);
  }),
);

del('a record that cannot be removed keeps its addresses taken, and DEL succeeds', () =>
  inWorld(async (world) => {
    const first = await world.boot();
    let readOnly = true;
    const remove = (file: Parameters<typeof first.store.remove>[0]): void => {
      if (readOnly) throw new WeirError('STATE_NOT_DURABLE', 'remove', 'EROFS');
      first.store.remove(file);
    };
    const agent = await world.boot({ store: { ...first.store, remove } });
    const { record } = await agent.endpoints.add(container(world, 'a'));
    await agent.endpoints.del(record);
    assert.is(world.links.size, 0);
    assert.is(agent.pool.use()[0]?.used, 1);
    readOnly = false;
    await agent.endpoints.collect();
    assertClean(world, agent);
  }),
);
del.run();

const rest = suite('endpoint CHECK, GC, collect, restore');
rest('CHECK: an unknown container, another namespace, a missing interface', () =>
  inWorld(async (world) => {
    const agent = await world.boot();
    const { record } = await agent.endpoints.add(container(world, 'a'));
    const request = record;
    assert.equal(await agent.endpoints.check(request), []);
    await refused(agent.endpoints.check({ ...request, containerId: 'b' }), 'CNI_UNKNOWN_CONTAINER');
    assert.match((await agent.endpoints.check({ ...request, netns: '/other' })).join(), /CNI_NETNS is \/other/);
    world.links.clear();
    assert.match((await agent.endpoints.check(request)).join(), /is gone/);
  }),
);

rest('GC removes what is not listed, of its own network only, and goes on after errors', () =>
  inWorld(async (world) => {
    let failing = '';
    const agent = await world.boot({
      at: (step) => {
        if (step === 'withdrawn' && agent.endpoints.find({ containerId: failing, interfaceName: 'eth0' })) {
          failing = '';
          throw new Error('once');
        }
      },
    });
    for (const name of ['a', 'b', 'c']) await agent.endpoints.add(container(world, name));
    await agent.endpoints.add({ ...container(world, 'other'), network: 'other' });
    failing = 'a';
    await refused(agent.endpoints.gc('weir', [{ containerId: 'c', interfaceName: 'eth0' }]), 'INTERNAL', /once/);
    assert.equal(
      agent.endpoints.list().map(({ containerId }) => containerId),
      ['c', 'other'],
    );
    assert.is(await agent.endpoints.gc('weir', [{ containerId: 'c', interfaceName: 'eth0' }]), 1);
    assert.is(agent.endpoints.counters().reclaimed, 2);
  }),
);

rest('collect frees pods whose namespace or interface vanished, and only those', () =>
  inWorld(async (world) => {
    const agent = await world.boot();
    for (const name of ['a', 'b', 'c']) await agent.endpoints.add(container(world, name));
    assert.is(await agent.endpoints.collect(), 0);
    world.namespaces.delete('/run/netns/a');
    const b = agent.endpoints.find({ containerId: 'b', interfaceName: 'eth0' });
    world.links.delete(b?.hostInterface ?? '');
    assert.is(await agent.endpoints.collect(), 2);
    assert.equal(
      agent.endpoints.list().map(({ containerId }) => containerId),
      ['c'],
    );
    assert.is(agent.endpoints.counters().reclaimed, 2);
    assert.is(agent.pool.use()[0]?.used, 1);
  }),
);

rest('collect keeps a pod whose namespace cannot be told', () =>
  inWorld(async (world) => {
    let failing = false;
    const agent = await world.boot({
      netnsExists: async () => {
        if (failing) throw new Error('EIO');
        return true;
      },
    });
    await agent.endpoints.add(container(world, 'a'));
    failing = true;
    assert.is(await agent.endpoints.collect(), 0);
    assert.match(agent.log.join(''), /cannot tell whether/);
  }),
);

rest('collect does not take the new owner of a name for the old one', () =>
  inWorld(async (world) => {
    const asked = Promise.withResolvers<void>();
    const goOn = Promise.withResolvers<boolean>();
    let slow = false;
    const agent = await world.boot({
      netnsExists: (path) => {
        if (!slow) return Promise.resolve(world.namespaces.has(path));
        slow = false;
        asked.resolve();
        return goOn.promise;
      },
    });
    const { record } = await agent.endpoints.add(container(world, 'a'));
    slow = true;
    const collecting = agent.endpoints.collect();
    await asked.promise;
    await agent.endpoints.del(record);
    await agent.endpoints.add(container(world, 'a'));
    goOn.resolve(false);
    assert.is(await collecting, 0);
    assert.is(agent.endpoints.list().length, 1);
  }),
);

rest('restore: an address of another pod is refused with a problem, one outside the pool is kept', () =>
  inWorld(async (world) => {
    const first = await world.boot();
    const { record: a } = await first.endpoints.add(container(world, 'a'));
    const { record: b } = await first.endpoints.add(container(world, 'b'));
    first.store.remove(b);
    await first.store.stage({ ...b, addresses: a.addresses }).commit();
    const agent = await world.boot();
    assert.equal(agent.restored.endpoints, [a]);
    assert.match(agent.restored.problems.map(({ message }) => message).join(), /10\.7\.0\.2 belongs to a\/eth0/);
    first.store.remove(b);
    await first.store.stage({ ...a, addresses: ['192.0.2.1' as Address] }).commit();
    const last = await world.boot();
    assert.is(last.restored.endpoints.length, 1);
    assert.match(last.restored.problems.map(({ message }) => message).join(), /192\.0\.2\.1 is not in the pod CIDRs/);
  }),
);

rest('restore: what cannot be taken down keeps its addresses and is tried again', () =>
  inWorld(async (world) => {
    const first = await world.boot();
    await first.endpoints.add(container(world, 'a'));
    world.namespaces.clear();
    let failing = true;
    const unwire = async ({ hostInterface }: { hostInterface: string }): Promise<void> => {
      if (failing) throw new WeirError('WIRING_FAILED', 'unwire', 'EBUSY');
      world.links.delete(hostInterface);
    };
    const datapath = { unwire, wire: never, check: async () => [], repair: async () => [] };
    const agent = await world.boot({ datapath });
    assert.equal(agent.restored.endpoints, []);
    assert.match(agent.restored.problems.map(({ message }) => message).join(), /EBUSY/);
    assert.is(agent.pool.use()[0]?.used, 1);
    failing = false;
    await agent.endpoints.collect();
    assertClean(world, agent);
  }),
);

rest('100 ADDs and DELs at once over the same few names: no address twice, nothing lost, nothing left', () =>
  inWorld(async (world) => {
    const agent = await world.boot({ addDeadlineMs: 20_000, deleteDeadlineMs: 20_000 });
    const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g'];
    const codes = new Set<string>();
    await Promise.all(
      Array.from({ length: 100 }, async (_, i) => {
        const name = names[i % names.length] as string;
        try {
          if (i % 3 === 2) await agent.endpoints.del({ containerId: name, interfaceName: 'eth0' });
          else await agent.endpoints.add(container(world, name)); // the fake kernel refuses an address twice
        } catch (error) {
          codes.add((error as WeirError).code);
        }
        const owners = [...world.links.values()].flatMap(({ addresses }) => addresses);
        assert.is(new Set(owners).size, owners.length);
      }),
    );
    for (const code of codes) assert.ok(['ENDPOINT_EXISTS', 'IPAM_EXHAUSTED', 'CNI_TRY_AGAIN'].includes(code), code);
    assert.is(agent.endpoints.list().length, world.links.size);
    await Promise.all(names.map((name) => agent.endpoints.del({ containerId: name, interfaceName: 'eth0' })));
    assertClean(world, agent);
  }),
);
rest.run();
