/** OTLP/HTTP logs: each flow a log record, whose body is the flow in Hubble's words. */
import { readFile } from 'node:fs/promises';
import { Agent } from 'node:http';
import { Agent as TlsAgent } from 'node:https';
import { OTLPLogExporter } from '@opentelemetry/exporter-logs-otlp-http';
import { WeirError } from '../errors.ts';
import type { Place } from './export.ts';
import { readHeaders } from './headers.ts';
import type { ExportEvent } from './lines.ts';

export interface OtlpOptions {
  /** The collector's address for logs, with its path: "http://collector:4318/v1/logs". */
  readonly url: string;
  /** Read for each batch, so that what is renewed there needs no restart; undefined: no headers but the usual. */
  readonly headersFile?: string | undefined;
  /** PEM, whose certificates the collector is known by; undefined: the system's. */
  readonly caFile?: string | undefined;
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
/** For the library to notice that its time is over. */
const GRACE_MS = 1000;

export class OtlpLogs implements Place {
  readonly kind = 'otlp';
  readonly name: string;
  readonly #deadlineMs: number;
  readonly #exporter: OTLPLogExporter;
  #agent: Agent | undefined;
  readonly #resource: LogRecord['resource'];
  readonly #scope: LogRecord['instrumentationScope'];

  constructor(options: OtlpOptions) {
    const { url, headersFile, caFile, node, cluster, version, timeoutMs = TIMEOUT_MS } = options;
    this.name = withoutSecrets(url);
    this.#deadlineMs = timeoutMs + GRACE_MS;
    this.#exporter = new OTLPLogExporter({
      url,
      timeoutMillis: timeoutMs,
      concurrencyLimit: 1,
      ...(headersFile && { headers: async () => readHeaders(await readFile(headersFile, 'utf8')) }),
      httpAgentOptions: async (protocol: string) => {
        this.#agent = await agentFor(protocol, caFile);
        return this.#agent;
      },
    });
    const attributes = { 'service.name': 'weir', 'k8s.node.name': node, 'k8s.cluster.name': cluster };
    // Of a resource, the exporter reads its attributes.
    this.#resource = { attributes } as unknown as LogRecord['resource'];
    this.#scope = { name: 'weir', version };
  }

  write(events: readonly ExportEvent[]): Promise<void> {
    const records = events.map((event) => this.#record(event));
    return new Promise((resolve, reject) => {
      const refuse = (why: string, cause?: Error): void => {
        const message = `the collector did not take ${records.length} flows: ${why}`;
        reject(new WeirError('EXPORT_FAILED', 'export flows', message, { cause }));
      };
      // The library's limit is on silence: a collector that answers a byte a second would never come to an end.
      const late = setTimeout(() => {
        refuse(`no answer within ${this.#deadlineMs} ms`);
        this.#agent?.destroy();
      }, this.#deadlineMs);
      this.#exporter.export(records, ({ code, error }) => {
        clearTimeout(late);
        if (code === SUCCESS) resolve();
        else refuse(error?.message ?? 'it did not say why', error);
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

/** For logs and metrics. */
function withoutSecrets(url: string): string {
  const { origin, pathname } = new URL(url);
  return `${origin}${pathname}`;
}

/** What the settings do not say, OpenTelemetry's variables do. */
async function agentFor(protocol: string, caFile: string | undefined): Promise<Agent> {
  if (protocol === 'http:') return new Agent({ keepAlive: true });
  const said = (what: string) =>
    process.env[`OTEL_EXPORTER_OTLP_LOGS_${what}`] ?? process.env[`OTEL_EXPORTER_OTLP_${what}`];
  const read = async (file: string | undefined) => (file ? readFile(file) : undefined);
  const files = [caFile || said('CERTIFICATE'), said('CLIENT_CERTIFICATE'), said('CLIENT_KEY')];
  const [ca, cert, key] = await Promise.all(files.map(read));
  return new TlsAgent({ keepAlive: true, ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) });
}

/** Whole seconds since 1970, and nanoseconds, of RFC 3339 with microseconds. */
function hrTime(time: string): [number, number] {
  const fraction = /\.(\d+)Z$/.exec(time)?.[1] ?? '';
  return [Math.floor(Date.parse(time) / 1000), Number(fraction.padEnd(9, '0').slice(0, 9))];
}
