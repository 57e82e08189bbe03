/** A disk that is full for a moment, pods that ended, deletes that come late: nobody may be forgotten or confused. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { ApplyResult, Datapath } from '../../agent/datapath/datapath.ts';
import { WeirError } from '../../agent/errors.ts';
import type { Prefix } from '../../agent/model/address.ts';
import { labelsKey } from '../../agent/model/labels.ts';
import { podLabels } from '../../agent/model/pod-labels.ts';
import { createEngine, type Engine } from '../../agent/policy/engine.ts';
import { CLAIM_RANK, createPeerTable } from '../../agent/realize/peer-table.ts';
import { createRealizer, type Realizer } from '../../agent/realize/realizer.ts';
import { createLogger } from '../../agent/run/log.ts';
import { readManifests } from '../../agent/source/manifests/read.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';
import { at, pod, podChange, record } from './realize-objects.ts';

const test = suite('adversary: realize');
const NOTHING: ApplyResult = { epochBumped: false, operations: 0, lockedDown: [] };

function start(): {
  realizer: Realizer;
  disk: { full: boolean; asked: number };
  engine: Engine & { broken: boolean };
  log: string[];
} {
  const disk = { full: false, asked: 0 };
  const log: string[] = [];
  const engine = { ...createEngine(), broken: false };
  const { take } = engine;
  engine.take = () => {
    if (engine.broken) throw new TypeError('cannot read properties of undefined');
    return take();
  };
  const given = new Map<string, number>();
  const realizer = createRealizer({
    engine,
    datapath: { replace: async () => NOTHING, apply: async () => NOTHING } as unknown as Datapath,
    identities: {
      acquire: async (labels) => {
        const key = labelsKey(labels);
        disk.asked += 1;
        const known = given.get(key);
        if (known !== undefined) return known;
        if (disk.full) throw new WeirError('STATE_NOT_DURABLE', 'acquire', 'no space left on device');
        given.set(key, 256 + given.size);
        return 255 + given.size;
      },
      release: () => {},
    },
    nodeName: 'here',
    podCidrs: ['10.244.0.0/24' as Prefix],
    labelsOf: (pod, namespace) => podLabels(pod, namespace, { clusterName: 'default' }),
    log: createLogger({ level: 'error', format: 'text', write: (line) => void log.push(line) }),
    lastValid: [],
    keepDocuments: async () => {},
    now: () => 0,
  });
  return { realizer, disk, engine, log };
}

test('a new number that cannot be written delays nobody else, is reported, and is tried again', async () => {
  const { realizer, disk } = start();
  realizer.change([podChange(pod('web', 'web')), podChange(pod('db', 'db'))]);
  realizer.synced();
  await Promise.all([realizer.admit(record(1, 'web'), undefined), realizer.admit(record(2, 'db'), undefined)]);
  const identityOf = (id: number): number | undefined => realizer.desired.members.get(id)?.identity;
  const [web, db] = [identityOf(1), identityOf(2)];
  disk.full = true;
  // web gets labels nobody has had, db those of web: the first cannot be numbered now, the second can
  realizer.change([podChange(pod('web', 'evil')), podChange(pod('db', 'web')), podChange(pod('far', 'far', [at(9)]))]);
  await until(() => realizer.failure?.code === 'STATE_NOT_DURABLE', { what: 'the failure to be told' });
  disk.full = false;
  await until(() => realizer.failure === undefined && identityOf(1) !== web, { what: 'the retry' });
  assert.is(identityOf(2), web);
  assert.is.not(identityOf(2), db);
  assert.is.not(realizer.desired.peers.at(at(9)), undefined);
  realizer.stop();
});

test('a pod whose labels get no number is told once, and is no fault of the node: other pods can come', async () => {
  const { realizer, disk, log } = start();
  realizer.change([podChange(pod('web', 'web'))]);
  realizer.synced();
  await realizer.admit(record(1, 'web'), undefined);
  disk.full = true;
  realizer.change([podChange(pod('web', 'evil'))]);
  const { asked } = disk;
  await until(() => disk.asked >= asked + 3, { what: 'two tries more' });
  assert.is(realizer.failure?.code, 'STATE_NOT_DURABLE');
  assert.ok(realizer.isApplied);
  assert.is(log.length, 1, log.join());
  await realizer.admit(record(2, 'db'), pod('db', 'web'));
  realizer.stop();
});

test('a mistake of our own in one revision is told, and does not stop the loop', async () => {
  const { realizer, engine } = start();
  realizer.synced();
  await realizer.firstRealized;
  engine.broken = true;
  const failed = await realizer.admit(record(1, 'web'), pod('web', 'web')).catch((error: WeirError) => error);
  assert.instance(failed, WeirError);
  assert.ok(realizer.failure);
  assert.not(realizer.isApplied);
  engine.broken = false;
  await until(() => realizer.failure === undefined, { what: 'the retry' });
  assert.ok(realizer.isApplied);
  assert.is(realizer.desired.members.get(1)?.state, 'ready');
  realizer.stop();
});

test('labels of identities that are gone are remembered for events, but not all of them for ever', async () => {
  const { realizer } = start();
  realizer.synced();
  await realizer.firstRealized;
  const churn = 6000;
  for (let i = 0; i < churn; i++) {
    realizer.desired.take(podChange(pod('job', `job-${i}`, [at(9)])));
    await realizer.desired.resolve();
  }
  const { labels: identityLabels, users: identityUsers } = realizer.desired.identities;
  const [last] = identityUsers.keys();
  assert.is(identityUsers.size, 1);
  assert.is(identityLabels.get(last ?? 0)?.get('k8s:app'), `job-${churn - 1}`);
  assert.ok(identityLabels.has((last ?? 0) - 1000), 'events on their way find their names');
  assert.ok(identityLabels.size < 4200, `${identityLabels.size} label sets`);
  realizer.stop();
});

test('a pod that is gone but not deleted yet does not win its address back when its labels change', () => {
  const table = createPeerTable();
  const claim = (identity: number) => [{ address: at(7), identity, endpoint: 0, kind: 'pod' as const }];
  table.claim('pod default/old', CLAIM_RANK.remotePod, claim(300));
  table.claim('pod default/new', CLAIM_RANK.remotePod, claim(301));
  table.claim('pod default/old', CLAIM_RANK.remotePod, claim(302));
  assert.is(table.at(at(7))?.identity, 301);
  table.withdraw('pod default/new');
  assert.is(table.at(at(7))?.identity, 302);
});

test('a pod that has ended has no address any more, whatever its status still says', () => {
  const folder = mkdtempSync(join(tmpdir(), 'weir-adversary-'));
  try {
    for (const phase of ['Running', 'Pending', 'Succeeded', 'Failed']) {
      const status = { phase, podIP: '10.244.0.7', podIPs: [{ ip: '10.244.0.7' }] };
      const object = { apiVersion: 'v1', kind: 'Pod', metadata: { name: phase.toLowerCase() }, status };
      writeFileSync(join(folder, `${phase}.json`), JSON.stringify(object));
    }
    const pods = readManifests(folder).objects.flatMap((object) => (object.kind === 'Pod' ? [object.value] : []));
    const withAddress = pods.filter(({ addresses }) => addresses.length > 0).map(({ name }) => name);
    assert.equal(withAddress.sort(), ['pending', 'running']);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.run();
