/** Metrics say what the state says at the moment of the scrape. */
import * as assert from 'uvu/assert';
import { prefersOpenMetrics } from '../../agent/api/metrics-route.ts';
import { suite } from '../kit/suite.ts';
import { everyShape, makeApi } from './api-state.ts';
import * as r from './flow-records.ts';

const test = suite('api: metrics');

/** Value of a series by its text: `name{a="b"}`. */
async function scrape(app: Awaited<ReturnType<typeof makeApi>>['app']): Promise<Map<string, number>> {
  const { body, headers } = await app.inject('/metrics');
  assert.match(String(headers['content-type']), 'text/plain; version=0.0.4');
  const lines = body.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]),
  );
}

test('flows, drops, losses, datapath, policies, maps', async () => {
  const { app, fake, metrics } = await makeApi(8);
  try {
    const shapes = everyShape();
    fake.history.listener(r.batch(...shapes), shapes.length, 0);
    fake.ring.lost = 2;
    fake.history.listener(r.event(), 1, 5);
    metrics.cniRequest('ADD', 0, 0.004);
    const expected: Record<string, number> = {
      'weir_info{version="0.1.0",node="node-1"}': 1,
      weir_ready: 1,
      'weir_flow_events_total{event="new",verdict="FORWARDED"}': 4,
      'weir_flow_events_total{event="drop",verdict="DROPPED"}': 4,
      'weir_flow_events_total{event="audit",verdict="AUDIT"}': 1,
      'weir_flow_lost_total{stage="ring"}': 2,
      'weir_flow_lost_total{stage="queue"}': 5,
      'weir_flow_lost_total{stage="overwritten"}': 5,
      'weir_flow_lost_total{stage="subscriber"}': 0,
      weir_flow_records: 8,
      weir_flow_capacity: 8,
      'hubble_flows_processed_total{type="Trace",subtype="",verdict="FORWARDED"}': 7,
      'hubble_flows_processed_total{type="Drop",subtype="",verdict="DROPPED"}': 4,
      'hubble_drop_total{reason="POLICY_DENIED",protocol="TCP"}': 1,
      'hubble_drop_total{reason="POLICY_DENY",protocol="UDP"}': 1,
      'hubble_lost_events_total{source="PERF_EVENT_RING_BUFFER"}': 2,
      'weir_forwarded_packets_total{direction="egress"}': 20,
      'weir_dropped_packets_total{reason="policy_denied",direction="ingress"}': 3,
      'weir_dropped_bytes_total{reason="policy_denied",direction="ingress"}': 180,
      'weir_uplink_guard{device="eth0",mode="generic"}': 1,
      'weir_policies{status="valid"}': 1,
      'weir_policies{status="isolating"}': 1,
      'weir_policies{status="unreadable"}': 0,
      'weir_policy_revision{kind="desired"}': 9,
      'weir_policy_revision{kind="realized"}': 8,
      'weir_endpoints{state="ready"}': 1,
      weir_attachments_missing: 1,
      'weir_problems{severity="error"}': 1,
      'weir_map_entries{map="conntrack4"}': 12,
      'weir_cni_request_duration_seconds_bucket{le="0.005",verb="ADD",code="0"}': 1,
      'weir_cni_request_duration_seconds_count{verb="ADD",code="0"}': 1,
    };
    const seen = await scrape(app);
    for (const [series, value] of Object.entries(expected)) assert.is(seen.get(series), value, series);
    for (const series of ['process_cpu_seconds_total', 'process_resident_memory_bytes', 'process_open_fds']) {
      assert.ok((seen.get(series) ?? 0) > 0, series);
    }
    const again = await scrape(app);
    assert.is(again.get('weir_flow_records'), 8, 'a second scrape does not add up');
    assert.is(again.get('weir_http_requests_total{route="/metrics",method="GET",status="200"}'), 1);
    assert.ok(!again.has('undefined'));
  } finally {
    await app.close();
  }
});

test('an unknown path does not make a series of its own', async () => {
  const { app } = await makeApi(8);
  try {
    for (let i = 0; i < 5; i++) await app.inject(`/nothing/${i}`);
    const series = [...(await scrape(app)).keys()].filter((name) => name.startsWith('weir_http_requests_total'));
    assert.equal(series, ['weir_http_requests_total{route="unknown",method="GET",status="404"}']);
  } finally {
    await app.close();
  }
});

for (const [accept, wanted] of [
  [undefined, false],
  ['text/plain', false],
  ['*/*', false],
  ['application/openmetrics-text', true],
  [
    'application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;q=0.5,*/*;q=0.1',
    true,
  ],
  ['application/openmetrics-text;q=0.3, text/plain;q=0.9', false],
  ['application/openmetrics-text;q=0', false],
] as const) {
  test(`content negotiation: ${accept}`, () => assert.is(prefersOpenMetrics(accept), wanted));
}

test('OpenMetrics names the families of counters without _total, once and for the one who asked', async () => {
  const { app } = await makeApi(8);
  try {
    const plain = await app.inject('/metrics');
    const open = await app.inject({ url: '/metrics', headers: { accept: 'application/openmetrics-text' } });
    const again = await app.inject('/metrics');
    assert.match(String(open.headers['content-type']), 'application/openmetrics-text');
    assert.match(open.body, /^# TYPE weir_flow_lost counter\nweir_flow_lost_total\{/m);
    assert.not.match(open.body, '\n\n');
    assert.ok(open.body.endsWith('\n# EOF\n'));
    for (const { body } of [plain, again]) assert.match(body, /^# TYPE weir_flow_lost_total counter$/m);
  } finally {
    await app.close();
  }
});

test('there are no timers left behind', async () => {
  const { app } = await makeApi(8);
  await app.close();
  assert.not.ok(process.getActiveResourcesInfo().includes('Timeout'));
});

test.run();
