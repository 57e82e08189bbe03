/** The kernel's tables as people read them. */
import * as assert from 'uvu/assert';
import { connectionLines, ipcacheLines, type MapLine, policyLines, serviceLines } from '../../agent/api/map-dump.ts';
import type { MapAnswer } from '../../agent/api/maps.ts';
import { createLogger } from '../../agent/run/log.ts';
import { listenForLogLevel } from '../../agent/run/log-level.ts';
import { suite } from '../kit/suite.ts';
import { makeApi } from './api-state.ts';
import { CONNECTIONS, TABLES } from './kernel-tables.ts';

/** One text per row, columns by "|". */
const inWords = (lines: readonly MapLine[]) => lines.map((line) => Object.values(line).join('|'));

const test = suite('map dump');
test('ipcache: addresses, then ranges', () => {
  assert.equal(inWords(ipcacheLines(TABLES)), ['fd00::2|301|pod|2|', '10.244.1.0/24|3|pod||node 4']);
});
test('services: frontend and backends', () => {
  assert.equal(inWords(serviceLines(TABLES)), ['[fd00:96::1]:443/TCP|[fd00::2]:8443 [fd00::3]:8443|60 s']);
  assert.equal(serviceLines({}), []);
});
test('policy: what is isolated, then what is decided for whom and which ports', () => {
  assert.equal(inWords(policyLines(TABLES)), [
    '17|egress|2|||allow what nothing denies||',
    '17|ingress|2|||deny what nothing allows||',
    '17|ingress||class 5|TCP 8080|allow|9|1001',
    '17|ingress||all|UDP 8-15|deny (admin)|2|1002',
    '17|ingress||class 6|ICMP type 8|allow (baseline)|9|1001',
    '17|ingress||class 7|SCTP|allow|9|1001',
    '17|ingress||class 7|all|deny|2|1002',
  ]);
});
test('ct: who began, what each has sent; ICMP has no ports', () => {
  assert.equal(inWords(connectionLines(CONNECTIONS)), [
    'TCP|10.1.0.1:40000|10.1.0.2:8080|300 -> 301|3 packets, 200 bytes|2 packets, 120 bytes|12 s|7',
    'ICMPv6|fd00::1|fd00::2|300 -> 301|1 packets, 64 bytes|0 packets, 0 bytes|1 s|7',
  ]);
});

for (const [name, rows] of [
  ['ct', 2],
  ['ipcache', 2],
  ['policy', 7],
  ['services', 1],
] as const) {
  test(`GET /v1/maps/${name}`, async () => {
    const { app } = await makeApi();
    const answer = await app.inject(`/v1/maps/${name}`);
    assert.is(answer.statusCode, 200, answer.body);
    const { name: told, total, rows: lines } = answer.json<MapAnswer>();
    assert.equal([told, total, lines.length], [name, rows, rows]);
    assert.is(new Set(lines.map((line) => Object.keys(line).join())).size, 1, 'the same columns in every row');
    await app.close();
  });
}
test('a map there is not is refused with those there are', async () => {
  const { app } = await makeApi();
  const answer = await app.inject('/v1/maps/conntrack');
  assert.is(answer.statusCode, 400);
  assert.match(answer.body, /ct, ipcache, policy, services|\\"ct\\"|must be equal|expected one of/);
  await app.close();
});
test.run();

const level = suite('log level by signal');
for (const [configured, other] of [
  ['info', 'debug'],
  ['error', 'debug'],
  ['debug', 'info'],
] as const) {
  level(`from ${configured} to ${other} and back, each told`, () => {
    const lines: string[] = [];
    const log = createLogger({ level: configured, format: 'json', write: (line) => void lines.push(line) });
    let send = (): void => {};
    listenForLogLevel(log, configured, {
      on(_, listener) {
        send = listener;
      },
    });
    send();
    assert.is(log.with({ part: 'x' }).level, other);
    send();
    assert.is(log.level, configured);
    assert.equal(
      lines.map((line) => (JSON.parse(line) as { logLevel: string }).logLevel),
      [other, configured],
    );
  });
}
level.run();
