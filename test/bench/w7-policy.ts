/** W7: the policy engine, in a process of its own: nothing else uses its event loop, and it has a network namespace (policy-kernel.ts). */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Bench } from './bench.ts';
import type { Figure } from './figure.ts';

const PROCESS = fileURLToPath(new URL('policy.ts', import.meta.url));

export async function policyEngine(bench: Bench): Promise<Figure[]> {
  const folder = await mkdtemp(join(tmpdir(), 'weir-w7-'));
  const file = join(folder, 'figures.json');
  try {
    await promisify(execFile)(process.execPath, [PROCESS, String(bench.rounds), file]);
    return JSON.parse(await readFile(file, 'utf8')) as Figure[];
  } finally {
    await rm(folder, { recursive: true });
  }
}
