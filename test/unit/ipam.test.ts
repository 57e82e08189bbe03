/** The address pool: tables for its edges, and random histories against the simplest possible model. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { openRestingAddresses } from '../../agent/endpoint/resting-addresses.ts';
import type { WeirError } from '../../agent/errors.ts';
import { createPool, type Pool } from '../../agent/ipam/pool.ts';
import { type Address, type Prefix, parsePrefix, prefixContains } from '../../agent/model/address.ts';
import { suite } from '../kit/suite.ts';

const pool = (...texts: string[]): Pool => createPool(texts.map((text) => parsePrefix(text) as Prefix));
const code = (body: () => unknown): string => {
  try {
    body();
  } catch (error) {
    return `${(error as WeirError).code}: ${(error as Error).message}`;
  }
  return 'no error';
};

const edges = suite('ipam: edges');
edges('network, router and broadcast addresses are never given', () => {
  const small = pool('10.0.0.0/29');
  assert.equal(
    ['a', 'b', 'c', 'd', 'e'].flatMap((owner) => small.allocate(owner)),
    ['10.0.0.2', '10.0.0.3', '10.0.0.4', '10.0.0.5', '10.0.0.6'] as Address[],
  );
  assert.match(
    code(() => small.allocate('f')),
    /^IPAM_EXHAUSTED: no free IPv4 address in 10.0.0.0\/29: 5 used, 0 free$/,
  );
  assert.equal(pool('10.0.0.4/30').allocate('a'), ['10.0.0.6'] as Address[]);
  assert.equal(pool('fd00::/126').allocate('a'), ['fd00::2'] as Address[]);
});
edges('IPv6 has no broadcast: its last address is given', () => {
  const v6 = pool('fd00::/126');
  assert.equal([v6.allocate('a'), v6.allocate('b')].flat(), ['fd00::2', 'fd00::3'] as Address[]);
  assert.match(
    code(() => v6.allocate('c')),
    /IPAM_EXHAUSTED: no free IPv6/,
  );
});
edges('a freed address comes last, not next', () => {
  const small = pool('10.0.0.0/29');
  const [first] = small.allocate('a') as [Address];
  assert.is(small.release([first], 'a'), 1);
  assert.equal(
    ['b', 'c', 'd', 'e', 'f'].flatMap((owner) => small.allocate(owner)),
    ['10.0.0.3', '10.0.0.4', '10.0.0.5', '10.0.0.6', '10.0.0.2'] as Address[],
  );
});
edges('a freed address rests, from when others were told that its pod is gone', async () => {
  let now = 0;
  const small = createPool(
    ['10.0.0.0/29', 'fd00::/64'].map((text) => parsePrefix(text) as Prefix),
    {
      restMs: 5000,
      now: () => now,
    },
  );
  const held = ['a', 'b', 'c', 'd', 'e'].map((owner) => small.allocate(owner));
  const told = Promise.withResolvers<void>();
  small.release(held[0] as Address[], 'a', told.promise);
  small.release(held[1] as Address[], 'b', Promise.resolve());
  await Promise.resolve();
  assert.match(
    code(() => small.allocate('f')),
    /^IPAM_EXHAUSTED: no free IPv4 .*: 3 used, 2 of pods that went within the last 5 s, 0 free$/,
  );
  assert.is(small.use()[0]?.free, 0n);
  now = 5000;
  assert.equal(small.allocate('f')[0], '10.0.0.3' as Address);
  now = 60_000;
  assert.match(
    code(() => small.allocate('g')),
    /IPAM_EXHAUSTED/,
    'the API server does not know that a is gone',
  );
  told.resolve();
  await told.promise;
  now = 64_999;
  assert.match(
    code(() => small.allocate('g')),
    /IPAM_EXHAUSTED/,
  );
  now = 65_000;
  assert.is(small.use()[0]?.free, 1n);
  assert.equal(small.allocate('g'), ['10.0.0.2', 'fd00::8'] as Address[]);
  assert.is(small.restore(held[1]?.[0] as Address, 'b'), 'taken');
  small.release(held[2] as Address[], 'c');
  assert.equal(small.allocate('h')[0], held[2]?.[0], 'of c nobody had heard');
});
edges('what rested before a restart rests after it, from then on', async () => {
  let now = 0;
  const prefixes = ['10.0.0.0/29', 'fd00::/64'].map((text) => parsePrefix(text) as Prefix);
  const before = createPool(prefixes, { restMs: 5000, now: () => now });
  const kept = before.allocate('a');
  const gone = before.allocate('b');
  const untold = before.allocate('c');
  before.release(gone, 'b', Promise.resolve());
  before.release(untold, 'c', new Promise(() => {}));
  await Promise.resolve();
  assert.equal(before.resting(), [...gone, ...untold]);

  const after = createPool(prefixes, { restMs: 5000, now: () => now });
  after.rest([...before.resting(), '10.9.9.9' as Address]);
  assert.equal(after.resting(), [...gone, ...untold], 'the pod CIDR of then is of no concern');
  assert.is(after.restore(kept[0] as Address, 'a'), 'restored');
  assert.is(after.restore(gone[0] as Address, 'b'), 'restored', 'a record counts for more');
  assert.equal(after.resting(), [gone[1], ...untold]);
  assert.is(after.use()[0]?.free, 2n);
  assert.equal(
    ['d', 'e'].map((owner) => after.allocate(owner)[0]),
    ['10.0.0.5', '10.0.0.6'] as Address[],
  );
  assert.match(
    code(() => after.allocate('f')),
    /IPAM_EXHAUSTED/,
  );
  now = 5000;
  assert.equal(after.resting(), []);
  assert.is(after.allocate('f')[0], untold[0]);
});
edges('which addresses rested is on disk over a restart', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'wt-resting-'));
  try {
    const first = await openRestingAddresses(folder);
    assert.equal([first.addresses, first.problems], [[], []]);
    await first.keep(['10.0.0.3', 'fd00::3'] as Address[]);
    const second = await openRestingAddresses(folder);
    assert.equal([second.addresses, second.problems], [['10.0.0.3', 'fd00::3'], []]);
    await second.keep([]);
    assert.equal((await openRestingAddresses(folder)).addresses, []);
    for (const text of ['', '{}', '["10.0.0"]', '[1]']) {
      writeFileSync(join(folder, 'resting-addresses.json'), text);
      const { addresses, problems } = await openRestingAddresses(folder);
      assert.equal(addresses, []);
      assert.match(problems[0]?.message ?? '', /resting-addresses\.json cannot be read/, text);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});
edges('several prefixes of a family are one pool', () => {
  const two = pool('10.0.0.0/30', '10.9.0.0/30');
  assert.equal([two.allocate('a'), two.allocate('b')].flat(), ['10.0.0.2', '10.9.0.2'] as Address[]);
  assert.match(
    code(() => two.allocate('c')),
    /in 10.0.0.0\/30, 10.9.0.0\/30: 2 used/,
  );
});
edges('one family exhausted: nothing of the other is taken', () => {
  const uneven = pool('10.0.0.0/30', 'fd00::/64');
  uneven.allocate('a');
  assert.match(
    code(() => uneven.allocate('b')),
    /IPv4/,
  );
  assert.equal(
    uneven.use().map(({ used }) => used),
    [1, 1],
  );
});
edges('only the owner frees', () => {
  const small = pool('10.0.0.0/29');
  const addresses = small.allocate('new');
  assert.is(small.release(addresses, 'old'), 0);
  assert.is(small.ownerOf(addresses[0] as Address), 'new');
  assert.is(small.release([...addresses, ...addresses], 'new'), 1);
});
edges('restore: taken, outside, reserved', () => {
  const small = pool('10.0.0.0/29');
  assert.is(small.restore('10.0.0.3' as Address, 'a'), 'restored');
  assert.is(small.restore('10.0.0.3' as Address, 'b'), 'taken');
  for (const outside of ['10.0.0.0', '10.0.0.1', '10.0.0.7', '10.0.1.2', 'fd00::2']) {
    assert.is(small.restore(outside as Address, 'a'), 'outside', outside);
  }
  assert.is(small.use()[0]?.used, 1);
  assert.equal(small.allocate('c'), ['10.0.0.4'] as Address[]); // after the highest restored one
});
edges('prefixes without room, overlapping ones, none', () => {
  assert.match(
    code(() => pool('10.0.0.0/31')),
    /CONFIG_INVALID: pod CIDR 10.0.0.0\/31 .* at least a \/30/,
  );
  assert.match(
    code(() => pool('fd00::1/128')),
    /CONFIG_INVALID: .* at least a \/126/,
  );
  assert.match(
    code(() => pool('10.0.0.0/16', '10.0.3.0/24')),
    /CONFIG_INVALID: pod CIDRs 10.0.0.0\/16 and 10.0.3.0\/24 overlap/,
  );
  assert.match(
    code(() => pool()),
    /CONFIG_INVALID/,
  );
});
edges('a whole /64 and ::/0 are counted exactly', () => {
  assert.is(pool('fd00::/64').use()[0]?.free, (1n << 64n) - 2n);
  assert.equal(pool('0.0.0.0/0').allocate('a'), ['0.0.0.2'] as Address[]);
});
edges.run();

type Command = { readonly kind: 'allocate' | 'release' | 'restart'; readonly owner: number };
const history = fc.array(
  fc.record<Command>({
    kind: fc.constantFrom('allocate', 'allocate', 'release', 'restart'),
    owner: fc.nat(11),
  }),
  { maxLength: 60 },
);

const random = suite('ipam: random histories');
random('never two owners, never outside, never lost, over restarts', () => {
  const cidrs = ['10.0.0.0/29', '10.1.0.0/30', 'fd00::/125'];
  const prefixes = cidrs.map((text) => parsePrefix(text) as Prefix);
  fc.assert(
    fc.property(history, (commands) => {
      let subject = createPool(prefixes);
      const model = new Map<string, Address[]>();
      for (const { kind, owner } of commands) {
        const name = `owner-${owner}`;
        const held = model.get(name);
        if (kind === 'allocate' && !held) {
          try {
            model.set(name, subject.allocate(name));
          } catch (error) {
            assert.is((error as WeirError).code, 'IPAM_EXHAUSTED');
            assert.is(model.size, 6, 'six IPv4 addresses are what there is');
          }
        } else if (kind === 'release') {
          assert.is(subject.release(held ?? [], name), held?.length ?? 0);
          model.delete(name);
        } else if (kind === 'restart') {
          subject = createPool(prefixes);
          for (const [who, addresses] of [...model].reverse()) {
            for (const address of [...addresses, ...addresses]) assert.is(subject.restore(address, who), 'restored');
          }
        }
        const all = [...model.values()].flat();
        assert.is(new Set(all).size, all.length, 'an address has one owner');
        assert.ok(all.every((address) => prefixes.some((prefix) => prefixContains(prefix, address))));
        for (const [who, addresses] of model) for (const each of addresses) assert.is(subject.ownerOf(each), who);
        assert.is(
          subject.use().reduce((sum, { used }) => sum + used, 0),
          all.length,
        );
      }
    }),
    { numRuns: 1000 },
  );
});
random('restoring in any order gives the same pool', () => {
  fc.assert(
    fc.property(fc.shuffledSubarray([2, 3, 4, 5, 6]), fc.nat(3), (hosts, times) => {
      const subject = pool('10.0.0.0/29');
      for (let i = 0; i <= times; i++)
        for (const host of hosts) subject.restore(`10.0.0.${host}` as Address, `${host}`);
      assert.is(subject.use()[0]?.used, hosts.length);
      const rest = Array.from({ length: 5 - hosts.length }, (_, i) => subject.allocate(`new-${i}`)).flat();
      assert.equal([...rest, ...hosts.map((host) => `10.0.0.${host}`)].sort(), [
        '10.0.0.2',
        '10.0.0.3',
        '10.0.0.4',
        '10.0.0.5',
        '10.0.0.6',
      ]);
    }),
  );
});
random.run();
