/** This node as its Node object has it: at the start, without the API server, with a bad disk, and when it is another Node. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { ownNode, whileNodeStays } from '../../agent/join/own-node.ts';
import { ApiError } from '../../agent/kubernetes/api-error.ts';
import type { KubernetesClient, KubernetesObject } from '../../agent/kubernetes/client.ts';
import type { Prefix } from '../../agent/model/address.ts';
import type { SourceChange } from '../../agent/model/object.ts';
import { createLogger } from '../../agent/run/log.ts';
import { readObject } from '../../agent/source/object/read-object.ts';
import type { Sink, Source } from '../../agent/source/source.ts';
import { suite } from '../kit/suite.ts';

const nodeObject = (...podCIDRs: string[]) => ({
  apiVersion: 'v1',
  kind: 'Node',
  metadata: { name: 'n1' },
  spec: { podCIDRs },
  status: { addresses: [{ type: 'InternalIP', address: '192.0.2.1' }] },
});

const first = suite('own node: at the start');

async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'wt-own-node-'));
  try {
    await body(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** What the agent learns of its node, with what it says in the log. */
async function learn(folder: string, answer: () => Promise<object>) {
  const log: string[] = [];
  const client: Pick<KubernetesClient, 'get' | 'server'> = {
    server: 'https://api',
    get: async <T = KubernetesObject>() => (await answer()) as T,
  };
  const node = await ownNode({
    ...{ client, nodeName: 'n1', stateDirectory: folder, signal: new AbortController().signal },
    log: createLogger({ level: 'info', format: 'text', write: (line) => void log.push(line) }),
  });
  return { node, log: log.join('') };
}
const away = async (): Promise<never> => {
  throw new ApiError('API_UNREACHABLE', 'GET', 'nobody answers');
};

first('what the API server said last is kept for a start without it', () =>
  inFolder(async (folder) => {
    const said = await learn(folder, async () => nodeObject('10.1.0.0/24', 'fd01::/64'));
    assert.equal(said.node, { addresses: ['192.0.2.1'], podCidrs: ['10.1.0.0/24', 'fd01::/64'] });
    const kept = await learn(folder, away);
    assert.equal(kept.node, said.node);
    assert.match(kept.log, /does not answer/);
  }),
);

first('a disk that takes nothing keeps no agent from starting: it is told, and the API server is believed', () =>
  inFolder(async (folder) => {
    mkdirSync(join(folder, '.node.json.new')); // Where the file is written first: nobody can open it.
    const { node, log } = await learn(folder, async () => nodeObject('10.1.0.0/24'));
    assert.equal(node.podCidrs, ['10.1.0.0/24']);
    assert.match(log, /cannot be written down/);
    assert.not(existsSync(join(folder, 'node.json')));
  }),
);

first('nothing is written when nothing is new', () =>
  inFolder(async (folder) => {
    const answer = async () => nodeObject('10.1.0.0/24');
    await learn(folder, answer);
    const file = join(folder, 'node.json');
    writeFileSync(file, `${readFileSync(file, 'utf8')} `);
    await learn(folder, answer);
    assert.ok(readFileSync(file, 'utf8').endsWith(' '));
  }),
);

first.run();

const stays = suite('own node: while it stays');

const change = (object: object): SourceChange => {
  const reading = readObject(object, { place: '', line: () => undefined });
  if (!reading.object) throw new Error(JSON.stringify(reading.problems));
  return { type: 'upsert', object: reading.object };
};

/** Runs a source that tells the changes, then waits for its end. Resolves with why it ended, and what it had told. */
async function run(podCidrs: readonly string[], changes: readonly SourceChange[]) {
  const told: SourceChange[] = [];
  const stop = new AbortController();
  const source: Source = {
    name: 'test',
    async run(sink, signal) {
      sink.change(changes);
      sink.synced();
      if (!signal.aborted) stop.abort();
      await new Promise(setImmediate);
    },
  };
  const sink: Sink = { change: (some) => void told.push(...some), synced: () => {}, problems: () => {} };
  const self = { nodeName: 'n1', podCidrs: podCidrs as Prefix[] };
  const ended = whileNodeStays(source, self).run(sink, stop.signal);
  const why = await ended.then(
    () => 'stopped',
    (error: Error) => error.message,
  );
  return { why, told: told.length };
}

const ROWS: readonly (readonly [what: string, object: object, why: RegExp])[] = [
  ['the same pod CIDRs, in any order', nodeObject('fd01::/64', '10.1.0.0/24'), /^stopped$/],
  ['none yet: a Node that was made anew', nodeObject(), /^stopped$/],
  ['those of another node', { ...nodeObject('10.9.0.0/24'), metadata: { name: 'n2' } }, /^stopped$/],
  [
    'others: a Node that was made anew',
    nodeObject('10.2.0.0/24', 'fd02::/64'),
    /10\.2\.0\.0\/24, fd02::\/64.*starting anew/,
  ],
  ['one less', nodeObject('10.1.0.0/24'), /starting anew/],
];
for (const [what, object, why] of ROWS) {
  stays(`${what}`, async () => {
    const ended = await run(['10.1.0.0/24', 'fd01::/64'], [change(object)]);
    assert.match(ended.why, why);
    assert.is(ended.told, 1);
  });
}

stays.run();
