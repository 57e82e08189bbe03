/** CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy v2. Facts: reference policy-language.md, B1, B4, B5. */
import { NAMESPACE_LABEL } from '../../model/labels.ts';
import type { Document, Path } from '../../model/object.ts';
import type { Direction } from '../../model/verdict.ts';
import type { PolicyRule, PolicySpec } from '../rule.ts';
import { type Requirement, type Selector, selector } from '../select/selector.ts';
import { rulePeers, type Scope } from './cilium-peers.ts';
import { icmpsMatches, toPortsMatches } from './cilium-ports.ts';
import { CILIUM_CLUSTERWIDE_POLICY, CILIUM_POLICY, DIRECTION_FIELDS } from './cilium-schema.ts';
import { inNamespace, labelSelector, type RawSelector, requirements } from './label-selector.ts';
import type { ParsedLanguage, ParseOptions } from './language.ts';
import { createReport, type Report } from './report.ts';
import { type RuleMaker, ruleMaker } from './rule-maker.ts';
import { checkSchema, type Fields, isFields, object } from './schema.ts';
import { nearest } from './suggest.ts';

export function parseCilium(document: Document, report: Report, options: ParseOptions): ParsedLanguage {
  const clusterwide = document.ref.kind === 'CiliumClusterwideNetworkPolicy';
  const scope: Scope = clusterwide ? '' : document.ref.namespace || 'default';
  checkSchema(document.raw, clusterwide ? CILIUM_CLUSTERWIDE_POLICY : CILIUM_POLICY, [], report);
  const specs = rawSpecs(document.raw);
  if (report.failed()) return { specs: [], isolation: specs.flatMap(({ raw }) => isolation(raw, document, scope)) };
  const make = ruleMaker(document, 'normal');
  return {
    specs: specs.map(({ raw, path }) => spec(raw as Fields, path, scope, make, report, options)),
    isolation: [],
  };
}

function rawSpecs(raw: unknown): { raw: unknown; path: Path }[] {
  if (!isFields(raw)) return [];
  const { spec: one, specs } = raw;
  const more = Array.isArray(specs) ? specs.map((item, i) => ({ raw: item, path: ['specs', i] })) : [];
  return one === undefined ? more : [{ raw: one, path: ['spec'] }, ...more];
}

function spec(
  raw: Fields,
  path: Path,
  scope: Scope,
  make: RuleMaker,
  report: Report,
  options: ParseOptions,
): PolicySpec {
  const log = (raw.log as { value?: string } | undefined)?.value ?? '';
  const rulesOf = (field: string, direction: Direction, action: PolicyRule['action']): PolicyRule[] =>
    ((raw[field] ?? []) as Fields[]).map((rule, i) =>
      make({ path: [...path, field, i], direction, action, log, ...ruleMatch(rule, direction, scope, options) }),
    );
  const rules = [
    ...rulesOf('ingressDeny', 'ingress', 'deny'),
    ...rulesOf('ingress', 'ingress', 'allow'),
    ...rulesOf('egressDeny', 'egress', 'deny'),
    ...rulesOf('egress', 'egress', 'allow'),
  ];
  // Unless told otherwise a direction is isolated by any entry in it; an empty list is no entry (B5, rule 4).
  const chosen = (raw.enableDefaultDeny ?? {}) as { ingress?: boolean; egress?: boolean };
  return {
    subject: subject(raw.endpointSelector as RawSelector, scope, [...path, 'endpointSelector'], report),
    rules,
    isolates: {
      ingress: chosen.ingress ?? rules.some((rule) => rule.direction === 'ingress'),
      egress: chosen.egress ?? rules.some((rule) => rule.direction === 'egress'),
    },
  };
}

/** A rule that names nobody and no port matches nothing: `ingress: [{}]` isolates and allows nothing (B5, rule 4). */
function ruleMatch(
  rule: Fields,
  direction: Direction,
  scope: Scope,
  options: ParseOptions,
): Pick<PolicyRule, 'peers' | 'ports'> {
  const peers = rulePeers(rule, direction, scope, options);
  const toPorts = (rule.toPorts ?? []) as Parameters<typeof toPortsMatches>[0];
  const icmps = (rule.icmps ?? []) as Parameters<typeof icmpsMatches>[0];
  const blocks = toPorts.length + icmps.length;
  const ports = blocks === 0 ? undefined : [...toPortsMatches(toPorts), ...icmpsMatches(icmps)];
  if (peers === undefined && ports === undefined) return { peers: [], ports };
  return { peers: peers ?? [{ type: 'any' }], ports };
}

/** Pods of the policy's own namespace, always; a selector that asks for another one loses that label, as in Cilium. */
function subject(raw: RawSelector, scope: Scope, path: Path, report: Report | undefined): Selector {
  const all = requirements(raw, 'endpoints');
  if (scope === '') return selector(all);
  const kept = all.filter((requirement, i) => {
    if (!contradicts(requirement, scope) || i >= Object.keys(raw.matchLabels ?? {}).length) return true;
    const message = `the policy applies to namespace ${scope} only; this label is ignored`;
    report?.warning('contradicting-namespace', path, message);
    return false;
  });
  if (
    kept.some(({ key, operator }) => key.startsWith('reserved:') && operator !== 'NotIn' && operator !== 'DoesNotExist')
  ) {
    report?.warning('selects-nothing', path, 'reserved labels are outside any namespace; use a clusterwide policy');
  }
  return selector([inNamespace(scope), ...kept]);
}

function contradicts(requirement: Requirement, scope: Scope): boolean {
  const isNamespace = requirement.key.replace(/^any:/, 'k8s:') === NAMESPACE_LABEL;
  return isNamespace && requirement.operator === 'In' && !requirement.values.includes(scope);
}

/** The isolation a refused rule set still means, if its own selector can be read and it names a direction. */
function isolation(raw: unknown, document: Document, scope: Scope): PolicySpec[] {
  if (!isFields(raw)) return [];
  const report = createReport(document);
  const readable = object({ endpointSelector: labelSelector('endpoints') }, { required: ['endpointSelector'] });
  checkSchema({ endpointSelector: raw.endpointSelector }, readable, [], report);
  if (report.failed()) return [];
  const isolates = { ingress: namesDirection(raw, 'ingress'), egress: namesDirection(raw, 'egress') };
  if (!isolates.ingress && !isolates.egress) return [];
  return [{ subject: subject(raw.endpointSelector as RawSelector, scope, [], undefined), rules: [], isolates }];
}

/** A misspelt direction names it too: "ingres" must not leave the pod open. */
function namesDirection(raw: Fields, direction: Direction): boolean {
  const names: readonly string[] = DIRECTION_FIELDS[direction];
  const every = [...DIRECTION_FIELDS.ingress, ...DIRECTION_FIELDS.egress, 'enableDefaultDeny', 'endpointSelector'];
  return Object.keys(raw).some((key) => names.includes(nearest(key, every) ?? ''));
}
