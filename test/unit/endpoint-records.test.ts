/** Endpoint records against bad disks: cut short, flipped, full, read-only, and things that are no records. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import {
  decodeRecord,
  encodeRecord,
  hostInterfaceName,
  parseRecordFileName,
  type RecordedEndpoint,
  recordFileName,
} from '../../agent/endpoint/record.ts';
import { openRecordStore, type RecordStore } from '../../agent/endpoint/record-store.ts';
import { WeirError } from '../../agent/errors.ts';
import type { Address } from '../../agent/model/address.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { container, createWorld } from './endpoint-world.ts';

const RECORD: RecordedEndpoint = {
  id: 17,
  containerId: 'c0ffee',
  interfaceName: 'eth0',
  netns: '/run/netns/cni-1',
  namespace: 'default',
  podName: 'frontend',
  podUid: '',
  addresses: ['10.7.0.2', 'fd07::2'] as Address[],
  mac: '0a:70:01:02:03:04',
  hostInterface: hostInterfaceName('c0ffee', 'eth0'),
  network: 'weir',
};
const FILE = recordFileName(RECORD, 'json');

const text = suite('endpoint record: text');
text('comes back as it was', () => {
  assert.equal(decodeRecord(encodeRecord(RECORD)), { record: RECORD, whole: true });
});
text('any one flipped bit leaves the record readable, and is seen', () => {
  const good = Buffer.from(encodeRecord(RECORD));
  for (let byte = 0; byte < good.length; byte++) {
    for (let bit = 0; bit < 8; bit++) {
      const bad = Buffer.from(good);
      bad[byte] = (bad[byte] as number) ^ (1 << bit);
      assert.equal(decodeRecord(bad.toString('utf8')), { record: RECORD, whole: false }, `byte ${byte} bit ${bit}`);
    }
  }
});
text('cut at any length it is the record or nothing, never another', () => {
  const good = encodeRecord(RECORD);
  const copy = (good.length - 1) / 2;
  for (let length = 0; length < good.length; length++) {
    const found = decodeRecord(good.slice(0, length));
    if (found) assert.equal(found, { record: RECORD, whole: false });
    assert.is(found !== undefined, length >= copy - 1, `length ${length}`); // the newline after it is not needed
  }
});
text('both copies damaged is nothing', () => {
  const good = Buffer.from(encodeRecord(RECORD));
  const half = good.length / 2;
  for (const [a, b] of [
    [0, good.length - 2],
    [100, Math.ceil(half) + 100],
    [half - 9, good.length - 9],
  ]) {
    const bad = Buffer.from(good);
    for (const at of [a, b]) bad[Math.floor(at as number)] = 0x58;
    assert.is(decodeRecord(bad.toString('utf8')), undefined, `bytes ${a} and ${b}`);
  }
});
text('a right checksum does not excuse wrong fields', () => {
  const wrong: object[] = [
    { ...RECORD, id: 0 },
    { ...RECORD, id: 4096 },
    { ...RECORD, id: '17' },
    { ...RECORD, addresses: ['10.7.0.999'] },
    { ...RECORD, addresses: '10.7.0.2' },
    { ...RECORD, netns: undefined },
    { ...RECORD, network: 3 },
    [],
  ];
  for (const each of wrong)
    assert.is(decodeRecord(encodeRecord(each as RecordedEndpoint)), undefined, JSON.stringify(each));
});
text('file names say id and interface, and nothing else passes for one', () => {
  assert.equal(parseRecordFileName(FILE), { id: 17, hostInterface: RECORD.hostInterface, kind: 'json' });
  for (const name of [
    '',
    '0.weir0123456789.json',
    '4096.weir0123456789.json',
    '1.weir012345678.json',
    '1.eth0.json',
    `${FILE}.broken`,
    `x${FILE}`,
  ]) {
    assert.is(parseRecordFileName(name), undefined, name);
  }
});
text.run();

async function inStore(body: (store: RecordStore, folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'wt-endpoint-records-'));
  const store = await openRecordStore(folder);
  try {
    await body(store, folder);
  } finally {
    store.close();
    rmSync(folder, { recursive: true });
  }
}

const files = suite('endpoint record: files');
files('staged, committed, removed', () =>
  inStore(async (store, folder) => {
    const staged = store.stage(RECORD);
    assert.equal(readdirSync(folder), [recordFileName(RECORD, 'staged')]);
    assert.equal((await store.load()).unanswered, [RECORD]);
    await staged.commit();
    assert.equal(readdirSync(folder), [FILE]);
    assert.equal(await store.load(), { records: [RECORD], unanswered: [], broken: [], problems: [] });
    store.remove(RECORD);
    store.remove(RECORD);
    assert.equal(readdirSync(folder), []);
  }),
);
files('one damaged copy: a warning, and the file is written anew', () =>
  inStore(async (store, folder) => {
    const good = encodeRecord(RECORD);
    writeFileSync(join(folder, FILE), good.slice(0, -10));
    const stored = await store.load();
    assert.equal(stored.records, [RECORD]);
    assert.equal(
      stored.problems.map(({ severity, code }) => [severity, code]),
      [['warning', 'record-damaged']],
    );
    assert.is(readFileSync(join(folder, FILE), 'utf8'), good);
  }),
);
files('dying while a damaged file is written anew does not make its pod unanswered', () =>
  inStore(async (store) => {
    await store.stage(RECORD).commit();
    store.stage(RECORD);
    const stored = await store.load();
    assert.equal([stored.records, stored.unanswered], [[RECORD], []]);
  }),
);
const UNREADABLE: readonly [what: string, content: Buffer | string][] = [
  ['empty', ''],
  ['zeros', Buffer.alloc(4096)],
  ['not UTF-8', Buffer.alloc(4096, 0xff)],
  ['huge', Buffer.alloc(10 << 20, 0x20)],
  ['of another id', encodeRecord({ ...RECORD, id: 18 })],
  ['of a later format', encodeRecord(RECORD).replaceAll('weir-endpoint-1', 'weir-endpoint-2')],
];
for (const [what, content] of UNREADABLE) {
  files(`${what}: reported by name, and set aside when asked`, () =>
    inStore(async (store, folder) => {
      writeFileSync(join(folder, FILE), content);
      const stored = await store.load();
      assert.equal([stored.records, stored.unanswered], [[], []]);
      assert.equal(stored.broken, [{ id: 17, hostInterface: RECORD.hostInterface, kind: 'json' }]);
      assert.equal(
        stored.problems.map(({ code, place }) => [code, place]),
        [['record-broken', join(folder, FILE)]],
      );
      store.setAside(stored.broken[0] as (typeof stored.broken)[0]);
      assert.equal(readdirSync(folder), [`${FILE}.broken`]);
      assert.equal(await store.load(), { records: [], unanswered: [], broken: [], problems: [] });
    }),
  );
}
files('a half written staged record is no problem, and is removed', () =>
  inStore(async (store, folder) => {
    writeFileSync(join(folder, recordFileName(RECORD, 'staged')), encodeRecord(RECORD).slice(0, 50));
    const stored = await store.load();
    assert.equal(stored.problems, []);
    store.setAside(stored.broken[0] as (typeof stored.broken)[0]);
    assert.equal(readdirSync(folder), []);
  }),
);
files('other files and folders are left alone, with a warning', () =>
  inStore(async (store, folder) => {
    writeFileSync(join(folder, 'notes.txt'), 'x');
    mkdirSync(join(folder, FILE));
    const stored = await store.load();
    assert.equal(stored.problems.map(({ code }) => code).sort(), ['record-broken', 'unexpected-file']);
    assert.equal(stored.records, []);
  }),
);
files('a broken record: its pod is taken off the network, and the agent starts', async () => {
  const world = createWorld();
  try {
    const { record } = await (await world.boot()).endpoints.add(container(world, 'a'));
    writeFileSync(join(world.folder, recordFileName(record, 'json')), 'gone');
    const agent = await world.boot();
    assert.equal(agent.restored.dropped, [{ id: record.id, why: 'its record is unreadable' }]);
    assert.equal(world.residue(), []);
    const again = await world.boot();
    assert.equal(again.restored, { endpoints: [], dropped: [], problems: [] });
  } finally {
    world.remove();
  }
});
files.run();

const disk = privileged(suite('endpoint record: full and read-only disks'), 'root');

/** A file system of its own of the given size in KiB. */
async function onTmpfs(kib: number, body: (store: RecordStore, folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'wt-endpoint-tmpfs-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${kib}k`, 'wt-endpoint', folder]);
  try {
    const store = await openRecordStore(folder);
    try {
      await body(store, folder);
    } finally {
      store.close();
    }
  } finally {
    execFileSync('umount', [folder]);
    rmSync(folder, { recursive: true });
  }
}

async function addFails(store: RecordStore, cause: RegExp): Promise<void> {
  const world = createWorld();
  try {
    const agent = await world.boot({ store });
    try {
      await agent.endpoints.add(container(world, 'a'));
      throw new Error('ADD succeeded');
    } catch (error) {
      assert.instance(error, WeirError, String(error));
      assert.is((error as WeirError).code, 'STATE_NOT_DURABLE');
      assert.match((error as WeirError).message, cause);
    }
    assert.equal(world.residue(), []);
    assert.is(agent.pool.use()[0]?.used, 0);
    assert.is(agent.endpoints.counters().changing, 0);
  } finally {
    world.remove();
  }
}

disk('full: ADD fails with the cause and leaves nothing; it works when there is room', () =>
  onTmpfs(16, async (store, folder) => {
    writeFileSync(join(folder, 'filler.txt'), Buffer.alloc(16 << 10));
    await addFails(store, /no space left/);
    assert.equal(readdirSync(folder), ['filler.txt']);
    rmSync(join(folder, 'filler.txt'));
    await store.stage(RECORD).commit();
    assert.equal((await store.load()).records, [RECORD]);
  }),
);
disk('full between stage and commit: nothing is promised, nothing stays', () =>
  onTmpfs(64, async (store, folder) => {
    const staged = store.stage(RECORD);
    rmSync(join(folder, recordFileName(RECORD, 'staged')));
    try {
      await staged.commit();
      throw new Error('committed');
    } catch (error) {
      assert.is((error as WeirError).code, 'STATE_NOT_DURABLE');
    }
  }),
);
disk('read-only: ADD fails, and what is there is still read', () =>
  onTmpfs(64, async (store, folder) => {
    await store.stage(RECORD).commit();
    execFileSync('mount', ['-o', 'remount,ro', folder]);
    assert.equal((await store.load()).records, [RECORD]);
    assert.throws(() => store.remove(RECORD), /read-only/);
    const empty = { records: [], unanswered: [], broken: [], problems: [] };
    await addFails({ ...store, load: async () => empty }, /read-only/);
  }),
);
disk.run();

const access = suite('endpoint record: access');
access('the folder and its files are for root only, and a record is one block of the disk', async () => {
  const parent = mkdtempSync(join(tmpdir(), 'wt-endpoint-access-'));
  try {
    const folder = join(parent, 'deep', 'endpoints');
    const store = await openRecordStore(folder);
    await store.stage(RECORD).commit();
    store.close();
    assert.is(statSync(folder).mode & 0o777, 0o700);
    assert.is(statSync(join(folder, FILE)).mode & 0o777, 0o600);
    assert.ok(statSync(join(folder, FILE)).size <= 4096);
  } finally {
    rmSync(parent, { recursive: true });
  }
});
access.run();
