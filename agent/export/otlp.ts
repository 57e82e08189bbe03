/** OTLP/HTTP logs: each flow a log record, whose body is the flow in Hubble's words. */
import { OTLPLogExporter } from '@opentelemetry/exporter-logs-otlp-http';
import { WeirError } from '../errors.ts';
import type { Place } from './export.ts';
import type { ExportEvent } from './lines.ts';

export interface OtlpOptions {
  /** The collector's address for logs, with its path: "http://collector:4318/v1/logs". */
  readonly url: string;
  readonly node: string;
  readonly cluster: string;
  readonly version: string;
  /** Longest that a batch may take, tries again included, before it is lost. */
  readonly timeoutMs?: number;
}

type LogRecord = Parameters<OTLPLogExporter['export']>[0][number];

/** SeverityNumber of the OpenTelemetry logs data model. */
const SEVERITY = { INFO: 9, WARN: 13 } as const;
/** ExportResultCode of the library. */
const SUCCESS = 0;
const TIMEOUT_MS = 5000;

export class OtlpLogs implements Place {
  readonly name: string;
  readonly #exporter: OTLPLogExporter;
  readonly #resource: LogRecord['resource'];
  readonly #scope: LogRecord['instrumentationScope'];

  constructor({ url, node, cluster, version, timeoutMs = TIMEOUT_MS }: OtlpOptions) {
    this.name = url;
    this.#exporter = new OTLPLogExporter({ url, timeoutMillis: timeoutMs, concurrencyLimit: 1 });
    const attributes = { 'service.name': 'weir', 'k8s.node.name': node, 'k8s.cluster.name': cluster };
    // Of a resource, the exporter reads its attributes.
    this.#resource = { attributes } as unknown as LogRecord['resource'];
    this.#scope = { name: 'weir', version };
  }

  write(events: readonly ExportEvent[]): Promise<void> {
    const records = events.map((event) => this.#record(event));
    return new Promise((resolve, reject) => {
      this.#exporter.export(records, ({ code, error }) => {
        if (code === SUCCESS) resolve();
        else {
          const message = `the collector did not take ${records.length} flows`;
          reject(new WeirError('EXPORT_FAILED', 'export flows', message, { cause: error }));
        }
      });
    });
  }

  close(): Promise<void> {
    return this.#exporter.shutdown();
  }

  #record(event: ExportEvent): LogRecord {
    const { flow, lost_events, time } = event;
    const isBad = lost_events !== undefined || (flow as { verdict?: string }).verdict === 'DROPPED';
    const at = hrTime(time);
    return {
      hrTime: at,
      hrTimeObserved: at,
      eventName: flow === undefined ? 'hubble.lost_events' : 'hubble.flow',
      severityNumber: isBad ? SEVERITY.WARN : SEVERITY.INFO,
      severityText: isBad ? 'WARN' : 'INFO',
      body: (flow ?? lost_events) as LogRecord['body'],
      attributes: {},
      droppedAttributesCount: 0,
      resource: this.#resource,
      instrumentationScope: this.#scope,
    } as LogRecord;
  }
}

/** Whole seconds since 1970, and nanoseconds, of RFC 3339 with microseconds. */
function hrTime(time: string): [number, number] {
  const fraction = /\.(\d+)Z$/.exec(time)?.[1] ?? '';
  return [Math.floor(Date.parse(time) / 1000), Number(fraction.padEnd(9, '0').slice(0, 9))];
}
