/** Each filter of /v1/flows: which of a set of known flows it keeps. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { type CheckedFlowQuery, readFlowQuery } from '../../agent/api/flow-query.ts';
import { parseTime } from '../../agent/api/flow-values.ts';
import { Direction, DropReason, EndpointLimits, EventType } from '../../agent/datapath/layout.gen.ts';
import { IPPROTO } from '../../agent/flow/filter.ts';
import { parseLabelSelector } from '../../agent/flow/label-selector.ts';
import { addressBytes, type Family, formatPrefix, prefixContains } from '../../agent/model/address.ts';
import { suite } from '../kit/suite.ts';
import * as r from './flow-records.ts';

const test = suite('flow: filters');

/** Numbered from 1, as the sequence. */
const RECORDS = [
  r.event(), // 1 frontend -> backend tcp 40000 -> 8080
  r.event({
    from: r.BACKEND,
    to: r.FRONTEND,
    sourcePort: 8080,
    destinationPort: 40000,
    type: EventType.EVENT_REPLY,
    flags: 1,
  }), // 2
  r.drop({ destinationPort: 8081 }), // 3
  r.drop({ reason: DropReason.DROP_POLICY_DENY_RULE, rule: [r.DENY_RULE, 0], from: r.REMOTE }), // 4
  r.event({ from: r.BACKEND, to: r.POSTGRES, destinationPort: 5432, direction: Direction.DIRECTION_EGRESS }), // 5
  r.event({ version: 6, protocol: IPPROTO.UDP, destinationPort: 53 }), // 6
  r.event({ to: r.WORLD, protocol: IPPROTO.ICMP, sourcePort: 77, destinationPort: 0, type: EventType.EVENT_END }), // 7
  r.event({ type: EventType.EVENT_AUDIT, version: 6, protocol: IPPROTO.ICMPV6 }), // 8
];

async function kept(query: CheckedFlowQuery): Promise<number[]> {
  const { history } = r.makeHistory(RECORDS.length);
  history.listener(r.batch(...RECORDS), RECORDS.length, 0);
  const page = await history.page({ ...readFlowQuery(query, Date.now()), order: 'oldest', count: 100 });
  return page.flows.map((flow) => flow.weir.sequence);
}

const ALL = [1, 2, 3, 4, 5, 6, 7, 8];
const TABLE: readonly [CheckedFlowQuery, number[]][] = [
  [{}, ALL],
  [{ verdict: ['DROPPED'] }, [3, 4]],
  [{ verdict: ['DROPPED', 'AUDIT'] }, [3, 4, 8]],
  [{ type: ['reply', 'end'] }, [2, 7]],
  [{ event_type: ['drop'] }, [3, 4]],
  [{ event_type: ['drop:181', 'policy-verdict'] }, [4, 8]],
  [{ event_type: ['trace:to-stack', 'trace:5'] }, [7]],
  [{ event_type: ['trace:to-endpoint'] }, [1, 2, 5, 6]],
  [{ not: ['event_type=trace'] }, [3, 4, 8]],
  [{ drop_reason: ['policy_denied'] }, [3]],
  [{ drop_reason: ['POLICY_DENY'] }, [4]],
  [{ direction: ['egress'] }, [5]],
  [{ reply: true }, [2]],
  [{ reply: false, verdict: ['DROPPED'] }, [3, 4]],
  [{ protocol: ['udp'] }, [6]],
  [{ protocol: ['ICMP'] }, [7, 8]],
  [{ protocol: ['ICMPv4'] }, [7]],
  [{ protocol: ['58', 'UDP'] }, [6, 8]],
  [{ ip_version: [6] }, [6, 8]],
  [{ tcp_flags: ['syn'] }, [1, 2, 3, 4, 5]],
  [{ tcp_flags: ['SYN,ACK', 'FIN'] }, []],
  [{ uuid: ['00000000-0000-8000-a000-000000000001'] }, []],
  [{ interface: ['weir1'] }, []],
  [{ source_xlated: ['0.0.0.0/0'] }, []],
  [{ not: ['verdict=DROPPED'] }, [1, 2, 5, 6, 7, 8]],
  [{ not: ['verdict=DROPPED', 'verdict=AUDIT'] }, [1, 2, 5, 6, 7]],
  // as in Hubble: left out is what all of it is true of
  [{ not: ['verdict=DROPPED', 'drop_reason=policy_denied'] }, [1, 2, 4, 5, 6, 7, 8]],
  [{ not: ['pod=default/front'] }, [4, 5]],
  [{ not: ['to_pod=default/front'], protocol: ['TCP'] }, [1, 3, 4, 5]],
  [{ not: ['port=8080', 'protocol=TCP', 'ip_version=4'] }, [3, 5, 6, 7, 8]],
  [{ not: ['label=app=frontend'] }, [4, 5]],
  // as in Hubble: fields about either side are all true of one and the same
  [{ pod: ['default/front'], port: [8080] }, []],
  [{ pod: ['default/back'], port: [8080] }, [1, 2, 4]],
  [{ pod: ['default/front'], namespace: ['database'] }, []],
  [{ pod: ['default/front'], port: [8080], verdict: ['FORWARDED'] }, []],
  [{ pod: ['default/front'], to_port: [8080] }, [1]],
  [{ not: ['pod=default/front', 'port=8080'] }, ALL],
  [{ not: ['pod=default/back', 'port=8080'] }, [3, 5, 6, 7, 8]],
  [{ pod: ['/front'] }, [1, 2, 3, 6, 7, 8]],
  [{ pod: ['default/front'] }, [1, 2, 3, 6, 7, 8]],
  [{ pod: ['front'] }, [1, 2, 3, 6, 7, 8]],
  [{ from_pod: ['default/front'] }, [1, 3, 6, 7, 8]],
  [{ to_pod: ['default/front'] }, [2]],
  [{ pod: ['database/'] }, [5]],
  [{ pod: ['database/front'] }, []],
  [{ pod: ['default/'], to_pod: ['database/'] }, [5]],
  [{ from_pod: ['default/remote', 'default/back'] }, [2, 4, 5]],
  [{ namespace: ['database'] }, [5]],
  [{ from_namespace: ['database'] }, []],
  [{ workload: ['postgres-0'] }, [5]],
  [{ workload: ['Deployment/postgres-0', 'Pod/nobody'] }, [5]],
  [{ workload: ['Pod/postgres-0'] }, []],
  [{ to_workload: ['Deployment/'] }, [1, 2, 3, 4, 5, 6, 8]],
  [{ label: ['app=postgres'] }, [5]],
  [{ label: ['k8s:app in (postgres, remote)'] }, [4, 5]],
  [{ to_label: ['reserved:world'] }, [7]],
  [{ from_label: ['app=frontend', 'app=remote'] }, [1, 3, 4, 6, 7, 8]],
  [{ from_label: ['app=frontend,io.kubernetes.pod.namespace=other'] }, []],
  [{ from_label: ['!app'] }, []],
  [{ ip: ['10.1.0.3'] }, [5]],
  [{ ip: ['10.2.0.0/16'] }, [4]],
  [{ from_ip: ['10.1.0.0/24', 'fd00::/64'] }, [1, 2, 3, 5, 6, 7, 8]],
  [{ to_ip: ['0.0.0.0/0'] }, [1, 2, 3, 4, 5, 7]],
  [{ to_ip: ['::/0'] }, [6, 8]],
  [{ port: [8080] }, [1, 2, 4]],
  [{ from_port: [8080] }, [2]],
  [{ to_port: [8080, 8081] }, [1, 3, 4]],
  [{ port: [77] }, []],
  [{ identity: ['302'] }, [5]],
  [{ to_identity: ['reserved:world-ipv4'] }, [7]],
  [{ to_identity: ['world-ipv4', '302'] }, [5, 7]],
  [{ since: '1h' }, ALL],
  [{ until: '1h' }, []],
  [{ since: '2000-01-01T00:00:00Z', until: '2001-01-01T00:00:00Z' }, []],
];
for (const [query, expected] of TABLE) {
  test(JSON.stringify(query), async () => assert.equal(await kept(query), expected));
}

test('a flow by its uuid, its device, and the address its Service is seen at', async () => {
  const { history, endpoints } = r.makeHistory(10);
  endpoints.set(r.FRONTEND.id, { ...r.podName('frontend-abc', r.FRONTEND), interface: 'weir1' });
  const reply = { from: r.BACKEND, to: r.FRONTEND, flags: 1, service: '10.96.0.1', servicePort: 80 };
  const ifindex = EndpointLimits.ENDPOINT_IFINDEX_BASE + r.FRONTEND.id;
  history.listener(r.batch(r.event({ ifindex }), r.event(reply)), 2, 0);
  const found = async (query: CheckedFlowQuery) => (await history.page(readFlowQuery(query, 0))).flows;
  const [first, second] = await found({});
  assert.equal(await found({ uuid: [second?.uuid ?? ''] }), [second]);
  assert.equal(await found({ interface: ['weir1'] }), [first]);
  assert.equal(await found({ source_xlated: ['10.96.0.0/16'] }), [second]);
  assert.equal(await found({ not: [`uuid=${first?.uuid}`] }), [second]);
});

const NUMBERED = new Map([
  ['k8s:rank', '7'],
  ['k8s:zone', 'a'],
]);
for (const [selector, isMatch] of [
  ['', true],
  ['rank>6', true],
  ['rank > 7', false],
  ['k8s:rank<8,zone', true],
  ['rank<7', false],
  ['rank<9223372036854775807', true],
  ['zone>1', false],
  ['nothing<1', false],
  [' ', undefined],
  ['rank>', undefined],
  ['rank>x', undefined],
  ['rank>-1', undefined],
  ['!rank>1', undefined],
  ['rank<9223372036854775808', undefined],
  ['zone=a>b', undefined],
  ['zone in (a b)', undefined],
  ['zone,', undefined],
] as const) {
  test(`label selector ${JSON.stringify(selector)}`, () =>
    assert.is(parseLabelSelector(selector)?.(NUMBERED), isMatch));
}

const REFUSED: readonly [CheckedFlowQuery, RegExp][] = [
  [{ ip: ['10.1.0.300'] }, /^ip: expected an IP address or a CIDR, got "10.1.0.300"$/],
  [{ from_pod: ['a/b/c'] }, /^from_pod: expected "namespace\/prefix"/],
  [{ label: ['app = = x'] }, /^label: expected requirements such as/],
  [{ event_type: ['drop:policy'] }, /^event_type: expected "drop", "trace" or "policy-verdict"/],
  [{ identity: ['nobody'] }, /^identity: expected a number or one of unknown, host/],
  [{ protocol: ['256'] }, /^protocol: expected TCP, UDP/],
  [{ drop_reason: ['whim'] }, /^drop_reason: expected one of policy_denied/],
  [{ since: 'yesterday' }, /^since: expected RFC 3339/],
  [{ until: '2024-13-01T00:00:00Z' }, /^until: expected RFC 3339/],
  [{ cursor: 'xyz' }, /^cursor: expected the cursor of an earlier page, got "xyz"$/],
  [{ first: 1, last: 1 }, /^first and last cannot be used together$/],
  [{ follow: true, first: 1 }, /^follow and first cannot/],
  [{ follow: true, until: '1m' }, /^follow and until cannot/],
  [{ ip: ['x'], since: 'y' }, /^ip: .*; since: /],
];
for (const [query, message] of REFUSED) {
  test(`refused: ${JSON.stringify(query)}`, () => {
    assert.throws(
      () => readFlowQuery(query, 0),
      (error: Error) => message.test(error.message),
    );
  });
}

const RANGES: readonly [CheckedFlowQuery, string, number][] = [
  [{}, 'newest', 100],
  [{ last: 7 }, 'newest', 7],
  [{ first: 7 }, 'oldest', 7],
  [{ since: '1m' }, 'oldest', 100],
  [{ since: '1m', last: 3 }, 'newest', 3],
  [{ follow: true }, 'newest', 0],
  [{ follow: true, last: 5 }, 'newest', 5],
  [{ follow: true, since: '1m' }, 'oldest', 100],
  [{ follow: false, first: 2 }, 'oldest', 2],
];
for (const [query, order, count] of RANGES) {
  test(`reads ${JSON.stringify(query)} from the ${order} ${count}`, () => {
    const read = readFlowQuery(query, 0);
    assert.equal([read.order, read.count], [order, count]);
  });
}

test('times: RFC 3339 and durations', () => {
  const now = Date.UTC(2024, 0, 2);
  assert.is(parseTime('1h30m', now), now - 5_400_000);
  assert.is(parseTime('1.5s', now), now - 1500);
  assert.is(parseTime('1d', now), Date.UTC(2024, 0, 1));
  assert.is(parseTime('2024-01-01T01:00:00+01:00', now), Date.UTC(2024, 0, 1));
  for (const text of ['', '5', 's', '-1s', '1 h', '2024-01-01', '1e3s', 'NaN'])
    assert.is(parseTime(text, now), undefined);
});

test('an address filter agrees with prefixContains for any address and prefix', async () => {
  const bytes = (family: Family) =>
    fc.uint8Array({ minLength: family === 4 ? 4 : 16, maxLength: family === 4 ? 4 : 16 });
  const cases = fc
    .constantFrom<Family>(4, 6)
    .chain((family) =>
      fc.record({ a: bytes(family), b: bytes(family), length: fc.nat(family === 4 ? 32 : 128), same: fc.boolean() }),
    );
  await fc.assert(
    fc.asyncProperty(cases, async ({ a, b, length, same }) => {
      const address = new Uint8Array(16);
      address.set(a);
      const prefix = formatPrefix(same ? a : b, length);
      const { history } = r.makeHistory(1);
      history.listener(r.event({ source: address, version: a.length === 4 ? 4 : 6 } as r.EventSpec), 1, 0);
      const page = await history.page(readFlowQuery({ from_ip: [prefix] }, 0));
      const flow = (await history.page(readFlowQuery({}, 0))).flows[0];
      const shown = r.address(flow?.IP?.source ?? '');
      assert.equal(addressBytes(shown), a);
      assert.is(page.flows.length === 1, prefixContains(prefix, shown), `${shown} in ${prefix}`);
    }),
    { numRuns: 300 },
  );
});

const LABELS = new Map([
  ['k8s:app', 'web'],
  ['k8s:io.kubernetes.pod.namespace', 'default'],
  ['cni:app', 'other'],
  ['reserved:host', ''],
]);
const SELECTORS: readonly [string, boolean][] = [
  ['app', true],
  ['k8s:app', true],
  ['any:app=web', true],
  ['app=other', true],
  ['k8s:app=other', false],
  ['app==web', true],
  ['k8s:app!=web', false],
  ['missing!=x', true],
  ['!missing', true],
  ['!app', false],
  ['app in (x,web)', true],
  ['k8s:app notin (x, y)', true],
  ['k8s:app notin (web)', false],
  ['app=web,reserved:host', true],
  ['app=web,missing', false],
  ['app = web', true],
  ['io.kubernetes.pod.namespace=default', true],
  ['app=', false],
];
for (const [text, expected] of SELECTORS) {
  test(`selector ${text}`, () => assert.is(parseLabelSelector(text)?.(LABELS), expected));
}
for (const text of [',', 'app=web,', '=x', 'app in x', 'app in (x', 'a b', 'app=(x)', '!app=web', 'app in ((x))']) {
  test(`no selector: "${text}"`, () => assert.is(parseLabelSelector(text), undefined));
}
test('a selector of any text is read or refused, quickly', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 1024, unit: fc.constantFrom(...'ab:,()! =./-') }), (text) => {
      parseLabelSelector(text)?.(LABELS);
    }),
  );
});
test('the longest selector that a request has room for is read in no time', () => {
  const { user } = process.cpuUsage();
  for (const text of [',', 'a in (b,', '(', '),']) parseLabelSelector(text.repeat(60_000 / text.length))?.(LABELS);
  assert.ok(process.cpuUsage().user - user < 500_000, 'the square of its length would be seconds');
});

test.run();
