/** A disk that is really full: the history stops and counts, the flows go on, and so does the history when there is room. */
import { mkdtemp, rm, unlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { FlowArchive } from '../../agent/flow/archive/archive.ts';
import { command } from '../kit/command.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import * as r from '../unit/flow-records.ts';

const test = privileged(suite('flow: a full disk'), 'root');
const DISK = 256 << 10;
let folder = '';

test.before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wt-disk-'));
  await command(['mount', '-t', 'tmpfs', '-o', `size=${DISK}`, 'wt-disk', folder]);
});
test.after(async () => {
  await command(['umount', folder]);
  await rm(folder, { recursive: true });
});

test('ENOSPC: counted, told as a problem, over when there is room; what was written is whole', async () => {
  const options = { directory: folder, maxBytes: 1 << 30, maxAgeMs: 1e9, everyMs: 1e6, retryMs: 0 };
  const archive = await FlowArchive.open(options);
  const { history } = r.makeHistory(500, { archive });
  const see = (count: number, firstPort: number) => history.listener(r.numbered(count, firstPort), count, 0);
  see(100, 1);
  await archive.flush();
  const ballast = join(folder, 'ballast');
  await writeFile(ballast, Buffer.alloc(DISK)).catch((error: NodeJS.ErrnoException) => assert.is(error.code, 'ENOSPC'));
  see(400, 101);
  await archive.flush();
  assert.match(archive.stats().failure ?? '', /ENOSPC/);
  see(500, 501);
  await archive.flush();
  assert.equal(archive.stats().lost, { refused: 400, slow: 0, crash: 0 });
  const inMemory = await history.page({ wanted: () => true, order: 'newest', count: 1000, cursor: undefined });
  assert.is(inMemory.flows.length, 600, '500 in memory, and 100 that came to disk before');
  await unlink(ballast);
  await archive.flush();
  assert.is(archive.stats().failure, undefined);
  await archive.close();

  const again = await FlowArchive.open(options);
  const after = r.makeHistory(500, { archive: again }).history;
  const { flows } = await after.page({ wanted: () => true, order: 'oldest', count: 2000, cursor: undefined });
  const ports = flows.map(({ l4 }) => l4?.TCP?.destination_port ?? 0);
  assert.equal(ports, [
    ...Array.from({ length: 100 }, (_, i) => 1 + i),
    ...Array.from({ length: 500 }, (_, i) => 501 + i),
  ]);
  assert.is(again.stats().unreadable, 0);
  await again.close();
});

test.run();
