/** charts/weir by the real Helm, which asks the API server before it installs: here one in memory that has what it is told. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { type CommandResult, tryCommand } from '../kit/command.ts';
import { privileged } from '../kit/privileged.ts';
import { stockProgram } from '../kit/stock.ts';
import { suite } from '../kit/suite.ts';
import { CHART } from './weir.ts';

const NAMESPACE = 'kube-system';
const resources = (groupVersion: string, names: Readonly<Record<string, string>>) => ({
  kind: 'APIResourceList',
  groupVersion,
  resources: Object.entries(names).map(([name, kind]) => ({ name, kind, namespaced: true, verbs: ['get', 'list'] })),
});
const apps = { groupVersion: 'apps/v1', version: 'v1' };
/** What Helm asks before it looks anything up: which kinds there are. */
const DISCOVERY: Readonly<Record<string, object>> = {
  '/version': { major: '1', minor: '34', gitVersion: 'v1.34.0' },
  '/api': { kind: 'APIVersions', versions: ['v1'] },
  '/apis': { kind: 'APIGroupList', groups: [{ name: 'apps', versions: [apps], preferredVersion: apps }] },
  '/api/v1': resources('v1', { secrets: 'Secret' }),
  '/apis/apps/v1': resources('apps/v1', { daemonsets: 'DaemonSet' }),
};

/** Helm renders the chart as for `helm install`, on a cluster with these DaemonSets. */
async function rendered(daemonSets: readonly string[]): Promise<CommandResult> {
  const folder = mkdtempSync(join(tmpdir(), 'wt-chart-install-'));
  const server = createServer((request, response) => {
    const path = new URL(request.url ?? '', 'http://k8s').pathname;
    const name = path.split(`/apis/apps/v1/namespaces/${NAMESPACE}/daemonsets/`)[1] ?? '';
    const found = daemonSets.includes(name)
      ? { apiVersion: 'apps/v1', kind: 'DaemonSet', metadata: { name, namespace: NAMESPACE } }
      : DISCOVERY[path];
    response.setHeader('content-type', 'application/json');
    if (!found) response.statusCode = 404;
    response.end(JSON.stringify(found ?? { kind: 'Status', status: 'Failure', reason: 'NotFound', code: 404 }));
  });
  try {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const cluster = { server: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
    const kubeconfig = {
      ...{ apiVersion: 'v1', kind: 'Config', 'current-context': 'a', users: [{ name: 'a', user: {} }] },
      ...{ clusters: [{ name: 'a', cluster }], contexts: [{ name: 'a', context: { cluster: 'a', user: 'a' } }] },
    };
    writeFileSync(join(folder, 'kubeconfig'), JSON.stringify(kubeconfig));
    const words = ['template', 'weir', CHART, '--namespace', NAMESPACE, '--dry-run=server'];
    const env = { KUBECONFIG: join(folder, 'kubeconfig'), HOME: folder };
    return await tryCommand([stockProgram('helm'), ...words], { env, timeoutMs: 120_000 });
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    rmSync(folder, { recursive: true, force: true });
  }
}

const test = privileged(suite('chart: what is there already'), 'kubernetes');

test('nothing of Weir: it is installed', async () => {
  const { code, stdout, stderr } = await rendered([]);
  assert.is(code, 0, stderr);
  assert.match(stdout, /^kind: DaemonSet$/m);
});

test('a removal that did not end would take the new agents off: refused, with what to do', async () => {
  const { code, stderr } = await rendered(['weir-cleanup']);
  assert.is.not(code, 0);
  assert.match(stderr, /First: kubectl -n kube-system delete daemonset weir-cleanup/);
});

test.run();
