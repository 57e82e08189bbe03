/** Exported flows: which, in what form, where to, and what becomes of those that cannot be written. */
import { mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, type IncomingHttpHeaders, type RequestListener } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import * as assert from 'uvu/assert';
import { createMetrics } from '../../agent/api/metrics.ts';
import { type Exporter, type Place, startExport } from '../../agent/export/export.ts';
import { readHeaders } from '../../agent/export/headers.ts';
import type { ExportEvent } from '../../agent/export/lines.ts';
import { OtlpLogs } from '../../agent/export/otlp.ts';
import { exportProblems } from '../../agent/export/problems.ts';
import { RotatingFile } from '../../agent/export/rotating-file.ts';
import { readSelection, type Selection } from '../../agent/export/select.ts';
import { createLogger } from '../../agent/run/log.ts';
import { CertificateAuthority, type KeyPair } from '../kit/certificates.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';
import { makeState } from './api-state.ts';
import { batch, drop, event, makeHistory, numbered } from './flow-records.ts';

const EVERYTHING: Selection = { allow: '', deny: '', fieldMask: '' };
const TELLER = { node: 'node-1', run: '0'.repeat(18), cluster: 'default', version: '1' };

/** What was written, and a switch for whether it can be. */
class Memory implements Place {
  readonly kind = 'file';
  readonly name = 'memory';
  readonly written: ExportEvent[] = [];
  full = false;
  refused = 0;
  async write(events: readonly ExportEvent[]): Promise<void> {
    if (this.full) {
      this.refused++;
      throw Object.assign(new Error('no space left'), { code: 'ENOSPC' });
    }
    this.written.push(...events);
  }
  async close(): Promise<void> {}
}

async function exporting(selection: Partial<Selection>, place: Place = new Memory(), records = 1000) {
  const { history } = makeHistory(records);
  const said: string[] = [];
  const log = createLogger({ level: 'info', format: 'text', write: (line) => void said.push(line) });
  const teller = { ...TELLER, run: history.run, nodeLabels: () => ({ zone: 'a' }) };
  const selected = readSelection({ ...EVERYTHING, ...selection }, teller);
  const exporter = startExport({ history, teller, selected, place, log });
  await until(() => history.stats().followers === 1, { what: 'the export to begin' });
  const add = (...added: Uint8Array[]) => history.listener(batch(...added), added.length, 0);
  return { history, exporter, add, said };
}
/** Flows that arrived, were refused, and came too late. */
function counts({ stats }: Exporter): [exported: number, refused: number, slow: number] {
  const { exported, lost } = stats();
  return [exported, lost.refused, lost.slow];
}
const settled = (exporter: Exporter, count: number) =>
  until(() => counts(exporter).reduce((sum, one) => sum + one) === count, { what: `${count} flows to be settled` });

const select = suite('export: which flows');
for (const [selection, verdicts] of [
  [{}, ['FORWARDED', 'DROPPED']],
  [{ allow: '{"verdict":["DROPPED"]}' }, ['DROPPED']],
  [{ allow: '{"verdict":[2]}' }, ['DROPPED']],
  [{ deny: '{"drop_reason_desc":["POLICY_DENIED"]}' }, ['FORWARDED']],
  [{ allow: '{"source_pod":["nobody/"]} {"source_pod":["default/frontend"],"verdict":["FORWARDED"]}' }, ['FORWARDED']],
  [
    { allow: '{"source_pod":["default/"]}\n{"event_type":[{"type":1}]}', deny: '{"event_type":[{"type":4}]}' },
    ['DROPPED'],
  ],
] as const) {
  select(JSON.stringify(selection), async () => {
    const place = new Memory();
    const { exporter, add } = await exporting(selection, place);
    add(event(), drop());
    await settled(exporter, verdicts.length);
    assert.equal(
      place.written.map(({ flow }) => (flow as { verdict: string }).verdict),
      verdicts,
    );
    await exporter.close();
  });
}

for (const [selection, words] of [
  [{ allow: 'verdict=DROPPED' }, /^allow list\[0\]: expected a JSON object such as .*, got verdict=DROPPED$/],
  [{ allow: '{"verdict":["DROPPED"]} {"a' }, /^allow list\[1\]: expected a JSON object/],
  [{ deny: '[]' }, /^deny list\[0\]: expected a JSON object/],
  [{ allow: '{"verdict":["DENIED"]}' }, /^allow list\[0\]\.verdict: expected one of .*DROPPED.*, got "DENIED"$/],
  [{ deny: '{"drop_reason_desc":["x"]}' }, /^deny list\[0\]\.drop_reason_desc: expected one of .*POLICY_DENIED/],
  [{ allow: '{"sourcePod":["a"]}' }, /^allow list\[0\]\.sourcePod is no field of Hubble's FlowFilter$/],
  [{ allow: '{"source_pod":"a"}' }, /^allow list\[0\]: source_pod: array expected$/],
  [{ allow: '{"source_ip":["10.0.0.300"]}' }, /^allow list\[0\]\.source_ip: expected an IP address or a CIDR/],
  [{ deny: '{"http_method":["GET"]}' }, /^deny list\[0\]\.http_method is not served: /],
  [{ fieldMask: 'time,verdcit' }, /^field_mask: "verdcit": expected one of /],
] as const) {
  select(`refused: ${JSON.stringify(selection)}`, () => {
    assert.throws(
      () => readSelection({ ...EVERYTHING, ...selection }, TELLER),
      (error: { code: string; message: string }) => error.code === 'CONFIG_INVALID' && words.test(error.message),
    );
  });
}

select('a field mask leaves what it names; extensions are there for who names them', async () => {
  const place = new Memory();
  const { exporter, add } = await exporting({ fieldMask: 'verdict, source.pod_name extensions,node_labels' }, place);
  add(event());
  await settled(exporter, 1);
  const [{ flow, node_name, time } = {}] = place.written as [ExportEvent?];
  const { extensions, ...rest } = flow as { extensions: { '@type': string; value: { event: string } } };
  assert.equal(rest, { verdict: 'FORWARDED', source: { pod_name: 'frontend-abc' }, node_labels: ['zone=a'] });
  assert.is(extensions['@type'], 'type.googleapis.com/google.protobuf.Struct');
  assert.is(extensions.value.event, 'new');
  assert.is(node_name, 'node-1');
  assert.match(time ?? '', /^\d{4}-.*Z$/);
  await exporter.close();
});
select.run();

const losing = suite('export: what cannot be written');
losing('a place that refuses loses its own events, counted, told once, and resumes', async () => {
  const place = new Memory();
  const { history, exporter, add, said } = await exporting({}, place);
  add(event());
  await settled(exporter, 1);
  place.full = true;
  for (let i = 0; i < 5; i++) {
    add(event(), event());
    await settled(exporter, 3 + 2 * i);
  }
  assert.ok(place.refused >= 2, 'it went on trying');
  assert.equal(counts(exporter), [1, 10, 0]);
  assert.match(exporter.stats().failure ?? '', 'no space left');
  assert.is(history.losses().subscriber, 0, 'nobody else lost any');
  place.full = false;
  add(event());
  await settled(exporter, 12);
  add(event());
  await settled(exporter, 13);
  assert.equal(counts(exporter), [3, 10, 0]);
  assert.is(exporter.stats().failure, undefined);
  assert.equal(
    place.written.map(({ lost_events }) => lost_events?.num_events_lost ?? 'flow'),
    ['flow', '10', 'flow', 'flow'],
  );
  assert.is(said.filter((line) => line.includes('cannot be exported')).length, 1);
  assert.is(said.filter((line) => line.includes('exported again')).length, 1);
  await exporter.close();
});

losing('what became of them is in the metrics, and a person is told as long as it fails', async () => {
  const place = new Memory();
  const { exporter, add } = await exporting({}, place);
  const { state } = makeState(10);
  const { registry } = createMetrics(state, { exports: () => [exporter] });
  const shown = async () => (await registry.metrics()).split('\n').filter((line) => line.startsWith('weir_export_'));
  add(event());
  await settled(exporter, 1);
  place.full = true;
  add(event(), event());
  await settled(exporter, 3);
  assert.equal(await shown(), [
    'weir_export_flows_total{to="file"} 1',
    'weir_export_lost_total{to="file",why="refused"} 2',
    'weir_export_lost_total{to="file",why="slow"} 0',
    'weir_export_behind_seconds{to="file"} 0',
    'weir_export_failing{to="file"} 1',
  ]);
  assert.equal(
    exportProblems([exporter]).map(({ code, message }) => [code, message]),
    [['export-failing', 'flows cannot be exported to memory, 2 are lost: no space left']],
  );
  place.full = false;
  add(event());
  await settled(exporter, 4);
  assert.ok((await shown()).includes('weir_export_failing{to="file"} 0'));
  assert.equal(exportProblems([exporter]), []);
  await exporter.close();
});

losing('a place that is slower than the ring loses what it overwrote, counted to the event', async () => {
  const place = new Memory();
  const go = Promise.withResolvers<void>();
  const write = place.write.bind(place);
  place.write = async (events) => {
    await go.promise;
    await write(events);
  };
  const { exporter, add } = await exporting({}, place, 100);
  for (let i = 0; i < 50; i++) add(...Array.from({ length: 10 }, () => event()));
  await until(() => exporter.stats().behindSeconds > 0, { what: 'the export to be seen to be behind' });
  go.resolve();
  await settled(exporter, 500);
  const told = place.written.reduce((sum, { lost_events }) => sum + Number(lost_events?.num_events_lost ?? 0), 0);
  const flows = place.written.filter(({ flow }) => flow !== undefined).length;
  assert.equal(counts(exporter), [flows, 0, told]);
  assert.is(exporter.stats().behindSeconds, 0);
  assert.ok(told > 0);
  await exporter.close();
});
losing.run();

const file = suite('export: a file');
let folder: string;
file.before.each(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wt-export-'));
});
file.after.each(() => rm(folder, { recursive: true, force: true }));

/** Lines of 100 bytes that count up. */
const counted = (from: number, count: number): ExportEvent[] =>
  Array.from({ length: count }, (_, i) => {
    const one = { node_name: '', time: String(from + i).padStart(6, '0') };
    return { ...one, node_name: 'x'.repeat(99 - JSON.stringify(one).length) };
  });
const numbers = (text: string) =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => Number((JSON.parse(line) as ExportEvent).time));
const range = (from: number, count: number) => Array.from({ length: count }, (_, i) => from + i);

for (const compress of [false, true]) {
  file(
    `rotation, compress ${compress}: no file is longer than wished, the newest are kept, no line is lost between`,
    async () => {
      const path = join(folder, 'deep', 'flows.log');
      const place = new RotatingFile({ path, maxBytes: 1000, backups: 3, compress });
      for (let i = 0; i < 60; i += 3) await place.write(counted(i, 3));
      await place.close();
      const names = (await readdir(join(folder, 'deep'))).sort();
      assert.is(names.length, 4, names.join());
      assert.is(names.at(-1), 'flows.log');
      const texts = await Promise.all(
        names.map(async (name) => {
          const bytes = await readFile(join(folder, 'deep', name));
          assert.is(name.endsWith('.gz'), compress && name !== 'flows.log');
          return (name.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString();
        }),
      );
      for (const text of texts) assert.ok(text.length <= 1000);
      const kept = texts.flatMap(numbers);
      assert.equal(kept, range(60 - kept.length, kept.length));
      assert.is((await stat(path)).mode & 0o777, 0o600);
    },
  );
}

file('a file that somebody moves or removes is made anew; what is there is continued', async () => {
  const path = join(folder, 'flows.log');
  const first = new RotatingFile({ path, maxBytes: 10_000, backups: 1, compress: false });
  await first.write(counted(0, 2));
  await first.close();
  const place = new RotatingFile({ path, maxBytes: 10_000, backups: 1, compress: false });
  await place.write(counted(2, 2));
  await rename(path, `${path}.1`);
  await place.write(counted(4, 2));
  await rm(path);
  await place.write(counted(6, 2));
  await place.close();
  assert.equal(numbers(await readFile(`${path}.1`, 'utf8')), [0, 1, 2, 3]);
  assert.equal(numbers(await readFile(path, 'utf8')), [6, 7]);
});

file('files of others beside it are left alone', async () => {
  const path = join(folder, 'flows.log');
  const others = ['flows-notes.log', 'flowsx-2026-01-01T00-00-00.000Z.log', 'other.log'];
  for (const name of others) await writeFile(join(folder, name), '');
  const place = new RotatingFile({ path, maxBytes: 100, backups: 0, compress: false });
  for (let i = 0; i < 5; i++) await place.write(counted(i, 1));
  await place.close();
  assert.equal((await readdir(folder)).sort(), [basename(path), ...others].sort());
});

file('what an exporter writes is one JSON object a line, of what happened', async () => {
  const path = join(folder, 'flows.log');
  const { exporter, history } = await exporting(
    {},
    new RotatingFile({ path, maxBytes: 1e6, backups: 1, compress: false }),
  );
  history.listener(numbered(100), 100, 0);
  await settled(exporter, 100);
  await exporter.close();
  const lines = (await readFile(path, 'utf8')).trimEnd().split('\n');
  const ports = lines.map(
    (line) =>
      (JSON.parse(line) as { flow: { l4: { TCP: { destination_port: number } } } }).flow.l4.TCP.destination_port,
  );
  assert.equal(ports, range(1, 100));
});
file.run();

const otlp = suite('export: OTLP');
otlp.before.each(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wt-export-'));
});
otlp.after.each(() => rm(folder, { recursive: true, force: true }));
/** A collector that keeps what it got, and answers as it is told to. */
async function collector(
  use: (url: string, state: { answer: number; got: OtlpRequest[]; headers: IncomingHttpHeaders[] }) => Promise<void>,
  tls?: KeyPair,
) {
  const state = { answer: 200, got: [] as OtlpRequest[], headers: [] as IncomingHttpHeaders[] };
  const answer: RequestListener = (request, response) => {
    state.headers.push(request.headers);
    let body = '';
    request.setEncoding('utf8');
    request.on('data', (text: string) => {
      body += text;
    });
    request.on('end', () => {
      if (state.answer === 200) state.got.push(JSON.parse(body) as OtlpRequest);
      response.writeHead(state.answer, { 'content-type': 'application/json' }).end('{}');
    });
  };
  const server = tls
    ? createTlsServer({ cert: await readFile(tls.certificate), key: await readFile(tls.key) }, answer)
    : createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    await use(`http${tls ? 's://localhost' : '://127.0.0.1'}:${(server.address() as AddressInfo).port}/v1/logs`, state);
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}
interface OtlpRequest {
  readonly resourceLogs: readonly {
    readonly resource: { readonly attributes: readonly { key: string; value: { stringValue: string } }[] };
    readonly scopeLogs: readonly {
      readonly logRecords: readonly {
        readonly timeUnixNano: string;
        readonly severityText: string;
        readonly eventName: string;
        readonly body: {
          readonly kvlistValue: { readonly values: readonly { key: string; value: { stringValue?: string } }[] };
        };
      }[];
    }[];
  }[];
}
const otlpRecords = (requests: readonly OtlpRequest[]) =>
  requests.flatMap(({ resourceLogs }) =>
    resourceLogs.flatMap(({ scopeLogs }) => scopeLogs.flatMap((one) => one.logRecords)),
  );

otlp('each flow is a record of its time, with the flow as body and the node as resource', async () => {
  await collector(async (url, { got }) => {
    const place = new OtlpLogs({ url, node: 'node-1', cluster: 'prod', version: '1' });
    const { exporter, add } = await exporting({ fieldMask: 'time verdict uuid' }, place);
    add(event(), drop());
    await settled(exporter, 2);
    await exporter.close();
    const records = otlpRecords(got);
    assert.equal(
      records.map(({ eventName, severityText }) => [eventName, severityText]),
      [
        ['hubble.flow', 'INFO'],
        ['hubble.flow', 'WARN'],
      ],
    );
    const body = Object.fromEntries(
      records[1]?.body.kvlistValue.values.map(({ key, value }) => [key, value.stringValue]) ?? [],
    );
    assert.is(body.verdict, 'DROPPED');
    const micros = BigInt(records[1]?.timeUnixNano ?? 0) / 1000n;
    assert.is(new Date(Number(micros / 1000n)).toISOString().slice(0, 23), body.time?.slice(0, 23));
    const attributes = Object.fromEntries(
      got[0]?.resourceLogs[0]?.resource.attributes.map(({ key, value }) => [key, value.stringValue]) ?? [],
    );
    assert.equal(attributes, { 'service.name': 'weir', 'k8s.node.name': 'node-1', 'k8s.cluster.name': 'prod' });
  });
});

otlp('a collector that is dead or refuses loses its own events, counted; it is told when it lives again', async () => {
  let dead = '';
  await collector(async (url, state) => {
    dead = url;
    const place = new OtlpLogs({ url, node: 'node-1', cluster: 'prod', version: '1', timeoutMs: 500 });
    const { exporter, add } = await exporting({}, place);
    state.answer = 400;
    add(event(), event());
    await settled(exporter, 2);
    assert.equal(counts(exporter), [0, 2, 0]);
    state.answer = 200;
    add(event());
    await settled(exporter, 3);
    assert.equal(
      otlpRecords(state.got).map(({ eventName }) => eventName),
      ['hubble.lost_events', 'hubble.flow'],
    );
    await exporter.close();
  });
  const place = new OtlpLogs({ url: dead, node: 'node-1', cluster: 'prod', version: '1', timeoutMs: 500 });
  const { exporter, add } = await exporting({}, place);
  add(event());
  await settled(exporter, 1);
  assert.equal(counts(exporter), [0, 1, 0]);
  await exporter.close();
});
const SECRET = 'Bearer s3cr3t=,x';

otlp('headers come from a file, which is read again; nothing that is said or counted has what they hold', async () => {
  const headersFile = join(folder, 'headers');
  await collector(async (url, state) => {
    const place = new OtlpLogs({ url, headersFile, node: 'node-1', cluster: 'prod', version: '1', timeoutMs: 500 });
    const { exporter, add, said } = await exporting({}, place);
    add(event());
    await settled(exporter, 1);
    assert.equal(counts(exporter), [0, 1, 0], 'the file is not there yet');
    assert.match(exporter.stats().failure ?? '', /ENOENT/);
    await writeFile(headersFile, `authorization=${encodeURIComponent(SECRET)},X-Scope=a%20b\n`);
    add(event());
    await settled(exporter, 2);
    assert.equal([state.headers[0]?.authorization, state.headers[0]?.['x-scope']], [SECRET, 'a b']);
    await writeFile(headersFile, 'authorization=Bearer%20renewed');
    add(event());
    await settled(exporter, 3);
    assert.is(state.headers[1]?.authorization, 'Bearer renewed');
    state.answer = 401;
    await writeFile(headersFile, `authorization=${encodeURIComponent(SECRET)}`);
    add(event());
    await settled(exporter, 4);
    await writeFile(headersFile, `authorization=${SECRET.replace(' ', '\x01')}`);
    add(event());
    await settled(exporter, 5);
    assert.match(exporter.stats().failure ?? '', /pair 1: expected NAME=VALUE/);
    await exporter.close();
    assert.not.match(`${said.join('')} ${JSON.stringify(exporter.stats())}`, 's3cr3t');
  });
});

otlp('a password in the URL is not told', () => {
  const url = 'http://user:s3cr3t@collector:4318/v1/logs?key=s3cr3t';
  assert.is(new OtlpLogs({ url, node: 'a', cluster: 'b', version: '1' }).name, 'http://collector:4318/v1/logs');
});

otlp("a collector is known by the authority of the setting, and by no other's certificate", async () => {
  const ca = await CertificateAuthority.make(folder, 'ca');
  const pair = await ca.issue('collector', 'localhost');
  const other = await CertificateAuthority.make(folder, 'other');
  await collector(async (url, state) => {
    for (const [caFile, counted] of [
      [ca.certificate, [1, 0, 0]],
      [other.certificate, [0, 1, 0]],
      [undefined, [0, 1, 0]],
    ] as const) {
      const place = new OtlpLogs({ url, caFile, node: 'node-1', cluster: 'prod', version: '1', timeoutMs: 500 });
      const { exporter, add } = await exporting({}, place);
      add(event());
      await settled(exporter, 1);
      assert.equal(counts(exporter), counted);
      await exporter.close();
    }
    assert.is(state.got.length, 1);
  }, pair);
});

otlp('a collector that answers a byte at a time does not hold up the end', async () => {
  const server = createServer((request, response) => {
    request.resume();
    response.writeHead(200, { 'content-type': 'application/json' });
    const drip = setInterval(() => response.write(' '), 50);
    response.on('close', () => clearInterval(drip));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/logs`;
    const place = new OtlpLogs({ url, node: 'node-1', cluster: 'prod', version: '1', timeoutMs: 300 });
    const { exporter, add } = await exporting({}, place);
    add(event());
    await settled(exporter, 1);
    assert.equal(counts(exporter), [0, 1, 0]);
    await exporter.close();
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});
otlp.run();

const headers = suite("export: a collector's headers");
for (const [text, read] of [
  ['', {}],
  ['a=b', { a: 'b' }],
  [' Api-Key = x%3Dy%2Cz , b=2\n\nc=%20d'.replace('%20d', 'd'), { 'api-key': 'x=y,z', b: '2', c: 'd' }],
  ['authorization=Basic dXNlcjpwYXNz==', { authorization: 'Basic dXNlcjpwYXNz==' }],
] as const) {
  headers(JSON.stringify(text), () => assert.equal(readHeaders(text), read));
}
for (const [text, pair] of [
  ['a', 1],
  ['a=1,b=', 2],
  ['a=1,=s3cr3t', 2],
  ['a b=s3cr3t', 1],
  ['a=s3cr3t%0d%0aHost:%20x', 1],
  ['a=%zz s3cr3t', 1],
  ['a=s3cr3t\u00e4', 1],
] as const) {
  headers(`refused: ${JSON.stringify(text)}`, () =>
    assert.throws(
      () => readHeaders(text),
      ({ code, message }: { code: string; message: string }) =>
        code === 'CONFIG_INVALID' && message.startsWith(`pair ${pair}: `) && !message.includes('s3cr3t'),
    ),
  );
}
headers.run();
