/** Flows exported to a real disk that is full, and to one that comes back: what is lost is counted to the flow. */
import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { startExport } from '../../agent/export/export.ts';
import type { ExportEvent } from '../../agent/export/lines.ts';
import { RotatingFile } from '../../agent/export/rotating-file.ts';
import { readSelection } from '../../agent/export/select.ts';
import { createLogger } from '../../agent/run/log.ts';
import { command } from '../kit/command.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';
import { batch, event, makeHistory } from '../unit/flow-records.ts';

const test = privileged(suite('export to a full disk'), 'root');
let disk: string;

test.before(async () => {
  disk = await mkdtemp(join(tmpdir(), 'wt-export-disk-'));
  await command(['mount', '-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', disk]);
});
test.after(async () => {
  if (disk === undefined) return;
  await command(['umount', disk]);
  await rm(disk, { recursive: true });
});

test('it loses its own flows, counted, and goes on when there is room; every line that is there is whole', async () => {
  const { history } = makeHistory(10_000);
  const teller = { node: 'node-1', run: history.run, cluster: 'default', version: '1' };
  const said: string[] = [];
  const path = join(disk, 'flows.log');
  const exporter = startExport({
    history,
    teller,
    selected: readSelection({ allow: '', deny: '', fieldMask: 'uuid,verdict' }, teller),
    place: new RotatingFile({ path, maxBytes: 1 << 20, backups: 1, compress: false }),
    log: createLogger({ level: 'info', format: 'text', write: (line) => void said.push(line) }),
  });
  await until(() => history.stats().followers === 1, { what: 'the export to begin' });
  let sent = 0;
  const send = async (count: number): Promise<void> => {
    history.listener(batch(...Array.from({ length: count }, () => event())), count, 0);
    sent += count;
    await until(() => exporter.stats().exported + exporter.stats().lost.refused === sent, {
      what: 'the flows to be settled',
    });
  };
  await send(100);
  assert.is(exporter.stats().lost.refused, 0);

  await writeFile(join(disk, 'filler'), Buffer.alloc(1 << 20)).catch(() => {}); // as much as there is room for
  await send(2000);
  const {
    lost: { refused: lost },
  } = exporter.stats();
  assert.ok(lost > 0);
  assert.is(history.losses().subscriber, 0, 'the ring was read all the time');

  await rm(join(disk, 'filler'));
  await send(100);
  assert.equal(exporter.stats().lost, { refused: lost, slow: 0 });
  await exporter.close();

  const lines = (await readFile(path, 'utf8')).trimEnd().split('\n');
  const events = lines.map((line) => JSON.parse(line) as ExportEvent);
  const uuids = new Set(events.flatMap(({ flow }) => (flow as { uuid: string } | undefined)?.uuid ?? []));
  assert.is(uuids.size, exporter.stats().exported, 'each flow once');
  assert.is(uuids.size + lost, sent);
  const told = events.reduce((sum, { lost_events }) => sum + Number(lost_events?.num_events_lost ?? 0), 0);
  assert.is(told, lost, 'the file says so itself');
  assert.ok(
    said.some((line) => line.includes('cannot be exported') && line.includes('ENOSPC')),
    said.join(''),
  );
});

test('no room to compress what is put aside: it stays as it is, and nothing is half there', async () => {
  const folder = join(disk, 'aside');
  const place = new RotatingFile({ path: join(folder, 'flows.log'), maxBytes: 90_000, backups: 5, compress: true });
  const write = (count: number) =>
    place.write(
      Array.from({ length: count }, () => ({
        node_name: randomBytes(500).toString('hex'),
        time: new Date().toISOString(),
      })),
    );
  await write(80);
  await writeFile(join(disk, 'filler'), Buffer.alloc(1 << 20)).catch(() => {});
  await write(20).catch(() => {}); // puts the file aside, and finds no room
  const names = await readdir(folder);
  assert.equal(
    names.filter((name) => name.endsWith('.gz')),
    [],
    names.join(),
  );
  await rm(join(disk, 'filler'));
  await write(20);
  await place.close();
  let lines = 0;
  for (const name of await readdir(folder))
    lines += (await readFile(join(folder, name), 'utf8')).split('\n').length - 1;
  assert.is(lines, 100);
});

test.run();
