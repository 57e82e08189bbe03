/** Two pods of one node, each with its own level of aggregation, changed while their connections live. */
import * as assert from 'uvu/assert';
import type { EndpointAnswer, EndpointsAnswer } from '../../agent/api/endpoints.ts';
import type { FlowsAnswer } from '../../agent/api/flows.ts';
import { AGGREGATION_ANNOTATION, AGGREGATION_LEVELS } from '../../agent/model/aggregation.ts';
import { type Guide, startGuide } from '../kit/guide.ts';
import { repositoryFile } from '../kit/node.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';

const test = suite('aggregation per pod');
let guide: Guide;
let pods: string;

test.before(async () => {
  guide = await startGuide('aggregation');
  pods = await repositoryFile('demo/manifests/pods.yaml');
  await guide.node.removeManifest('backend-policy.yaml');
  await until(async () => (await guide.node.getJson<{ policies: unknown[] }>('/v1/policies')).policies.length === 0, {
    what: 'the policy to be gone',
  });
});
test.after(() => guide?.node.close());

const endpoints = async (): Promise<readonly EndpointAnswer[]> =>
  (await guide.node.getJson<EndpointsAnswer>('/v1/endpoints')).endpoints;

/** Writes the guide's pods anew; the level is what this pod of namespace default asks for. In force when it returns. */
async function ask(pod: string, level: string): Promise<void> {
  const annotations = `\n  annotations: { ${AGGREGATION_ANNOTATION}: "${level}" }`;
  const expected = AGGREGATION_LEVELS.find((one) => one === level);
  const head = `  name: ${pod}\n  namespace: default`;
  assert.ok(pods.includes(head));
  await guide.node.writeManifest('pods.yaml', pods.replace(head, `${head}${annotations}`));
  await until(
    async () => {
      const found = (await endpoints()).find((one) => one.namespace === 'default' && one.podName === pod);
      return found?.aggregation === expected && found?.state === 'ready';
    },
    { what: `${pod} to be at ${expected ?? "the node's level"}` },
  );
}

/** Events of the connections from this port, by name, oldest first; once the last has come. */
async function told(port: number, last: string): Promise<FlowsAnswer['flows']> {
  const path = `/v1/flows?port=${port}&last=1000`;
  return until(
    async () => {
      const { flows } = await guide.node.getJson<FlowsAnswer>(path);
      return flows.some(({ weir }) => weir.event === last) ? flows : undefined;
    },
    { what: `the ${last} of the connection from port ${port}` },
  );
}

const packets = (flow: FlowsAnswer['flows'][number] | undefined): number =>
  (flow?.weir.initiator?.packets ?? 0) + (flow?.weir.responder?.packets ?? 0);

test('a pod under study tells every packet, its neighbour does not', async () => {
  const { frontend, stranger, backend } = guide.pods;
  await ask('frontend', 'none');
  const target = { address: backend.ipv4, port: 8080 };
  assert.is(await frontend.peer.tcp({ ...target, sourcePort: 41001 }), 'ok');
  assert.is(await stranger.peer.tcp({ ...target, sourcePort: 41002 }), 'ok');
  const studied = await told(41001, 'end');
  assert.is(studied.length, packets(studied.at(-1)), 'an event for each packet');
  const neighbour = await told(41002, 'end');
  assert.ok(neighbour.length < packets(neighbour.at(-1)), `${neighbour.length} events`);
  assert.equal(
    [...new Set(neighbour.map(({ weir }) => weir.event))].sort(),
    ['end', 'new', 'reply', 'update'],
    'medium: its beginning, first reply, FINs, and end',
  );
});

test('a change of the annotation changes connections that live', async () => {
  const { frontend, backend } = guide.pods;
  await ask('frontend', 'maximum');
  const connection = await frontend.peer.open({ address: backend.ipv4, port: 8080, sourcePort: 41003 });
  assert.is(await frontend.peer.say(connection, 'quiet'), 'ok');
  await ask('frontend', 'none');
  assert.is(await frontend.peer.say(connection, 'loud'), 'ok');
  const loud = await told(41003, 'update');
  assert.equal([loud[0]?.weir.event, loud[1]?.weir.event], ['new', 'update'], 'nothing between the two');
  assert.ok(packets(loud[1]) > packets(loud[0]) + 1, 'although something was sent');
  await ask('frontend', 'maximum');
  assert.is(await frontend.peer.say(connection, 'quiet again'), 'ok');
  await frontend.peer.hangUp(connection);
  const all = await told(41003, 'end');
  assert.is(all.at(-1)?.weir.event, 'end');
  assert.ok(packets(all.at(-1)) > packets(all.at(-2)) + 3, 'what was said last, and the goodbye, were not told');
});

test('endpoint list and get say which pod asks for what', async () => {
  await ask('frontend', 'low');
  const [frontend] = (await endpoints()).filter(
    ({ podName, namespace }) => `${namespace}/${podName}` === 'default/frontend',
  );
  const got = await guide.node.weir('endpoint', 'get', String(frontend?.id));
  assert.match(got.stdout, /^Aggregation: +low, as its pod asks$/m);
  const listed = await guide.node.weir('endpoint', 'list');
  assert.is(listed.stdout.match(/ low$/gm)?.length, 1, listed.stdout);
  const [other] = (await endpoints()).filter(({ aggregation }) => aggregation === undefined);
  assert.match(
    (await guide.node.weir('endpoint', 'get', String(other?.id))).stdout,
    /^Aggregation: +the node's setting$/m,
  );
});

test('what is no level is told, and changes nothing', async () => {
  await ask('frontend', 'everything');
  const { problems } = await guide.node.getJson<{ problems: { message: string }[] }>('/v1/status');
  const message =
    'annotation weir.dev/flow-aggregation of Pod default/frontend: expected one of none, low, medium, maximum, found "everything"; the node\'s setting counts';
  assert.ok(
    problems.some((problem) => problem.message === message),
    JSON.stringify(problems),
  );
});

test.run();
