import type { Problem } from '../model/object.ts';
import type { Exporter } from './export.ts';

/** What a person should know of: places that take no flows. */
export function exportProblems(exports: readonly Exporter[]): Problem[] {
  return exports.flatMap(({ name, stats }) => {
    const { failure, lost } = stats();
    if (failure === undefined) return [];
    const message = `flows cannot be exported to ${name}, ${lost.refused} are lost: ${failure}`;
    return [{ severity: 'warning', code: 'export-failing', message, path: [], place: '', line: undefined }] as const;
  });
}
