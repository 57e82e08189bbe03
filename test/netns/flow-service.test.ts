/** What is sent to a Service is told with its name, also of a Service that is gone by then, and can be asked for by it. */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { FlowsAnswer } from '../../agent/api/flows.ts';
import { type Guide, startGuide } from '../kit/guide.ts';
import type { PodUnderTest } from '../kit/node.ts';
import { privileged } from '../kit/privileged.ts';
import { StockHubble } from '../kit/stock-hubble.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';

const test = privileged(suite('Services in flows'), 'root', 'btf', 'bpffs', 'hubble');
const VIP = { v4: '10.96.7.1', v6: 'fd96::7:1' } as const;
let guide: Guide;
let folder: string;
let hubble: StockHubble;

const manifest = (backend: PodUnderTest): string => `
apiVersion: v1
kind: Service
metadata: { name: shop, namespace: default }
spec:
  clusterIP: ${VIP.v4}
  clusterIPs: [${VIP.v4}, "${VIP.v6}"]
  ipFamilies: [IPv4, IPv6]
  selector: { app: backend }
  ports:
    - { name: http, protocol: TCP, port: 80, targetPort: 8080 }
    - { name: dns, protocol: UDP, port: 53, targetPort: 8080 }
    - { name: none, protocol: TCP, port: 81, targetPort: 8081 }
${['v4', 'v6']
  .map(
    (family) => `---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: shop-${family}, namespace: default, labels: { kubernetes.io/service-name: shop } }
addressType: IP${family}
ports:
  - { name: http, protocol: TCP, port: 8080 }
  - { name: dns, protocol: UDP, port: 8080 }
endpoints:
  - { addresses: ["${family === 'v4' ? backend.ipv4 : backend.ipv6}"], conditions: { ready: true } }
`,
  )
  .join('')}`;

test.before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wt-flow-service-'));
  const socket = join(folder, 'hubble.sock');
  guide = await startGuide('flowservice', ['--services=true', `--hubble-socket=${socket}`]);
  hubble = new StockHubble({ server: `unix://${socket}`, home: folder });
  const { frontend, backend } = guide.pods;
  await guide.node.writeManifest('shop.yaml', manifest(backend));
  await until(async () => (await frontend.peer.tcp({ address: VIP.v4, port: 80, timeoutMs: 500 })) === 'ok', {
    what: 'the Service to be in force',
  });
});
test.after(async () => {
  await guide?.node.close();
  if (folder !== undefined) await rm(folder, { recursive: true, force: true });
});

type Flow = FlowsAnswer['flows'][number];

/** Of the connection from this port, once one of them is such an event. */
async function told(port: number, last: string): Promise<readonly Flow[]> {
  return until(
    async () => {
      const { flows } = await guide.node.getJson<FlowsAnswer>(`/v1/flows?port=${port}&last=1000`);
      return flows.some(({ weir }) => weir.event === last) ? flows : undefined;
    },
    { what: `the ${last} of the connection from port ${port}` },
  );
}

const SHOP = { name: 'shop', namespace: 'default' };

for (const [family, vip, port] of [
  ['IPv4', VIP.v4, 42001],
  ['IPv6', VIP.v6, 42002],
] as const) {
  test(`${family}: requests and replies name the Service, and what was asked for`, async () => {
    const { frontend, backend } = guide.pods;
    assert.is(await frontend.peer.tcp({ address: vip, port: 80, sourcePort: port }), 'ok');
    const flows = await told(port, 'end');
    for (const flow of flows) {
      const [here, there] = flow.is_reply
        ? [flow.source_service, flow.destination_service]
        : [flow.destination_service, flow.source_service];
      assert.equal([here, there], [SHOP, undefined], JSON.stringify(flow));
      assert.equal(flow.weir.service, { address: vip, port: 80 });
      assert.is(flow.IP?.source_xlated, flow.is_reply ? vip : undefined);
      const address = family === 'IPv4' ? backend.ipv4 : backend.ipv6;
      assert.is(flow.is_reply ? flow.IP?.source : flow.IP?.destination, address, 'its backend');
      assert.is((flow.is_reply ? flow.source : flow.destination).pod_name, 'backend');
    }
    assert.ok(flows.some(({ is_reply }) => is_reply) && flows.some(({ is_reply }) => !is_reply));
  });
}

test('a connection past the Service does not name it', async () => {
  const { frontend, backend } = guide.pods;
  assert.is(await frontend.peer.tcp({ address: backend.ipv4, port: 8080, sourcePort: 42003 }), 'ok');
  for (const flow of await told(42003, 'end')) {
    assert.equal([flow.source_service, flow.destination_service, flow.weir.service], [undefined, undefined, undefined]);
  }
});

test('a denial names it: by policy, with the rule; by the Service itself', async () => {
  const { stranger, frontend } = guide.pods;
  assert.is(await stranger.peer.tcp({ address: VIP.v4, port: 80, sourcePort: 42004, timeoutMs: 300 }), 'timeout');
  const [denied] = await told(42004, 'drop');
  assert.equal([denied?.destination_service, denied?.drop_reason_desc], [SHOP, 'POLICY_DENIED']);
  assert.is(await frontend.peer.tcp({ address: VIP.v4, port: 81, sourcePort: 42005 }), 'refused');
  const [refused] = await told(42005, 'drop');
  assert.equal([refused?.destination_service, refused?.weir.dropReason], [SHOP, 'service_no_backend']);
});

test('weir observe shows it, and finds by it', async () => {
  const { node } = guide;
  const shown = await node.weir('observe', '--last', '1000', '--to-service', 'default/sh', '--port', '42001');
  assert.is(shown.code, 0, shown.stderr);
  assert.match(
    shown.stdout,
    /default\/frontend:42001 .* -> default\/backend:8080 .*through Service default\/shop at 10\.96\.7\.1:80/,
  );
  assert.not.match(shown.stdout, '<-');
  const replies = await node.weir('observe', '--last', '1000', '--from-service', 'shop', '--port', '42001');
  assert.match(replies.stdout, '<-');
  const others = await node.weir('observe', '--last', '1000', '--service', 'default/other');
  assert.is(others.stdout, '');
  const all = await node.weir('observe', '--last', '1000', '--service', 'default/');
  assert.ok(all.stdout.includes('42001') && all.stdout.includes('42002') && !all.stdout.includes('42003'));
});

test('the stock hubble client shows it field by field, and finds by it', async () => {
  const { frontend, backend } = guide.pods;
  const ask = (...flags: string[]) => hubble.observe('--first', '100000', '--port', '42001', ...flags);
  const all = await ask();
  const requests = await ask('--to-service', 'default/shop');
  const replies = await ask('--from-service', 'default/sh');
  assert.ok(requests.length > 0 && replies.length > 0);
  assert.is(requests.length + replies.length, all.length);
  for (const flow of requests) {
    const { IP, is_reply, source_service, destination_service } = flow;
    assert.equal([destination_service, source_service, is_reply], [SHOP, undefined, false], JSON.stringify(flow));
    assert.equal(IP, { source: frontend.ipv4, destination: backend.ipv4, ipVersion: 'IPv4' });
  }
  for (const flow of replies) {
    const { IP, is_reply, source_service, destination_service } = flow;
    assert.equal([source_service, destination_service, is_reply], [SHOP, undefined, true], JSON.stringify(flow));
    assert.equal(IP, {
      ...{ source: backend.ipv4, destination: frontend.ipv4, ipVersion: 'IPv4' },
      source_xlated: VIP.v4,
    });
  }
  assert.equal(await ask('--snat-ip', `${VIP.v4}/32`), replies);
  const [first] = requests;
  assert.equal([first?.trace_reason, first?.policy_match_type], ['NEW', 4], 'nothing isolates frontend');
  const device = first?.interface?.name ?? '';
  assert.match(device, /^weir[0-9a-f]{10}$/);
  assert.equal(await ask('--interface', device), requests);
});

test('the end of a connection that is older than the removal of its Service has its name', async () => {
  const { frontend } = guide.pods;
  const connection = await frontend.peer.open({ address: VIP.v4, port: 80, sourcePort: 42006 });
  await guide.node.removeManifest('shop.yaml');
  await until(async () => (await frontend.peer.tcp({ address: VIP.v4, port: 80, timeoutMs: 300 })) !== 'ok', {
    what: 'the Service to be gone',
  });
  await frontend.peer.hangUp(connection);
  const ended = (await told(42006, 'end')).at(-1);
  assert.equal([ended?.weir.event, ended?.destination_service ?? ended?.source_service], ['end', SHOP]);
});

test.run();
