/** Namespaces that are not a pod's. */
import * as assert from 'uvu/assert';
import { isOwnNetns } from '../../agent/endpoint/netns.ts';
import { suite } from '../kit/suite.ts';
import { createWorld } from './endpoint-world.ts';

const test = suite('adversary: endpoints');

test("the node's own namespace is not wired as a pod: its default route would point into the pod's end", async () => {
  const world = createWorld();
  try {
    for (const netns of [
      '/proc/self/ns/net',
      `/proc/${process.pid}/ns/net`,
      `/proc/${process.pid}/task/${process.pid}/ns/net`,
    ]) {
      world.namespaces.add(netns);
      const agent = await world.boot();
      const request = { containerId: 'c1', interfaceName: 'eth0', netns, network: 'weir', pod: undefined, mtu: 0 };
      const error = await agent.endpoints.add(request).catch((cause: { code: string; message: string }) => cause);
      assert.is((error as { code?: string }).code, 'CNI_BAD_ENVIRONMENT');
      assert.match((error as { message: string }).message, /is the node's own network namespace/);
      assert.equal(world.residue(), []);
    }
  } finally {
    world.remove();
  }
});

test('a path that is not there is nobody’s own', () => {
  assert.is(isOwnNetns('/run/netns/wt-no-such'), false);
  assert.is(isOwnNetns('/etc/hostname'), false);
});

test.run();
