/** What became of flows that are exported, by where they go: file, otlp. */
import type { AddMetric } from './metrics.ts';

/** A place that flows are exported to, as export/ has it. */
export interface ExportReport {
  readonly kind: string;
  stats(): {
    readonly exported: number;
    /** By reason. */
    readonly lost: Readonly<Record<string, number>>;
    readonly behindSeconds: number;
    readonly failure: string | undefined;
  };
}

export function exportMetrics(exports: () => readonly ExportReport[], counter: AddMetric, gauge: AddMetric): void {
  const each = <Value>(read: (stats: ReturnType<ExportReport['stats']>) => Value) =>
    exports().map(({ kind, stats }): [{ to: string }, Value] => [{ to: kind }, read(stats())]);

  counter('weir_export_flows_total', 'Flows that arrived where they are exported to', ['to'], () =>
    each(({ exported }) => exported),
  );
  counter(
    'weir_export_lost_total',
    'Flows that did not arrive. refused: they could not be written; slow: they were overwritten before their turn came',
    ['to', 'why'],
    () =>
      each(({ lost }) => lost).flatMap(([labels, lost]) =>
        Object.entries(lost).map(([why, count]) => [{ ...labels, why }, count] as const),
      ),
  );
  gauge(
    'weir_export_behind_seconds',
    'Age of the oldest flow that is on its way to where it is exported to; 0: none is',
    ['to'],
    () => each(({ behindSeconds }) => behindSeconds),
  );
  gauge('weir_export_failing', '1 while flows cannot be exported; the log says why', ['to'], () =>
    each(({ failure }) => (failure === undefined ? 0 : 1)),
  );
}
