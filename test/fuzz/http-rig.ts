/** Two agents with everything the HTTP API has: the first on a unix socket and over TLS, the second as its peer. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import type { AddressInfo, NetConnectOpts } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ConnectionOptions } from 'node:tls';
import type { FastifyInstance } from 'fastify';
import { listen } from '../../agent/api/listener.ts';
import { createMetrics } from '../../agent/api/metrics.ts';
import { Peers } from '../../agent/api/peers.ts';
import { createApi } from '../../agent/api/server.ts';
import { TlsCredentials } from '../../agent/api/tls-server.ts';
import { createLogger } from '../../agent/run/log.ts';
import { CertificateAuthority } from '../kit/certificates.ts';
import { everyShape, makeState } from '../unit/api-state.ts';
import * as r from '../unit/flow-records.ts';

/** What a token that the API server knows is in these tests. */
export const TOKEN = 'known';

export async function startRig(records: number) {
  const folder = await mkdtemp(join(tmpdir(), 'wt-http-fuzz-'));
  const ca = await CertificateAuthority.make(folder, 'ca');
  const pair = await ca.issue('server', '*.default.hubble-grpc.cilium.io');
  const apps: FastifyInstance[] = [];
  const closers: (() => void)[] = [];
  const said: string[] = [];
  const log = createLogger({ level: 'warn', format: 'text', write: (line) => void said.push(line) });
  let port = 0;

  async function node(number: number) {
    const credentials = await TlsCredentials.open({ ...pair, ca: ca.certificate });
    const { state, fake } = makeState(records, `node-${number}`);
    const other = 3 - number;
    const peers = new Peers({
      credentials,
      get port() {
        return port;
      },
      others: () => [
        { node: `node-${other}`, host: `127.0.0.${other}`, serverName: `node-${other}.default.hubble-grpc.cilium.io` },
      ],
    });
    const metrics = createMetrics(state);
    const judge = async ({ token }: { token: string }) => (token === TOKEN ? 'allowed' : 'unknown token');
    const guarded = await createApi({ state, metrics, log, peers, guarded: { credentials, judge } });
    await listen(guarded, { kind: 'tcp', host: `127.0.0.${number}`, port });
    port = (guarded.server.address() as AddressInfo).port;
    apps.push(guarded);
    closers.push(() => {
      credentials.close();
      peers.close();
    });
    return { state, fake, metrics, peers };
  }

  const first = await node(1);
  const second = await node(2);
  const socket = join(folder, 'api.sock');
  const open = await createApi({ state: first.state, metrics: first.metrics, log, peers: first.peers });
  await listen(open, { kind: 'unix', path: socket });
  apps.push(open);
  const { history } = first.fake;
  const shapes = everyShape();
  for (let i = 0; i < 3; i++) history.listener(r.batch(...shapes), shapes.length, 0);

  return {
    history,
    peerHistory: second.fake.history,
    /** The logs of both, from warnings on. */
    said,
    app: open,
    unix: { path: socket } satisfies NetConnectOpts,
    tls: {
      host: '127.0.0.1',
      port,
      servername: 'node-1.default.hubble-grpc.cilium.io',
      ca: await readFile(ca.certificate),
    } satisfies ConnectionOptions,
    see: (...shown: Uint8Array[]) => history.listener(r.batch(...shown), shown.length, 0),
    followers: () => history.stats().followers + second.fake.history.stats().followers,
    async close() {
      await Promise.all(apps.map((app) => app.close()));
      for (const close of closers) close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

export type Rig = Awaited<ReturnType<typeof startRig>>;
