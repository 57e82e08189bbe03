/**
 * What boards made for Cilium's agent ask for, with Cilium's names and labels
 * (Documentation/observability/metrics.rst), as far as Weir knows it. Off unless the setting ciliumMetrics asks for it.
 */
import { DROP_REASONS } from '../flow/drop-reason.ts';
import { ENDPOINT_STATES } from './endpoints.ts';
import type { AddMetric, Sample } from './metrics.ts';
import type { State } from './state.ts';

/** Weir's states of an endpoint in Cilium's words; what has none goes by its own name. */
const ENDPOINT_STATE: Readonly<Record<string, string>> = { waiting: 'waiting-to-regenerate' };
/** Reason as Cilium's metric says it: Hubble's text. */
const REASON_TEXTS = new Map(DROP_REASONS.map(({ name, hubble }) => [name, hubble.text]));

export function ciliumMetrics(state: State, counter: AddMetric, gauge: AddMetric): void {
  const one = (value: number): Sample[] => [[{}, value]];
  gauge('cilium_version', 'Always 1; the version is a label', ['version'], () => [
    [{ version: state.status().version }, 1],
  ]);
  gauge('cilium_endpoint', 'Endpoints of this node', [], () => one(state.endpoints().length));
  gauge('cilium_endpoint_state', 'Endpoints by state', ['endpoint_state'], () =>
    ENDPOINT_STATES.map((kind) => [
      { endpoint_state: ENDPOINT_STATE[kind] ?? kind },
      state.endpoints().filter((endpoint) => endpoint.state === kind).length,
    ]),
  );
  gauge('cilium_policy', 'Policy documents', [], () => one(state.policies().length));
  gauge('cilium_policy_max_revision', 'Highest policy revision', [], () => one(state.status().revision.desired));
  gauge('cilium_policy_endpoint_enforcement_status', 'Endpoints by what is enforced', ['enforcement'], () => {
    const counts = { none: 0, ingress: 0, egress: 0, both: 0 };
    for (const { ingressEnforced, egressEnforced } of state.endpoints()) {
      counts[ingressEnforced ? (egressEnforced ? 'both' : 'ingress') : egressEnforced ? 'egress' : 'none']++;
    }
    return Object.entries(counts).map(([enforcement, count]) => [{ enforcement }, count]);
  });
  gauge('cilium_identity', 'Identities this node knows', ['type'], () => {
    const all = state.identities();
    const reserved = all.filter(({ number }) => number < 256).length;
    return [
      [{ type: 'reserved' }, reserved],
      [{ type: 'cluster_local' }, all.length - reserved],
    ];
  });
  counter('cilium_drop_count_total', 'Packets dropped', ['reason', 'direction'], () => drops(state, 'packets'));
  counter('cilium_drop_bytes_total', 'Bytes dropped', ['reason', 'direction'], () => drops(state, 'bytes'));
  counter('cilium_forward_count_total', 'Packets forwarded', ['direction'], () =>
    Object.entries(state.counters().forwarded).map(([way, packets]) => [{ direction: way.toUpperCase() }, packets]),
  );
  gauge('cilium_bpf_map_pressure', 'Fill of a map, 0 to 1', ['map_name'], () =>
    state.maps().map(({ name, entries, capacity }) => [{ map_name: name }, capacity === 0 ? 0 : entries / capacity]),
  );
  gauge('cilium_bpf_map_capacity', 'Entries a map has room for', ['map_group'], () =>
    state.maps().map(({ name, capacity }) => [{ map_group: name }, capacity]),
  );
}

/** Several reasons of Weir may be one of Cilium's. */
function drops(state: State, what: 'packets' | 'bytes'): Sample[] {
  const sums = new Map<string, Sample>();
  for (const { reason, direction, count } of state.counters().drops) {
    const labels = { reason: REASON_TEXTS.get(reason) ?? reason, direction: direction.toUpperCase() };
    const key = `${labels.reason}/${labels.direction}`;
    sums.set(key, [labels, (sums.get(key)?.[1] ?? 0) + count[what]]);
  }
  return [...sums.values()];
}
