/** The small steps between rules and rows: port blocks, flattening, address sets, label filter, selectors. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { type Prefix, parsePrefix } from '../../agent/model/address.ts';
import { podLabels } from '../../agent/model/pod-labels.ts';
import { type AddressClassRow, TIERS, type TierVerdicts } from '../../agent/model/verdict.ts';
import { blocks } from '../../agent/policy/compile/blocks.ts';
import { type FlatEntry, flatten, type Term } from '../../agent/policy/compile/flatten.ts';
import type { Cidr, PeerKind } from '../../agent/policy/rule.ts';
import { createAddressSets } from '../../agent/policy/select/address-sets.ts';
import { selector, selectorMatches } from '../../agent/policy/select/selector.ts';
import { createSelectorIndex } from '../../agent/policy/select/selector-index.ts';
import { finish } from '../../agent/policy/steps.ts';
import { subjectKey } from '../../agent/policy/subject.ts';
import { table } from '../../agent/policy/table.ts';
import { tableKeys } from '../../agent/policy/tables.ts';
import { suite } from '../kit/suite.ts';
import { inside, insideExcept } from '../oracle/address.ts';

const test = suite('policy: compile');

test('blocks of some ranges', () => {
  const text = (first: number, last: number) => blocks(first, last).map(({ port, bits }) => `${port}/${bits}`);
  assert.equal(text(80, 80), ['80/16']);
  assert.equal(text(0, 65535), ['0/0']);
  assert.equal(text(8080, 8083), ['8080/14']);
  assert.equal(text(65534, 65535), ['65534/15']);
  assert.equal(text(5, 10), ['5/16', '6/15', '8/15', '10/16']);
  assert.is(blocks(1, 65534).length, 30);
});

test('blocks cover exactly their range, aligned and without overlap', () => {
  const port = fc.integer({ min: 0, max: 65535 });
  fc.assert(
    fc.property(port, port, (a, b) => {
      let at = Math.min(a, b);
      for (const { port, bits } of blocks(at, Math.max(a, b))) {
        const size = 2 ** (16 - bits);
        if (port !== at || port % size !== 0) return false;
        at += size;
      }
      return at === Math.max(a, b) + 1;
    }),
  );
});

/** Terms with distinct precedences per tier, ports that touch and overlap. */
const terms: fc.Arbitrary<Term[]> = fc
  .array(
    fc.record({
      tier: fc.constantFrom(...TIERS),
      action: fc.constantFrom('allow' as const, 'deny' as const, 'pass' as const),
      audit: fc.boolean(),
      ports: fc.option(
        fc.array(
          fc
            .tuple(
              fc.constantFrom(6, 17, 1),
              fc.constantFrom(0, 1, 79, 80, 81, 1024, 65535),
              fc.constantFrom(0, 80, 81, 1023, 65535),
            )
            .map(([protocol, a, b]) => ({ protocol, first: Math.min(a, b), last: Math.max(a, b) })),
          { maxLength: 3 },
        ),
        { nil: undefined },
      ),
    }),
    { maxLength: 6 },
  )
  .map((list) =>
    list.map(({ action, ...rest }, i) => ({ ...rest, verdict: { action, precedence: i + 1, rule: 100 + i } })),
  );

function winner(list: readonly Term[], protocol: number, port: number): string {
  const hit = list.filter(
    ({ ports }) => !ports || ports.some((one) => one.protocol === protocol && one.first <= port && port <= one.last),
  );
  const best = TIERS.map((tier) =>
    hit.filter((term) => term.tier === tier).reduce((most, { verdict }) => Math.max(most, verdict.precedence), 0),
  );
  return best.join(' ');
}

function longest(entries: readonly FlatEntry[], protocol: number, port: number): FlatEntry | undefined {
  const hits = entries.filter(
    (one) =>
      one.protocol === undefined || (one.protocol === protocol && (port ^ one.port) >> (16 - one.portBits) === 0),
  );
  return hits.sort(
    (a, b) => b.portBits - a.portBits || Number(b.protocol !== undefined) - Number(a.protocol !== undefined),
  )[0];
}

function precedences(verdicts: TierVerdicts | undefined): string {
  return [0, 1, 2].map((i) => verdicts?.[i]?.precedence ?? 0).join(' ');
}

test('flatten: the longest entry holds the winners of every tier, for every port', () => {
  fc.assert(
    fc.property(
      terms,
      fc.constantFrom(6, 17, 1, 47),
      fc.constantFrom(0, 1, 2, 79, 80, 81, 82, 1023, 1024, 1025, 40000, 65534, 65535),
      (list, protocol, port) => {
        const found = longest(flatten(list), protocol, port);
        assert.is(precedences(found?.audited), winner(list, protocol, port));
        assert.is(
          precedences(found?.enforced),
          winner(
            list.filter(({ audit }) => !audit),
            protocol,
            port,
          ),
        );
      },
    ),
    { numRuns: 2000 },
  );
});

test('flatten: no two entries of one key, and none that says what the next shorter one says', () => {
  fc.assert(
    fc.property(terms, (list) => {
      const entries = flatten(list);
      const keys = entries.map(({ protocol, port, portBits }) => `${protocol} ${port} ${portBits}`);
      assert.is(new Set(keys).size, keys.length);
      for (const entry of entries) {
        if (entry.protocol === undefined) continue;
        const shorter = longest(
          entries.filter(
            (other) => other !== entry && (other.portBits < entry.portBits || other.protocol === undefined),
          ),
          entry.protocol,
          entry.port,
        );
        const says = (one: FlatEntry | undefined) => `${precedences(one?.enforced)} ${precedences(one?.audited)}`;
        assert.is.not(says(entry), says(shorter));
      }
    }),
    { numRuns: 1000 },
  );
});

const CIDRS = [
  '0.0.0.0/0',
  '10.0.0.0/8',
  '10.0.0.0/16',
  '10.0.0.0/24',
  '10.0.0.128/25',
  '10.0.1.0/24',
  '10.0.0.129/32',
  '::/0',
  'fd00::/8',
  'fd00::/64',
  'fd00::1/128',
];

test('address sets: every address finds exactly the CIDR rules that match its kind', () => {
  const kinds: PeerKind[] = ['outside', 'node', 'pod'];
  const cidr = fc
    .record({
      cidr: fc.constantFrom(...CIDRS),
      except: fc.subarray(CIDRS, { maxLength: 3 }),
      kinds: fc.subarray(kinds, { minLength: 1 }),
    })
    .map(({ cidr: block, except, kinds: of }): Cidr => {
      const holes = except.filter(
        (hole) =>
          hole.includes(':') === block.includes(':') &&
          inside(hole.split('/')[0] as string, block) &&
          Number(hole.split('/')[1]) >= Number(block.split('/')[1]),
      );
      return {
        prefix: parsePrefix(block) as Prefix,
        except: holes.map((hole) => parsePrefix(hole) as Prefix),
        kinds: of,
      };
    });
  const address = fc.constantFrom(
    '10.0.0.1',
    '10.0.0.129',
    '10.0.0.130',
    '10.0.1.1',
    '10.9.9.9',
    '11.0.0.0',
    'fd00::1',
    'fd00::2',
    'fd00:1::',
    '2001:db8::',
  );
  fc.assert(
    fc.property(fc.array(cidr, { maxLength: 6 }), address, fc.constantFrom(...kinds), (cidrs, at, kind) => {
      const rows = table<AddressClassRow>(tableKeys.addressClasses, Object.is);
      const set = finish(createAddressSets(() => 7, rows).acquire(cidrs));
      const row = rows
        .values()
        .filter(({ prefix }) => inside(at, prefix))
        .sort((a, b) => Number(b.prefix.split('/')[1]) - Number(a.prefix.split('/')[1]))[0];
      const expected = cidrs.flatMap((one, i) =>
        one.kinds.includes(kind) && insideExcept(at, one.prefix, one.except) ? [i] : [],
      );
      assert.equal(set.classes.get(row?.[kind] ?? 0) ?? [], expected);
    }),
    { numRuns: 2000 },
  );
});

test('the index finds the selectors that matching one by one finds', () => {
  const key = fc.constantFrom(
    'k8s:app',
    'any:app',
    'k8s:env',
    'reserved:host',
    'any:host',
    'k8s:io.kubernetes.pod.namespace',
  );
  const values = fc.subarray(['a', 'b', ''], { minLength: 1 });
  const requirement = fc.oneof(
    fc.record({ operator: fc.constantFrom('In' as const, 'NotIn' as const), key, values }),
    fc.record({ operator: fc.constantFrom('Exists' as const, 'DoesNotExist' as const), key }),
  );
  const selectors = fc.array(fc.array(fc.array(requirement, { maxLength: 3 }), { maxLength: 2 }), { maxLength: 5 });
  const labels = fc
    .dictionary(
      fc.constantFrom('k8s:app', 'k8s:env', 'reserved:host', 'cni:app', 'k8s:io.kubernetes.pod.namespace'),
      fc.constantFrom('a', 'b', ''),
    )
    .map((record) => new Map(Object.entries(record)));
  fc.assert(
    fc.property(selectors, labels, (list, own) => {
      const all = list.map((alternatives) => selector(...alternatives));
      const index = createSelectorIndex();
      for (const one of all) index.add(one);
      const sorted = (some: readonly object[]) => all.map((one) => some.includes(one));
      assert.equal(sorted(index.matching(own)), sorted(all.filter((one) => selectorMatches(one, own))));
      for (const one of all) index.remove(one);
      assert.equal(index.matching(own), []);
    }),
    { numRuns: 2000 },
  );
});

test('selectors with equal meaning have equal keys, others do not', () => {
  const a = { operator: 'In', key: 'k8s:a', values: ['x', 'y'] } as const;
  const b = { operator: 'Exists', key: 'k8s:b' } as const;
  assert.is(selector([a, b]).key, selector([b, { ...a, values: ['y', 'x', 'x'] }, b]).key);
  const keys = [selector(), selector([]), selector([a]), selector([b]), selector([a, b]), selector([a], [b])].map(
    ({ key }) => key,
  );
  assert.is(new Set(keys).size, keys.length);
});

test('labels of a pod: its own that do not change per pod, its namespace’s, account and cluster', () => {
  const labels = {
    app: 'web',
    'app.kubernetes.io/name': 'web',
    'pod-template-hash': '1',
    'controller-revision-hash': '1',
    'statefulset.kubernetes.io/pod-name': 'web-0',
    'apps.kubernetes.io/pod-index': '0',
    'batch.kubernetes.io/job-completion-index': '0',
    'batch.kubernetes.io/controller-uid': 'u',
    'controller-uid': 'u',
    'topology.kubernetes.io/zone': 'z',
    'kubernetes.io/x': '',
    'k8s.io/x': '',
    'node.beta.kubernetes.io/x': '',
    'io.kubernetes.pod.namespace': 'kube-system',
    'io.cilium.k8s.policy.serviceaccount': 'admin',
    'io.cilium.k8s.namespace.labels.env': 'prod',
  };
  const pod = { namespace: 'default', labels, serviceAccount: '' };
  const found = podLabels(pod, { name: 'default', labels: { env: 'prod' } }, { clusterName: 'one' });
  assert.equal(Object.fromEntries(found), {
    'k8s:app': 'web',
    'k8s:app.kubernetes.io/name': 'web',
    'k8s:io.cilium.k8s.namespace.labels.env': 'prod',
    'k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name': 'default',
    'k8s:io.kubernetes.pod.namespace': 'default',
    'k8s:io.cilium.k8s.policy.serviceaccount': 'default',
    'k8s:io.cilium.k8s.policy.cluster': 'one',
  });
  assert.is(podLabels(pod, undefined, { clusterName: 'one' }).size, 6);
  const lying = { name: 'default', labels: { 'kubernetes.io/metadata.name': 'kube-system' } };
  const key = 'k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name';
  assert.is(podLabels(pod, lying, { clusterName: 'one' }).get(key), 'default');
});

test('the key of a subject does not depend on the order of its ports', () => {
  const http = { name: 'http', protocol: 'TCP', port: 80 } as const;
  const dns = { name: 'dns', protocol: 'UDP', port: 53 } as const;
  assert.is(
    subjectKey({ identity: 300, namedPorts: [http, dns, http] }),
    subjectKey({ identity: 300, namedPorts: [dns, http] }),
  );
  assert.is(subjectKey({ identity: 300, namedPorts: [] }), '300');
});

test('a table tells what is new and what is gone, and nothing of what came and went', () => {
  const rows = table<{ key: number; value: string }>(
    ({ key }) => key,
    (a, b) => a.value === b.value,
  );
  rows.set({ key: 1, value: 'a' });
  rows.set({ key: 2, value: 'b' });
  assert.equal(rows.take(), {
    set: [
      { key: 1, value: 'a' },
      { key: 2, value: 'b' },
    ],
    remove: [],
  });
  rows.set({ key: 3, value: 'c' });
  rows.remove(3);
  rows.remove(1);
  rows.set({ key: 1, value: 'a' });
  rows.remove(2);
  assert.equal(rows.take(), { set: [], remove: [{ key: 2, value: 'b' }] });
  assert.is(rows.pending(), false);
});

test.run();
