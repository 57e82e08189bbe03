/** Flows exported to a real disk that is full, and to one that comes back: what is lost is counted to the flow. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
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
    await until(() => exporter.stats().exported + exporter.stats().lost === sent, { what: 'the flows to be settled' });
  };
  await send(100);
  assert.is(exporter.stats().lost, 0);

  await writeFile(join(disk, 'filler'), Buffer.alloc(1 << 20)).catch(() => {}); // as much as there is room for
  await send(2000);
  const { lost } = exporter.stats();
  assert.ok(lost > 0);
  assert.is(history.losses().subscriber, 0, 'the ring was read all the time');

  await rm(join(disk, 'filler'));
  await send(100);
  assert.is(exporter.stats().lost, lost);
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

test.run();
