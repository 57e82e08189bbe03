/** Hubble's API over TLS: who gets in, who does not, and certificates that are renewed under a running agent. */
import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { Certificates } from '../../agent/api/hubble/certificates.ts';
import { CertificateAuthority, type KeyPair } from '../kit/certificates.ts';
import { NodeUnderTest } from '../kit/node.ts';
import { privileged } from '../kit/privileged.ts';
import { StockHubble } from '../kit/stock-hubble.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';

/** As hubble-relay wants it: node, cluster, then this. */
const SERVER_NAME = 'node-under-test.default.hubble-grpc.cilium.io';
const CLIENT_NAME = '*.hubble-relay.cilium.io';
const PORT = 4244;

const test = privileged(suite('hubble over TLS'), 'root', 'btf', 'bpffs', 'hubble');
let folder: string;
let node: NodeUnderTest;
let ca: CertificateAuthority;
let otherCa: CertificateAuthority;
let client: KeyPair;
/** The files the agent reads. */
let used: { certificate: string; key: string; clientCa: string };

test.before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wt-hubble-tls-'));
  used = {
    certificate: join(folder, 'used.crt'),
    key: join(folder, 'used.key'),
    clientCa: join(folder, 'used-ca.crt'),
  };
  [ca, otherCa] = (await Promise.all(['ca', 'other-ca'].map((name) => CertificateAuthority.make(folder, name)))) as [
    CertificateAuthority,
    CertificateAuthority,
  ];
  client = await ca.issue('client', CLIENT_NAME);
  node = await NodeUnderTest.start('htls', {
    manifests: {},
    flags: [
      `--hubble-listen-address=[::]:${PORT}`,
      `--hubble-tls-cert-file=${used.certificate}`,
      `--hubble-tls-key-file=${used.key}`,
      `--hubble-tls-client-ca-file=${used.clientCa}`,
    ],
  });
});
test.after(async () => {
  await node?.close();
  if (folder !== undefined) await rm(folder, { recursive: true, force: true });
});

/** Gives the agent a new certificate of `authority`, which also signs its clients'. */
async function use(authority: CertificateAuthority, name: string): Promise<void> {
  const server = await authority.issue(name, SERVER_NAME);
  await copyFile(authority.certificate, used.clientCa);
  await copyFile(server.key, used.key);
  await copyFile(server.certificate, used.certificate);
}

function hubble(trusts: CertificateAuthority, shows: KeyPair | undefined, serverName = SERVER_NAME): StockHubble {
  const flags = [
    ...['--tls', '--tls-server-name', serverName, '--tls-ca-cert-files', trusts.certificate],
    ...(shows ? ['--tls-client-cert-file', shows.certificate, '--tls-client-key-file', shows.key] : []),
  ];
  return new StockHubble({ server: `127.0.0.1:${PORT}`, flags, netns: node.netns, home: folder });
}

test('an agent whose certificates are not there yet is ready, and serves when they are', async () => {
  assert.is((await hubble(ca, client).run('status')).code, 1);
  await use(ca, 'first');
  await until(async () => (await hubble(ca, client).run('status')).code === 0, {
    what: 'the certificates to be found',
    timeoutMs: 25_000,
    everyMs: 500,
    detail: () => node.log(),
  });
});

test('a client with a certificate of the CA is served', async () => {
  assert.match(await hubble(ca, client).say('status'), /: Ok$/m);
  assert.is(await hubble(ca, client).say('list', 'namespaces'), 'NAMESPACE\n');
});

test('a client without a certificate is refused', async () => {
  const { code, stderr } = await hubble(ca, undefined).run('status');
  assert.is(code, 1);
  assert.match(stderr, /certificate required|handshake|connection reset|EOF|broken pipe/i);
});

test('a client with a certificate of somebody else is refused', async () => {
  const { code } = await hubble(ca, await otherCa.issue('stranger', CLIENT_NAME)).run('status');
  assert.is(code, 1);
});

test('a client who expects another server turns away', async () => {
  const { code, stderr } = await hubble(ca, client, 'elsewhere.default.hubble-grpc.cilium.io').run('status');
  assert.is(code, 1);
  assert.match(stderr, /certificate is valid for node-under-test/);
});

test('plain text is not answered', async () => {
  const plain = new StockHubble({ server: `127.0.0.1:${PORT}`, netns: node.netns, home: folder });
  assert.is((await plain.run('status')).code, 1);
});

test('files that do not fit together change nothing and are told', async () => {
  const stray = await otherCa.issue('stray', SERVER_NAME);
  await copyFile(stray.key, used.key);
  await until(() => node.log().includes('cannot be renewed'), { what: 'the agent to notice', timeoutMs: 25_000 });
  assert.match(await hubble(ca, client).say('status'), /: Ok$/m);
});

test('a new certificate and CA are taken without a restart: the old client is out, the new one in', async () => {
  await use(otherCa, 'second');
  const renewed = await otherCa.issue('renewed', CLIENT_NAME);
  await until(async () => (await hubble(otherCa, renewed).run('status')).code === 0, {
    what: 'the new certificate to be served',
    timeoutMs: 25_000,
    everyMs: 500,
    detail: () => node.log(),
  });
  assert.is((await hubble(otherCa, client).run('status')).code, 1, 'signed by the CA of before');
  assert.is((await hubble(otherCa, undefined).run('status')).code, 1, 'still no one without a certificate');
});

test('files that cannot be read or do not fit end the start with a sentence', async () => {
  const opened = (files: { certificate: string; key: string; clientCa: string }) =>
    Certificates.open(files, undefined).then(
      () => 'ok',
      (error: { code: string; message: string }) => `${error.code} ${error.message}`,
    );
  const good = { certificate: client.certificate, key: client.key, clientCa: ca.certificate };
  assert.match(await opened({ ...good, key: '/nowhere' }), /^CONFIG_INVALID expected a certificate .*ENOENT/);
  assert.match(await opened({ ...good, key: used.key }), /^CONFIG_INVALID .*key values mismatch/);
  const garbage = join(folder, 'garbage');
  await writeFile(garbage, 'no PEM');
  assert.match(await opened({ ...good, certificate: garbage }), /^CONFIG_INVALID expected a certificate/);
});

test.run();
