/** Known mistakes in Istio's documents. Facts: reference seed-rows.md, rows 11 to 20 (istio/api). */
import type { Path, Service } from '../../model/object.ts';
import type { Report } from '../parse/report.ts';
import { type Fields, isFields } from '../parse/schema.ts';
import type { Written } from './lint.ts';

/** What DestinationRules say of one host. */
export interface HostSubsets {
  readonly names: ReadonlySet<string>;
  /** File and line of the first of them. */
  readonly where: string;
}

/** By full host name. */
export function destinationRules(written: readonly Written[]): ReadonlyMap<string, HostSubsets> {
  const out = new Map<string, HostSubsets>();
  for (const { raw, origin } of written) {
    const spec = fields((raw as Fields).spec);
    if (typeof spec.host !== 'string') continue;
    const host = fullHost(spec.host, raw as Fields);
    const names = list(spec.subsets).map((subset) => String(fields(subset).name));
    const before = out.get(host);
    const where = before?.where ?? `${origin.place}:${origin.line(['spec'])}`;
    out.set(host, { names: new Set([...(before?.names ?? []), ...names]), where });
  }
  return out;
}

/** missing-subset: a route to a subset that no DestinationRule of its host defines answers 503. */
export function virtualService(raw: Fields, rules: ReadonlyMap<string, HostSubsets>, report: Report): void {
  for (const { destination, path } of destinations(raw)) {
    const { host, subset } = destination;
    if (typeof host !== 'string' || typeof subset !== 'string') continue;
    const known = rules.get(fullHost(host, raw));
    if (known?.names.has(subset)) continue;
    const at = [...path, 'subset'];
    if (!known) {
      const message = `subset ${subset} of ${host} must be defined by a DestinationRule; none for ${host} is in these files`;
      report.warning('missing-subset', at, message);
      continue;
    }
    const has = known.names.size === 0 ? 'no subsets' : `only ${[...known.names].join(', ')}`;
    report.error(
      'missing-subset',
      at,
      `no DestinationRule defines subset ${subset} of ${host}; ${known.where} has ${has}`,
    );
  }
}

/** single-subset: whatever VirtualService names another subset answers 503. Only where none at hand shows what is named. */
export function destinationRule(raw: Fields, routed: ReadonlySet<string>, report: Report): void {
  const spec = fields(raw.spec);
  const subsets = list(spec.subsets).map((subset) => String(fields(subset).name));
  if (subsets.length !== 1 || typeof spec.host !== 'string' || routed.has(fullHost(spec.host, raw))) return;
  const message =
    `defines subset ${subsets[0]} of ${spec.host} alone; a route to any other subset, such as v2, fails: ` +
    'lint it together with the VirtualService that names the subsets';
  report.warning('single-subset', ['spec', 'subsets'], message);
}

/** Full names of the hosts that the VirtualServices send to. */
export function routedHosts(written: readonly Written[]): ReadonlySet<string> {
  const hosts = written.flatMap(({ raw }) =>
    [...destinations(raw as Fields)].map(({ destination }) => fullHost(String(destination.host), raw as Fields)),
  );
  return new Set(hosts);
}

function* destinations(raw: Fields): Generator<{ readonly destination: Fields; readonly path: Path }> {
  const spec = fields(raw.spec);
  for (const protocol of ['http', 'tcp', 'tls']) {
    for (const [i, rule] of list(spec[protocol]).entries()) {
      for (const [j, route] of list(fields(rule).route).entries()) {
        const path = ['spec', protocol, i, 'route', j, 'destination'];
        yield { destination: fields(fields(route).destination), path };
      }
    }
  }
}

/** A short name is one of the document's own namespace. */
function fullHost(host: string, { metadata }: Fields): string {
  if (host.includes('.')) return host;
  const { namespace } = fields(metadata);
  return `${host}.${typeof namespace === 'string' ? namespace : 'default'}.svc.cluster.local`;
}

/** or-trap: items of `rules` are alternatives; who and what in separate items open more than either alone. */
export function authorizationPolicy(raw: Fields, report: Report): void {
  const spec = fields(raw.spec);
  if (typeof spec.action === 'string' && spec.action !== 'ALLOW') return;
  const rules = list(spec.rules).map(fields);
  const onlyFrom = rules.findIndex((rule) => rule.from !== undefined && rule.to === undefined);
  const onlyTo = rules.findIndex((rule) => rule.to !== undefined && rule.from === undefined);
  if (onlyFrom < 0 || onlyTo < 0) return;
  const message =
    `rules[${onlyFrom}] has only from and rules[${onlyTo}] only to, and the items of rules are alternatives (OR): ` +
    `${fromText(rules[onlyFrom])} may do anything, or anybody may use ${toText(rules[onlyTo])}; to ask for both (AND), ` +
    'write from and to in one item';
  report.warning('or-trap', ['spec', 'rules'], message);
}

function fromText(rule: Fields | undefined): string {
  const sources = list(rule?.from).map((item) =>
    Object.values(fields(fields(item).source))
      .flat()
      .join(', '),
  );
  return sources.join(' or ') || 'the sources';
}

function toText(rule: Fields | undefined): string {
  const operations = list(rule?.to).map((item) =>
    Object.entries(fields(fields(item).operation))
      .map(([name, values]) => `${name} ${[values].flat().join(', ')}`)
      .join(' and '),
  );
  return operations.join(' or ') || 'the operations';
}

/** Values of the label `istio` on Services of a stock install; Prometheus' port there is http-monitoring of pilot. */
const STOCK_ISTIO = ['pilot', 'ingressgateway', 'egressgateway'];

/** monitor-matches-nothing: selects Services that do not exist, among the files or in a stock Istio. */
export function serviceMonitor(raw: Fields, services: readonly Service[], report: Report): void {
  const wanted = fields(fields(fields(raw.spec).selector).matchLabels);
  const labels = Object.entries(wanted);
  if (labels.length === 0) return;
  const text = labels.map(([key, value]) => `${key}=${value}`).join(',');
  const path = ['spec', 'selector', 'matchLabels'];
  if (services.some((service) => labels.every(([key, value]) => service.labels[key] === value))) return;
  if (typeof wanted.istio === 'string' && !STOCK_ISTIO.includes(wanted.istio)) {
    const message = `matches nothing in a stock Istio: no Service there has ${text}; istiod's has istio=pilot and the port http-monitoring`;
    report.warning('monitor-matches-nothing', path, message);
  } else if (services.length > 0) {
    report.warning('monitor-matches-nothing', path, `none of the Services in these files has ${text}`);
  }
}

function fields(value: unknown): Fields {
  return isFields(value) ? value : {};
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
