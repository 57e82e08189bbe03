/** Who may connect to the Hubble API, and how many at once. */
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, type NetConnectOpts, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Server } from '@grpc/grpc-js';
import * as assert from 'uvu/assert';
import { Certificates } from '../../agent/api/hubble/certificates.ts';
import { CONNECTIONS_MAX, Listener } from '../../agent/api/hubble/listener.ts';
import { CertificateAuthority } from '../kit/certificates.ts';
import { HubbleClient } from '../kit/hubble-grpc.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';
import { makeHistory } from './flow-records.ts';
import { hubbleAlone } from './hubble-alone.ts';

const test = suite('hubble: connections');
let folder: string;
const clients: Socket[] = [];
test.before.each(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wt-hubble-listener-'));
});
test.after.each(async () => {
  for (const client of clients.splice(0)) client.destroy();
  await rm(folder, { recursive: true, force: true });
});

/** Resolves when it is connected, which the server may not have seen yet. */
async function open(where: NetConnectOpts): Promise<Socket> {
  const client = connect(where);
  clients.push(client);
  client.on('error', () => {}); // the server may hang up
  client.resume();
  await new Promise((resolve) => client.once('connect', resolve));
  return client;
}

test(`no more than ${CONNECTIONS_MAX} connections; who comes then is hung up on and counted, who was there is served`, async () => {
  const path = join(folder, 'hubble.sock');
  let refused = 0;
  const server = await hubbleAlone({
    flows: makeHistory(10).history,
    socket: path,
    refused: () => refused++,
  });
  const first = new HubbleClient(`unix:${path}`);
  const late = new HubbleClient(`unix:${path}`);
  try {
    assert.equal(await first.flows({}), []);
    const others: Socket[] = [];
    while (others.length < CONNECTIONS_MAX - 1) others.push(await open({ path }));
    const beyond = await open({ path });
    await until(() => beyond.closed, { what: 'one too many to be hung up on' });
    assert.is(refused, 1);
    assert.ok(others.every((one) => !one.closed));
    assert.equal(await first.flows({}), []);
    assert.match(await late.refusalOf('ServerStatus', {}), /^14 /);
    others[0]?.destroy();
    await until(async () => (await late.refusalOf('ServerStatus', {})) === '', { what: 'a place that is free again' });
  } finally {
    first.close();
    late.close();
    await server.close();
  }
  await until(() => clients.every(({ closed }) => closed), { what: 'all to be hung up on' });
});

test('a TLS handshake that does not go on is ended and counted; plain text too', async () => {
  const ca = await CertificateAuthority.make(folder, 'ca');
  const { certificate, key } = await ca.issue('node', 'node-1.default.hubble-grpc.cilium.io');
  const certificates = await Certificates.open({ certificate, key, clientCa: ca.certificate }, undefined);
  let refused = 0;
  const grpc = new Server();
  const listener = await Listener.open(
    grpc,
    { host: '127.0.0.1', port: 0 },
    { certificates, refused: () => refused++, handshakeMs: 100 },
  );
  try {
    const place = { host: '127.0.0.1', port: listener.port };
    const silent = await open(place);
    await until(() => silent.closed, { what: 'one who says nothing to be hung up on' });
    assert.is(refused, 1);
    const plain = await open(place);
    plain.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    await until(() => plain.closed, { what: 'one who speaks no TLS to be hung up on' });
    assert.is(refused, 2);
  } finally {
    certificates.close();
    listener.stop(0);
    grpc.forceShutdown();
  }
});

test('an address that is taken is told', async () => {
  const grpc = new Server();
  const place = { host: '127.0.0.1', port: 0 };
  const first = await Listener.open(grpc, place);
  const second = Listener.open(grpc, { ...place, port: first.port });
  await second.then(
    () => assert.unreachable(),
    (error: { code: string; message: string }) => {
      assert.is(error.code, 'CONFIG_INVALID');
      assert.match(error.message, `cannot listen on 127.0.0.1:${first.port}: listen EADDRINUSE`);
    },
  );
  first.stop(0);
  grpc.forceShutdown();
});

test.run();
