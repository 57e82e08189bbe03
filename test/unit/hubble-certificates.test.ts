/** Certificates of the Hubble API that change under open calls: a renewed one disturbs nobody, another authority everybody. */
import { copyFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { credentials } from '@grpc/grpc-js';
import * as assert from 'uvu/assert';
import type { HubbleServer } from '../../agent/api/hubble/server.ts';
import { CertificateAuthority } from '../kit/certificates.ts';
import { HubbleClient } from '../kit/hubble-grpc.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';
import { makeHistory } from './flow-records.ts';
import { hubbleAlone } from './hubble-alone.ts';

const SERVER_NAME = 'node-1.default.hubble-grpc.cilium.io';
const test = suite('hubble: certificates');
let folder: string;
let server: HubbleServer | undefined;
test.before.each(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wt-hubble-certificates-'));
});
test.after.each(async () => {
  await server?.close();
  server = undefined;
  await rm(folder, { recursive: true, force: true });
});

test('a stream outlives a renewed certificate, and ends when its holder is trusted no more', async () => {
  const ca = await CertificateAuthority.make(folder, 'ca');
  const [first, second] = [await ca.issue('first', SERVER_NAME), await ca.issue('second', SERVER_NAME)];
  const files = {
    certificate: join(folder, 'tls.crt'),
    key: join(folder, 'tls.key'),
    clientCa: join(folder, 'ca.crt'),
  };
  await copyFile(ca.certificate, files.clientCa);
  await copyFile(first.certificate, files.certificate);
  await copyFile(first.key, files.key);
  const { history } = makeHistory(100);
  server = await hubbleAlone({
    flows: history,
    tls: { host: '127.0.0.1', port: 0, files },
  });
  const pems = await Promise.all([ca.certificate, first.key, first.certificate].map((file) => readFile(file)));
  const how = credentials.createSsl(...(pems as [Buffer, Buffer, Buffer]));
  const client = new HubbleClient(server.at[0] as string, how, SERVER_NAME);
  try {
    const stream = client.follow({});
    await until(() => history.stats().followers === 1, { what: 'the stream' });

    await copyFile(second.certificate, files.certificate);
    await copyFile(second.key, files.key);
    await server.certificates?.readAgain();
    await new Promise((resolve) => setTimeout(resolve, 3000));
    assert.is(history.stats().followers, 1, 'a certificate of the same authority is nothing to it');

    const next = await CertificateAuthority.make(folder, 'next');
    await copyFile(next.certificate, files.clientCa);
    await server.certificates?.readAgain();
    await until(() => history.stats().followers === 0, { what: 'the stream to end' });
    assert.not.equal(await stream.ended, '');
    assert.match(await client.refusalOf('ServerStatus', {}), /^14 /, 'it does not get in again');
  } finally {
    client.close();
  }
});

test.run();
