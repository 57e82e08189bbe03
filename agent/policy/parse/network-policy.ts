/** Kubernetes NetworkPolicy (networking.k8s.io/v1), all of it. Facts: kubernetes/api networking/v1/types.go. */
import { parsePrefix } from '../../model/address.ts';
import type { Document, Path } from '../../model/object.ts';
import type { Direction } from '../../model/verdict.ts';
import { ALL_KINDS, type Peer, type PolicyRule, type PolicySpec, type PortMatch, PROTOCOL } from '../rule.ts';
import { selector } from '../select/selector.ts';
import { cidrPeer } from './cilium-peers.ts';
import { checkExcept } from './cilium-schema.ts';
import { IS_POD, inNamespace, labelSelector, type RawSelector, requirements } from './label-selector.ts';
import type { ParsedLanguage } from './language.ts';
import { createReport, type Report } from './report.ts';
import { type RuleMaker, ruleMaker } from './rule-maker.ts';
import { ANYTHING, checkSchema, type Fields, found, isFields, list, object, type Schema } from './schema.ts';

const CIDR: Schema = {
  type: 'text',
  check(text, path, report) {
    const prefix = text.includes('/') ? parsePrefix(text) : undefined;
    if (!prefix) report.error('bad-cidr', path, `expected a CIDR like 10.0.0.0/8 or fd00::/8, found ${found(text)}`);
  },
};
const IP_BLOCK = object(
  { cidr: CIDR, except: list(CIDR) },
  {
    required: ['cidr'],
    check: (value, path, report) => checkExcept(value.cidr as string, (value.except ?? []) as string[], path, report),
  },
);
const PEER = object(
  { podSelector: labelSelector('pods'), namespaceSelector: labelSelector('namespaces'), ipBlock: IP_BLOCK },
  {
    check(value, path, report) {
      const names = Object.keys(value);
      if (names.length === 0) {
        report.error('missing-field', path, 'expected podSelector, namespaceSelector or ipBlock');
      }
      if (names.includes('ipBlock') && names.length > 1) {
        report.error('not-exactly-one', path, 'ipBlock stands alone, without podSelector and namespaceSelector');
      }
    },
  },
);
const PORT = object(
  {
    protocol: { type: 'text', values: ['TCP', 'UDP', 'SCTP'] },
    port: { type: 'number-or-text', check: checkPort },
    endPort: { type: 'integer', min: 1, max: 65535 },
  },
  { check: checkEndPort },
);
const SCHEMA = object(
  {
    apiVersion: ANYTHING,
    kind: ANYTHING,
    metadata: ANYTHING,
    status: ANYTHING,
    spec: object({
      podSelector: labelSelector('pods'),
      policyTypes: list({ type: 'text', values: ['Ingress', 'Egress'] }),
      ingress: list(object({ from: list(PEER), ports: list(PORT) })),
      egress: list(object({ to: list(PEER), ports: list(PORT) })),
    }),
  },
  { required: ['spec'] },
);

interface RawPeer {
  readonly podSelector?: RawSelector;
  readonly namespaceSelector?: RawSelector;
  readonly ipBlock?: { readonly cidr: string; readonly except?: readonly string[] };
}
interface RawPort {
  readonly protocol?: 'TCP' | 'UDP' | 'SCTP';
  readonly port?: number | string;
  readonly endPort?: number;
}
interface RawRule {
  readonly from?: readonly RawPeer[];
  readonly to?: readonly RawPeer[];
  readonly ports?: readonly RawPort[];
}

export function parseNetworkPolicy(document: Document, report: Report): ParsedLanguage {
  const namespace = document.ref.namespace || 'default';
  const raw = withoutNulls(document.raw, [], report) as Fields;
  checkSchema(raw, SCHEMA, [], report);
  if (report.failed()) return { specs: [], isolation: isolation(raw, document, namespace) };
  const spec = raw.spec as Fields;
  const isolates = policyTypes(spec);
  const make = ruleMaker(document, 'normal');
  const rules = (['ingress', 'egress'] as const).flatMap((direction) => {
    const rawRules = (spec[direction] ?? []) as RawRule[];
    if (!isolates[direction] && rawRules.length > 0) {
      const message = `has no effect: policyTypes does not contain ${direction === 'ingress' ? 'Ingress' : 'Egress'}`;
      report.warning('no-effect', ['spec', direction], message);
    }
    return isolates[direction] ? rawRules.map((rule, i) => allow(rule, i, direction, namespace, make, report)) : [];
  });
  const subject = selector([inNamespace(namespace), ...requirements((spec.podSelector ?? {}) as RawSelector, 'pods')]);
  return { specs: [{ subject, rules, isolates }], isolation: [] };
}

/** What a field without a value means in a rule: everybody, or every port. */
const OPENING = ['from', 'to', 'ports'];

/** A field of a type built into Kubernetes that has no value is absent there, like "podSelector:" with nothing behind it. */
function withoutNulls(value: unknown, path: Path, report: Report): unknown {
  if (Array.isArray(value)) return value.map((item, i) => withoutNulls(item, [...path, i], report));
  if (!isFields(value)) return value;
  const fields = Object.entries(value).flatMap(([name, child]): [string, unknown][] => {
    if (child !== null) return [[name, withoutNulls(child, [...path, name], report)]];
    if (OPENING.includes(name)) {
      const all = name === 'ports' ? 'every port' : 'everybody';
      report.warning('nothing-given', [...path, name], `nothing stands here, which means ${all}, as without the field`);
    }
    return [];
  });
  return Object.fromEntries(fields);
}

/** Without policyTypes: Ingress always, Egress if there is an egress section that is not empty. */
function policyTypes(spec: Fields): PolicySpec['isolates'] {
  const types = Array.isArray(spec.policyTypes) ? spec.policyTypes : [];
  if (types.length > 0) return { ingress: types.includes('Ingress'), egress: types.includes('Egress') };
  return { ingress: true, egress: Array.isArray(spec.egress) && spec.egress.length > 0 };
}

function allow(
  raw: RawRule,
  index: number,
  direction: Direction,
  namespace: string,
  make: RuleMaker,
  report: Report,
): PolicyRule {
  const path: Path = ['spec', direction, index];
  const who = (direction === 'ingress' ? raw.from : raw.to) ?? [];
  const peers: Peer[] = who.length === 0 ? [{ type: 'any' }] : who.map((peer) => rulePeer(peer, namespace));
  const named = raw.ports?.some((port) => typeof port.port === 'string');
  if (direction === 'egress' && named && who.some((peer) => peer.ipBlock)) {
    report.warning('no-effect', path, 'a port name means nothing for an ipBlock: only pods have port names');
  }
  const ports = (raw.ports?.length ?? 0) === 0 ? undefined : raw.ports?.map(portMatch);
  return make({ path, direction, action: 'allow', peers, ports });
}

function rulePeer({ podSelector, namespaceSelector, ipBlock }: RawPeer, namespace: string): Peer {
  if (ipBlock) return cidrPeer(ipBlock.cidr, ipBlock.except ?? [], ALL_KINDS);
  const where = namespaceSelector
    ? [IS_POD, ...requirements(namespaceSelector, 'namespaces')]
    : [inNamespace(namespace)];
  return { type: 'selector', selector: selector([...where, ...requirements(podSelector ?? {}, 'pods')]) };
}

/** The protocol defaults to TCP alone, unlike Cilium's ANY. */
function portMatch({ protocol: name = 'TCP', port, endPort }: RawPort): PortMatch {
  const protocol = PROTOCOL[name];
  if (typeof port === 'string') return { type: 'named', name: port, protocols: [protocol] };
  if (port === undefined) return { type: 'range', protocol, first: 0, last: 65535 };
  return { type: 'range', protocol, first: port, last: endPort ?? port };
}

function checkPort(port: number | string, path: Path, report: Report): void {
  if (typeof port === 'number') {
    if (port < 1 || port > 65535) report.error('bad-port', path, `expected 1 to 65535, found ${port}`);
  } else if (!/^[a-z0-9]+(-[a-z0-9]+)*$/.test(port) || !/[a-z]/.test(port) || port.length > 15) {
    const hint = /^[0-9]+$/.test(port) ? '; write a number without quotes' : '';
    report.error('bad-port', path, `expected a number or a port name, found ${found(port)}${hint}`);
  }
}

function checkEndPort(fields: Fields, path: Path, report: Report): void {
  const { port, endPort } = fields as RawPort;
  if (endPort === undefined) return;
  if (typeof port !== 'number') {
    report.error('unexpected-field', [...path, 'endPort'], 'endPort can only stand beside a port number');
  } else if (endPort < port) {
    report.error('out-of-range', [...path, 'endPort'], `expected ${port} (port) or more, found ${endPort}`);
  }
}

function isolation(document: unknown, origin: Document, namespace: string): PolicySpec[] {
  const spec = isFields(document) ? document.spec : undefined;
  if (!isFields(spec)) return [];
  const raw = spec.podSelector === undefined ? {} : spec.podSelector;
  const report = createReport(origin);
  checkSchema(raw, labelSelector('pods'), [], report);
  if (report.failed()) return [];
  const types = Array.isArray(spec.policyTypes) ? spec.policyTypes : [];
  const known = types.length > 0 && types.every((type) => type === 'Ingress' || type === 'Egress');
  // What cannot be read is taken to name the direction: a refused document never opens one.
  const isolates = known ? policyTypes(spec) : { ingress: true, egress: types.length > 0 || spec.egress !== undefined };
  const subject = selector([inNamespace(namespace), ...requirements(raw as RawSelector, 'pods')]);
  return [{ subject, rules: [], isolates }];
}
