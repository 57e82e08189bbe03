/** The history on disk of a real agent that is killed: however it is asked, it shows what was before and tells what is gone. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { FlowsAnswer } from '../../agent/api/flows.ts';
import { createClient } from '../../agent/cli/client.ts';
import type { Flow, FlowLine } from '../../agent/flow/flow.ts';
import { type Guide, startGuide } from '../kit/guide.ts';
import { HubbleClient } from '../kit/hubble-grpc.ts';
import { privileged } from '../kit/privileged.ts';
import { StockHubble } from '../kit/stock-hubble.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';

const test = privileged(suite('flows: history over a crash'), 'root', 'btf', 'bpffs', 'hubble');
const CONNECTIONS = 20;
let folder = '';
let guide: Guide;
let hubble: StockHubble;
let grpc: HubbleClient;
/** What the agent told when it had come to disk. */
let before: readonly Flow[] = [];
/** Flows in memory just before it was killed. */
let inMemory = 0;

async function connect(count: number): Promise<void> {
  const { frontend, backend } = guide.pods;
  for (let i = 0; i < count; i++) {
    assert.is(await frontend.peer.tcp({ address: backend.ipv4, port: 8080 }), 'ok');
  }
}

function isConnection({ weir, l4 }: Flow): boolean {
  return weir.event === 'new' && l4?.TCP?.destination_port === 8080;
}

async function metric(name: string): Promise<number> {
  const { body } = await guide.node.get('/metrics');
  return Number(new RegExp(`^${name} (\\d+)`, 'm').exec(body)?.[1]);
}

test.before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wt-flow-restart-'));
  const socket = join(folder, 'hubble.sock');
  guide = await startGuide('restart', [
    `--flow-history-directory=${join(folder, 'flows')}`,
    `--hubble-socket=${socket}`,
  ]);
  hubble = new StockHubble({ server: `unix://${socket}`, home: folder });
  grpc = new HubbleClient(`unix:${socket}`);
  await connect(CONNECTIONS);
  await until(async () => (await metric('weir_flow_disk_records')) >= CONNECTIONS, { what: 'flows to be on disk' });
  before = (await guide.node.getJson<FlowsAnswer>('/v1/flows?first=5000')).flows;
  // some of this is in memory alone when the agent dies
  await connect(CONNECTIONS);
  await until(
    async () => {
      const { flows } = await guide.node.getJson<FlowsAnswer>('/v1/flows?first=5000');
      inMemory = flows.length;
      return flows.filter(isConnection).length === 2 * CONNECTIONS;
    },
    { what: 'the agent to have seen them', everyMs: 5 },
  );
  await guide.node.stopAgent('SIGKILL');
  await guide.node.startAgent();
});
test.after(async () => {
  grpc?.close();
  await guide?.node.close();
  await rm(folder, { recursive: true, force: true });
});

const hasAll = (uuids: readonly (string | undefined)[]) => {
  const set = new Set(uuids);
  assert.is(set.size, uuids.length, 'nothing twice');
  assert.equal(
    before.map(({ uuid }) => uuid).filter((uuid) => !set.has(uuid)),
    [],
  );
};

test('pages, `weir observe --since`: the flows from before, and how many the crash took', async () => {
  const { flows, lost } = await guide.node.getJson<FlowsAnswer>('/v1/flows?since=1h&first=5000');
  hasAll(flows.map(({ uuid }) => uuid));
  const gone = lost.reduce((sum, one) => sum + Number(one.num_events_lost), 0);
  const { stdout } = await guide.node.weir('observe', '--since', '1h', '-o', 'jsonpb');
  const lines = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as FlowLine);
  hasAll(lines.flatMap(({ flow }) => flow?.uuid ?? []));
  const dropped = lines.flatMap(({ lost_events }) => (lost_events ? [Number(lost_events.num_events_lost)] : []));
  assert.is(
    dropped.reduce((sum, one) => sum + one, 0),
    gone,
  );
  const crash = /weir_flow_disk_lost_total\{why="crash"\} (\d+)/.exec((await guide.node.get('/metrics')).body)?.[1];
  assert.is(gone, Number(crash));
  const run = runHex(before[0]?.uuid ?? '');
  const told = flows.filter(({ uuid }) => runHex(uuid) === run).length;
  const mark = await readFile(join(folder, 'flows', `${run}.ended`), 'utf8');
  assert.is(told + gone, Number(mark.split(' ')[0]) - 1);
  assert.ok(told + gone >= inMemory, `${told} told, ${gone} gone, ${inMemory} in memory`);
});

test('`hubble observe --since 2h`, --last and --first of the stock client', async () => {
  const since = await hubble.observe('--since', '2h');
  hasAll(since.map(({ uuid }) => uuid));
  const first = await hubble.observe('--first', '3');
  assert.equal(
    first.map(({ uuid }) => uuid),
    before.slice(0, 3).map(({ uuid }) => uuid),
  );
  const last = await hubble.observe('--last', String(since.length));
  assert.equal(
    last.slice(0, before.length).map(({ uuid }) => uuid),
    before.map(({ uuid }) => uuid),
  );
});

test('streams that follow begin with what was before, and go on with what comes: gRPC, NDJSON', async () => {
  const seconds = Math.floor(Date.now() / 1000) - 3600;
  const overGrpc = grpc.follow({ since: { seconds } });
  await overGrpc.has(before.length);
  const stop = new AbortController();
  const overHttp: FlowLine[] = [];
  const client = createClient('the agent', { socketPath: guide.node.apiSocket }, stop.signal);
  const following = (async () => {
    for await (const line of client.follow<FlowLine>('/v1/flows', { follow: 'true', since: '1h' })) overHttp.push(line);
  })();
  await until(() => overHttp.length >= before.length, { what: 'the history over HTTP' });
  await connect(1);
  const { flows } = await guide.node.getJson<FlowsAnswer>('/v1/flows?last=1&type=new&to_port=8080');
  const newest = flows[0]?.uuid;
  await until(() => overGrpc.lines.some(({ flow }) => flow?.uuid === newest), { what: 'the new flow over gRPC' });
  await until(() => overHttp.some(({ flow }) => flow?.uuid === newest), { what: 'the new flow over HTTP' });
  overGrpc.cancel();
  stop.abort();
  await following;
  hasAll(overGrpc.lines.flatMap(({ flow }) => flow?.uuid ?? []));
  hasAll(overHttp.flatMap(({ flow }) => flow?.uuid ?? []));
});

test('the log says what is there', () => {
  assert.match(guide.node.log(), 'flows of earlier runs are on disk');
});

/** The run in a uuid (agent/flow/present.ts). */
function runHex(uuid: string): string {
  const [a = '', b = '', c = '', d = ''] = uuid.split('-');
  return a + b + c.slice(1) + d.slice(1);
}

test.run();
