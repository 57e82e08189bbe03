/** The end of an uninstallation, with kubelets that write their Nodes meanwhile. */
import * as assert from 'uvu/assert';
import { WeirError } from '../../agent/errors.ts';
import { finishRemoval, removeState, waitForNodes } from '../../agent/install/cluster-removal.ts';
import { tryCommand } from '../kit/command.ts';
import { suite } from '../kit/suite.ts';

const test = suite('removal from the cluster');
const KEY = 'node.weir.dev/agent-not-ready';

/** Nodes n0 to n3 with our taint and another; each of them is written by its kubelet `busy` times after it was read. */
function cluster(busy: number) {
  const nodes = [0, 1, 2, 3].map((i) => ({
    metadata: { name: `n${i}`, resourceVersion: '1' },
    spec: { taints: [KEY, 'other'].map((key) => ({ key, effect: 'NoSchedule' })) },
    writes: busy,
  }));
  const client = {
    get: () => Promise.reject(new TypeError('not asked for')),
    list: async (path: string) => ({ items: path.endsWith('/nodes') ? structuredClone(nodes) : [] }),
    remove: async () => {},
    async patch(path: string, { body }: { body: { metadata: { resourceVersion: string }; spec: object } }) {
      const node = nodes.find(({ metadata: { name } }) => path.endsWith(`/${name}`));
      if (!node) throw new WeirError('NOT_FOUND', 'patch', 'it is gone');
      if (node.writes-- > 0) node.metadata.resourceVersion += '1';
      if (body.metadata.resourceVersion !== node.metadata.resourceVersion)
        throw new WeirError('API_CONFLICT', 'patch', 'the object has been modified');
      Object.assign(node.spec, body.spec);
    },
  };
  return { nodes, client: client as unknown as Parameters<typeof removeState>[0] };
}

test('the taint goes from every node, whoever writes the Node meanwhile; others stay', async () => {
  const { nodes, client } = cluster(2);
  assert.is((await removeState(client)).length, 4);
  for (const { spec } of nodes) assert.equal(spec.taints, [{ key: 'other', effect: 'NoSchedule' }]);
});

test('a Node that is never the same is given up on in the end', async () => {
  const { client } = cluster(1000);
  const error = await removeState(client).catch((cause: unknown) => cause);
  assert.is((error as WeirError).code, 'API_CONFLICT');
});

test('nodes are waited for, also while the API server is away for a moment', async () => {
  const answers: (object | WeirError)[] = [
    new WeirError('API_UNREACHABLE', 'get', 'no answer'),
    { metadata: { name: 'weir-cleanup', generation: 1 }, status: { observedGeneration: 1, desiredNumberScheduled: 2 } },
    new WeirError('BUSY', 'get', 'too many requests'),
    {
      metadata: { name: 'weir-cleanup', generation: 1 },
      status: { observedGeneration: 1, desiredNumberScheduled: 2, numberReady: 2 },
    },
  ];
  const client = {
    async get() {
      const answer = answers.shift();
      if (answer instanceof WeirError) throw answer;
      return answer;
    },
  };
  const options = { client: client as unknown as Parameters<typeof removeState>[0], namespace: 'x' };
  assert.is(await waitForNodes({ ...options, daemonSet: 'weir-cleanup', timeoutMs: 600_000 }), 2);
  answers.push(new WeirError('API_FORBIDDEN', 'get', 'you may not'));
  const refused = await waitForNodes({ ...options, daemonSet: 'weir-cleanup', timeoutMs: 600_000 }).catch((e) => e);
  assert.is(refused.code, 'API_FORBIDDEN');
  answers.push(new WeirError('API_UNREACHABLE', 'get', 'no answer'));
  const late = await waitForNodes({ ...options, daemonSet: 'weir-cleanup', timeoutMs: 0 }).catch((e) => e);
  assert.is(late.code, 'API_UNREACHABLE');
});

/** The last Job of `helm uninstall`, where so many of two nodes are clean: what it says, what it removes, how it ends. */
async function finished(numberReady: number) {
  const { nodes, client: rest } = cluster(0);
  const removed: string[] = [];
  const status = { observedGeneration: 1, desiredNumberScheduled: 2, numberReady };
  const client = {
    ...rest,
    get: async () => ({ metadata: { name: 'weir-cleanup', generation: 1 }, status }),
    list: async (path: string, options: { labelSelector?: string }) =>
      path.endsWith('/pods') && options.labelSelector === 'app.kubernetes.io/name=weir-cleanup'
        ? { items: [{ metadata: { name: 'x' }, spec: { nodeName: 'away' } }] }
        : rest.list(path),
    remove: async (path: string) => void removed.push(path),
  } as unknown as Parameters<typeof removeState>[0];
  const told: string[] = [];
  const options = { client, namespace: 'x', daemonSet: 'weir-cleanup', timeoutMs: 0 };
  const error = await finishRemoval(options, (change) => told.push(change)).catch((cause: WeirError) => cause);
  const tainted = nodes.filter(({ spec }) => spec.taints.some(({ key }) => key === KEY));
  return { removed, told, error, tainted };
}

test('when every node is clean, what cleaned them goes too', async () => {
  const { removed, told, error, tainted } = await finished(2);
  assert.is(error, undefined);
  assert.equal(removed, [
    '/apis/apps/v1/namespaces/x/daemonsets/weir-cleanup',
    '/api/v1/namespaces/x/configmaps/weir-cleanup',
  ]);
  assert.is(told[0], '2 nodes are clean');
  assert.is(tainted.length, 0);
});

test('a node that is away keeps what will clean it, and nothing else', async () => {
  const { removed, error, tainted } = await finished(1);
  assert.match((error as WeirError).message, /^not clean after 0 s: away; the DaemonSet weir-cleanup goes on/);
  assert.equal([removed, tainted.length], [[], 0]);
});

test.run();

const program = suite('weir-install');
for (const [line, code, said] of [
  ['finish-removal --help', 0, /^Usage: weir-install VERB/],
  ['remove --help', 0, /^Usage: weir-install VERB/],
  ['remove-cni -h', 0, /^Usage: weir-install VERB/],
  ['finish-removal --timeout soon', 2, /--timeout: expected a whole number of seconds, got "soon"/],
  ['apply-crds --timeout 5', 2, /unknown flag --timeout/],
  ['removal', 2, /there is no "removal"; did you mean remove\?/],
] as const)
  program(line, async () => {
    const launcher = new URL('../../setup/weir-install', import.meta.url).pathname;
    // As on a machine whose own Node is an old one, or none.
    const ended = await tryCommand([launcher, ...line.split(' ')], { env: { PATH: '/usr/bin:/bin' } });
    assert.is(ended.code, code);
    assert.match(ended.stderr, said);
  });
program.run();
