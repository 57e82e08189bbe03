/** The exports that settings ask for. */
import type { HubbleTeller } from '../api/hubble/flow-message.ts';
import type { Config } from '../config/config.ts';
import type { FlowHistory } from '../flow/history.ts';
import type { Logger } from '../run/log.ts';
import { type Exporter, type Place, startExport } from './export.ts';
import { RotatingFile } from './rotating-file.ts';
import { readSelection } from './select.ts';

export interface OpenExportsOptions {
  readonly config: Config;
  readonly history: FlowHistory;
  readonly teller: HubbleTeller;
  readonly log: Logger;
}

/** One for each place. Rejects with CONFIG_INVALID for lists and masks that cannot be read. */
export async function openExports({ config, history, teller, log }: OpenExportsOptions): Promise<Exporter[]> {
  const selected = readSelection(
    { allow: config.exportAllowList, deny: config.exportDenyList, fieldMask: config.exportFieldMask },
    teller,
  );
  const places: Place[] = [];
  if (config.exportFile !== '') {
    places.push(
      new RotatingFile({
        path: config.exportFile,
        maxBytes: config.exportFileMaxMiB << 20,
        backups: config.exportFileBackups,
        compress: config.exportFileCompress,
      }),
    );
  }
  if (config.exportOtlpUrl !== '') {
    const { OtlpLogs } = await import('./otlp.ts'); // 25 MiB of memory for those who want it
    const { exportOtlpUrl: url, exportOtlpHeadersFile: headersFile, exportOtlpCaFile: caFile } = config;
    places.push(new OtlpLogs({ url, headersFile, caFile, ...teller }));
  }
  return places.map((place) => {
    log.info('flows are exported', { to: place.name });
    return startExport({ history, teller, selected, place, log });
  });
}
