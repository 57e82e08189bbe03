/**
 * One agent in a cluster of a thousand pods on twenty nodes, by a real API server: what the kernel holds is what the nodes
 * publish, whatever happens to the agent. `npm run bench -- scale` measures five thousand on a hundred.
 */
import * as assert from 'uvu/assert';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';
import { populate } from '../scale/crowd.ts';
import { SMALL } from '../scale/population.ts';
import { openStage, type Stage } from '../scale/stage.ts';
import { storm, Turnover } from '../scale/turnover.ts';

const LOCAL_PODS = 2;

const test = privileged(suite('a thousand pods of other nodes'), 'root', 'btf', 'bpffs', 'nft', 'api-server');
const closing = new AsyncDisposableStack();
let stage: Stage;
let turnover: Turnover;

test.before(async () => {
  stage = await openStage('scale', { scale: SMALL, localPods: LOCAL_PODS }, closing);
  turnover = closing.use(await Turnover.start(stage.api, stage.node.pinFolder, stage.crowd, SMALL));
});
test.after(() => closing.disposeAsync());

/** Of pods elsewhere: those of this node are its own matter. */
function differences(): string[] {
  const own = new Set(stage.node.pods.flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6]));
  const expected = turnover.expected();
  const found = new Map([...stage.map.pods()].filter(([address]) => !own.has(address)));
  return [...new Set([...expected.keys(), ...found.keys()])].flatMap((address) => {
    const [want, have] = [expected.get(address), found.get(address)];
    return want === have ? [] : [`${address}: expected identity ${want}, the kernel has ${have}`];
  });
}

const agreed = (what: string) =>
  until(() => differences().length === 0, {
    what,
    timeoutMs: 60_000,
    everyMs: 100,
    detail: () => differences().slice(0, 10).join('\n'),
  });

test('all of them come into the kernel, with the identities their nodes published', async () => {
  await populate(stage.crowd, SMALL);
  await agreed('a thousand pods in the kernel');
  assert.is(turnover.expected().size, 2 * SMALL.pods);
});

test('a storm of replaced pods loses none, and leaves none of the former owners', async () => {
  await storm(turnover, SMALL, 100, 2);
  await agreed('the last owners of all addresses');
});

test('what changed while the agent was away is in the kernel when it is ready again', async () => {
  await stage.node.stopAgent('SIGKILL');
  const before = stage.map.pods();
  await Promise.all([turnover.replace(1, 30), turnover.replace(2, 31)]);
  assert.equal(stage.map.pods(), before, 'nobody writes while there is no agent');
  assert.is(differences().length, 4);
  await stage.node.startAgent();
  await agreed('two changes from before the restart');
});

test('a node that goes takes its pods along, and only those', async () => {
  const [gone, rest] = [stage.crowd.nodes.get(SMALL.nodes), turnover.expected().size];
  await gone?.publish([]);
  const left = rest - 2 * (SMALL.pods / SMALL.nodes);
  await until(() => stage.map.pods().size === left + 2 * LOCAL_PODS, { what: 'its pods to go', timeoutMs: 30_000 });
});

test.run();
