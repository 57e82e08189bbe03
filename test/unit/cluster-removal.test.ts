/** The end of an uninstallation, with kubelets that write their Nodes meanwhile. */
import * as assert from 'uvu/assert';
import { WeirError } from '../../agent/errors.ts';
import { removeState } from '../../agent/install/cluster-removal.ts';
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

test.run();
