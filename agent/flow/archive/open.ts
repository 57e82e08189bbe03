/** Flows on disk, where settings ask for them. */
import type { Config } from '../../config/config.ts';
import type { Problem } from '../../model/object.ts';
import type { Logger } from '../../run/log.ts';
import type { FlowArchive } from './archive.ts';

/** Undefined where none are asked for; only otherwise it is loaded. */
export async function openArchive(config: Config, log: Logger): Promise<FlowArchive | undefined> {
  if (config.flowHistoryDirectory === '') return undefined;
  const { FlowArchive } = await import('./archive.ts');
  return FlowArchive.open({
    directory: config.flowHistoryDirectory,
    maxBytes: config.flowHistoryMaxMiB * 2 ** 20,
    maxAgeMs: config.flowHistoryMaxHours * 3600_000,
    log,
  });
}

/** What people should know of it: that it cannot be written, as long as that is so. */
export function archiveProblems(archive: FlowArchive | undefined): Problem[] {
  const failure = archive?.stats().failure;
  if (failure === undefined) return [];
  const message = `flows cannot be written to disk: ${failure}`;
  return [{ severity: 'warning', code: 'flow-history', message, path: [], place: '', line: undefined }];
}
