/** Figures as a table for people. */
import type { Figure } from './figure.ts';

const HEADINGS = ['', 'metric', 'Weir', '', 'compared with', '', 'ratio', 'spread', 'noise', 'goal', ''];

export function table(figures: readonly Figure[]): string {
  const rows = [HEADINGS, ...figures.map(row)];
  const widths = HEADINGS.map((_, column) => Math.max(...rows.map((cells) => cells[column]?.length ?? 0)));
  const numeric = new Set([2, 5, 6, 7, 8]);
  return rows
    .map((cells) =>
      cells
        .map((cell, i) => (numeric.has(i) ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

function row(figure: Figure): string[] {
  const { workload, metric, unit, ours, baseline, baselineName, ratio, spread, noise, goal, met } = figure;
  const verdict = met === null ? '' : met ? 'met' : 'MISSED';
  return [
    workload,
    metric,
    short(ours),
    unit,
    baselineName,
    short(baseline),
    ratio.toFixed(3),
    spread.toFixed(3),
    noise.toFixed(3),
    goal ?? '',
    verdict,
  ];
}

/** Four digits that matter. */
function short(value: number): string {
  return value >= 1000 ? String(Math.round(value)) : value.toPrecision(4);
}
