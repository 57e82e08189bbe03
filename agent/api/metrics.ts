/**
 * Metrics. Almost all are read from the state when somebody scrapes, so that they cost nothing in between and cannot
 * differ from what the API says. `weir_` are ours; `hubble_` have Hubble's names and labels, for boards made for it.
 */
import { readdirSync } from 'node:fs';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { type FlowEventName, LOSS_STAGES, type LossStage } from '../flow/flow.ts';
import type { CountedFamily, HubbleMetrics } from '../flow/metrics/hubble-metrics.ts';
import { hubbleProtocolName } from '../flow/transport.ts';
import { ciliumMetrics } from './cilium-metrics.ts';
import { ENDPOINT_STATES } from './endpoints.ts';
import { type ExportReport, exportMetrics } from './export-metrics.ts';
import { ruleMetrics } from './rule-metrics.ts';
import { POLICY_STATES, type State } from './state.ts';

export interface Metrics {
  readonly registry: Registry;
  /** A CNI request was answered; `code` is the CNI error code, 0 for success. */
  cniRequest(verb: string, code: number, seconds: number): void;
  /** An HTTP request was answered. */
  request(route: string, method: string, status: number): void;
  /** A connection was refused, or its bytes were no HTTP request. */
  requestRefused(): void;
  /** A connection to the Hubble API was refused. */
  hubbleRefused(): void;
}

export type Labels = Readonly<Record<string, string>>;
export type Sample = readonly [labels: Labels, value: number];

/** Hubble's kinds of message; `trace` is the rest. */
const HUBBLE_TYPES: { readonly [event in FlowEventName]?: string } = { drop: 'Drop', audit: 'PolicyVerdict' };

const LOST_SOURCES: Record<LossStage, string> = {
  ring: 'PERF_EVENT_RING_BUFFER',
  queue: 'OBSERVER_EVENTS_QUEUE',
  overwritten: '',
  subscriber: 'HUBBLE_RING_BUFFER',
};

/** What is counted beside the usual. */
export interface MetricsOptions {
  /** Hubble's metrics with labels of their own; without it, drop and flow without such labels. */
  readonly hubble?: HubbleMetrics;
  /** Cilium's own, for boards made for its agent. */
  readonly cilium?: boolean;
  /** Where flows are exported to. */
  readonly exports?: () => readonly ExportReport[];
  /** Most series of one metric whose labels come from the cluster. */
  readonly seriesMax?: number;
}

const SERIES_MAX = 10_000;

/** Adds a metric that is read when somebody scrapes. */
export type AddMetric = (name: string, help: string, labels: string[], samples: () => Iterable<Sample>) => unknown;

export function createMetrics(state: State, options: MetricsOptions = {}): Metrics {
  const registry = new Registry();
  const registers = [registry];
  /** A value that is read when scraped. */
  const read = (
    Kind: typeof Counter | typeof Gauge,
    name: string,
    help: string,
    labelNames: string[],
    samples: () => Iterable<Sample>,
  ) =>
    new Kind({
      name,
      help,
      labelNames,
      registers,
      collect() {
        this.reset();
        for (const [labels, value] of samples()) this.inc(labels, value);
      },
    });
  const counter = (name: string, help: string, labelNames: string[], samples: () => Iterable<Sample>) =>
    read(Counter, name, help, labelNames, samples);
  const gauge = (name: string, help: string, labelNames: string[], samples: () => Iterable<Sample>) =>
    read(Gauge, name, help, labelNames, samples);
  const one = (value: number): Sample[] => [[{}, value]];

  agentMetrics();
  flowMetrics();
  datapathMetrics();
  hubbleMetrics();
  const refusedRules = ruleMetrics(state, options.seriesMax ?? SERIES_MAX, counter, gauge);
  exportMetrics(options.exports ?? (() => []), counter, gauge);
  if (options.cilium) ciliumMetrics(state, counter, gauge);
  processMetrics();
  counter(
    'weir_metric_series_refused_total',
    'Counts that found no room because the metric has its most series already (metricSeriesMax)',
    ['metric'],
    () => [
      ...families().map(({ name, series }) => [{ metric: name }, series.refused] as const),
      [{ metric: 'weir_rule_hits_total' }, refusedRules()] as const,
    ],
  );

  const cni = new Histogram({
    name: 'weir_cni_request_duration_seconds',
    help: 'Time to answer a CNI request; code 0 is success',
    labelNames: ['verb', 'code'],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
    registers,
  });
  const requests = new Counter({
    name: 'weir_http_requests_total',
    help: 'Requests to the API, by route, method and status',
    labelNames: ['route', 'method', 'status'],
    registers,
  });
  const refused = new Counter({
    name: 'weir_http_refused_total',
    help: 'Connections beyond the limit, and bytes that were no HTTP request',
    registers,
  });
  const hubbleRefused = new Counter({
    name: 'weir_hubble_refused_total',
    help: 'Connections to the Hubble API beyond the limit, and TLS handshakes that failed',
    registers,
  });
  return {
    registry,
    cniRequest: (verb, code, seconds) => cni.observe({ verb, code: String(code) }, seconds),
    request: (route, method, status) => requests.inc({ route, method, status: String(status) }),
    requestRefused: () => refused.inc(),
    hubbleRefused: () => hubbleRefused.inc(),
  };

  function agentMetrics(): void {
    gauge('weir_info', 'Always 1; the labels say which agent this is', ['version', 'node'], () => {
      const { version, node } = state.status();
      return [[{ version, node }, 1]];
    });
    gauge('weir_ready', '1 when the agent is ready', [], () => one(state.status().pending.length === 0 ? 1 : 0));
    gauge('weir_policy_revision', 'Policy revision: desired by the documents, realized in the kernel', ['kind'], () =>
      Object.entries(state.status().revision).map(([kind, revision]) => [{ kind }, revision] as const),
    );
    gauge('weir_policies', 'Policy documents by status', ['status'], () =>
      tally('status', POLICY_STATES, state.policies(), (policy) => policy.status),
    );
    gauge('weir_problems', 'What a person should look at, by severity', ['severity'], () =>
      tally('severity', ['error', 'warning'], state.status().problems, (problem) => problem.severity),
    );
    gauge('weir_endpoints', 'Endpoints by state', ['state'], () =>
      tally('state', ENDPOINT_STATES, state.endpoints(), (endpoint) => endpoint.state),
    );
    gauge('weir_identities', 'Security identities this node knows', [], () => one(state.identities().length));
    gauge('weir_attachments_expected', 'Interfaces that should have their programs', [], () =>
      one(state.status().attachments.expected),
    );
    gauge('weir_attachments_missing', 'Interfaces that lack a program', [], () =>
      one(state.status().attachments.missing.length),
    );
  }

  function flowMetrics(): void {
    counter('weir_flow_events_total', 'Events stored, by event and verdict', ['event', 'verdict'], () =>
      state.flows.events().map(({ event, verdict, count }) => [{ event, verdict }, count] as const),
    );
    counter(
      'weir_flow_lost_total',
      'Events lost. ring: kernel buffer full; queue: event thread full; overwritten: history full; subscriber: reader too slow',
      ['stage'],
      () => {
        const losses = state.flows.losses();
        return LOSS_STAGES.map((stage) => [{ stage }, losses[stage]] as const);
      },
    );
    counter('weir_flow_unknown_total', 'Events of a type this agent does not know', [], () =>
      one(state.flows.stats().unknown),
    );
    gauge('weir_flow_records', 'Records in the history', [], () => one(state.flows.stats().records));
    gauge('weir_flow_capacity', 'Records the history has room for', [], () => one(state.flows.stats().capacity));
    gauge('weir_flow_history_seconds', 'Time between the oldest and the newest record', [], () =>
      one(state.flows.stats().seconds),
    );
    gauge('weir_flow_disk_bytes', 'Size of the history on disk', [], () => one(state.flows.archiveStats()?.bytes ?? 0));
    gauge('weir_flow_disk_records', 'Records of the history on disk', [], () =>
      one(state.flows.archiveStats()?.records ?? 0),
    );
    counter(
      'weir_flow_disk_lost_total',
      'Records that never came to disk. refused: it could not be written; slow: memory was overwritten first; crash: the run before ended first',
      ['why'],
      () => Object.entries(state.flows.archiveStats()?.lost ?? {}).map(([why, count]) => [{ why }, count] as const),
    );
    gauge('weir_flow_disk_failing', '1 while flows cannot be written to disk', [], () =>
      one(state.flows.archiveStats()?.failure === undefined ? 0 : 1),
    );
    gauge('weir_flow_followers', 'Open streams of flows', [], () => one(state.flows.stats().followers));
    counter(
      'weir_flow_tellings_total',
      'Flows told to followers. made: encoded for the first who wanted it so; shared: given to another',
      ['how'],
      () => Object.entries(state.flows.shared.tellings).map(([how, count]) => [{ how }, count] as const),
    );
    gauge('weir_flow_names', 'Names that records refer to', [], () => one(state.flows.stats().names));
    counter('weir_flow_names_refused_total', 'Names records had to do without: the tables were full', [], () =>
      one(state.flows.stats().namesRefused),
    );
  }

  function datapathMetrics(): void {
    counter('weir_forwarded_packets_total', "Packets passed, by direction from the pod's view", ['direction'], () =>
      Object.entries(state.counters().forwarded).map(([direction, packets]) => [{ direction }, packets] as const),
    );
    counter('weir_dropped_packets_total', 'Packets dropped, by reason and direction', ['reason', 'direction'], () =>
      state.counters().drops.map(({ reason, direction, count }) => [{ reason, direction }, count.packets] as const),
    );
    counter('weir_dropped_bytes_total', 'Bytes dropped, by reason and direction', ['reason', 'direction'], () =>
      state.counters().drops.map(({ reason, direction, count }) => [{ reason, direction }, count.bytes] as const),
    );
    gauge(
      'weir_uplink_guard',
      "1 for the guard of each uplink that is attached; mode: the driver's XDP (native), the kernel's in its place (generic), or tc",
      ['device', 'mode'],
      () =>
        state
          .status()
          .devices.flatMap(({ device, mode, fault }) =>
            mode === undefined || fault !== undefined ? [] : [[{ device, mode }, 1] as const],
          ),
    );
    counter('weir_consumed_packets_total', "Packets of the pod's own kernel, swallowed by design", [], () =>
      one(state.counters().consumed),
    );
    counter('weir_answered_packets_total', 'ARP and neighbour requests answered by the program', [], () =>
      one(state.counters().answered),
    );
    counter('weir_connections_opened_total', 'Connections that got an entry', [], () =>
      one(state.counters().connectionsOpened),
    );
    counter('weir_connections_closed_total', 'Connections closed by their ends', [], () =>
      one(state.counters().connectionsClosed),
    );
    counter('weir_judged_again_total', 'Packets of established connections judged again after a change', [], () =>
      one(state.counters().judgedAgain),
    );
    gauge('weir_map_entries', 'Entries in a kernel map', ['map'], () =>
      state.maps().map((map) => [{ map: map.name }, map.entries] as const),
    );
    gauge('weir_map_capacity', 'Entries a kernel map has room for', ['map'], () =>
      state.maps().map((map) => [{ map: map.name }, map.capacity] as const),
    );
  }

  function families(): readonly CountedFamily[] {
    return options.hubble?.families() ?? [];
  }

  function hubbleMetrics(): void {
    for (const { name, help, labels, series } of families()) {
      counter(name, help, [...labels], function* () {
        series.forgetGone();
        for (const { values, count } of series.samples()) {
          yield [Object.fromEntries(labels.map((label, i) => [label, values[i] as string])), count];
        }
      });
    }
    const isCounted = (name: string): boolean => families().some((family) => family.name === name);
    if (!isCounted('hubble_flows_processed_total')) {
      counter('hubble_flows_processed_total', 'Flows, as Hubble counts them', ['type', 'subtype', 'verdict'], () =>
        state.flows.events().map(({ event, verdict, count }) => {
          return [{ type: HUBBLE_TYPES[event] ?? 'Trace', subtype: '', verdict }, count] as const;
        }),
      );
    }
    if (!isCounted('hubble_drop_total')) {
      counter(
        'hubble_drop_total',
        "Drop events, by reason and protocol in Hubble's names",
        ['reason', 'protocol'],
        () =>
          state.flows.drops().map(({ reason, protocol, count }) => {
            return [{ reason: reason.hubble.name, protocol: hubbleProtocolName(protocol) }, count] as const;
          }),
      );
    }
    counter('hubble_lost_events_total', "Lost events, by Hubble's sources", ['source'], () => {
      const losses = state.flows.losses();
      return LOSS_STAGES.filter((stage) => LOST_SOURCES[stage] !== '').map(
        (stage) => [{ source: LOST_SOURCES[stage] }, losses[stage]] as const,
      );
    });
  }

  /** The usual ones. prom-client's own set would keep a timer running to measure the event loop. */
  function processMetrics(): void {
    counter('process_cpu_seconds_total', 'User and system CPU time', [], () => {
      const { user, system } = process.cpuUsage();
      return one((user + system) / 1e6);
    });
    gauge('process_resident_memory_bytes', 'Resident memory', [], () => one(process.memoryUsage.rss()));
    gauge('process_heap_bytes', 'JavaScript heap in use', [], () => one(process.memoryUsage().heapUsed));
    gauge('process_start_time_seconds', 'When the process started, seconds since 1970', [], () =>
      one(Math.round(performance.timeOrigin / 1000)),
    );
    gauge('process_open_fds', 'Open file descriptors', [], () => one(readdirSync('/proc/self/fd').length));
  }
}

/** How many there are of each kind, zeros included, so that a series does not come and go. */
function tally<T>(
  label: string,
  kinds: readonly string[],
  values: readonly T[],
  kindOf: (value: T) => string,
): Sample[] {
  return kinds.map((kind) => [{ [label]: kind }, values.filter((value) => kindOf(value) === kind).length]);
}
