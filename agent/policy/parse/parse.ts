/** A document of any policy language -> the rule model, or what a refused document still means. */
import type { Document, Problem } from '../../model/object.ts';
import type { ParsedDocument, PolicySpec } from '../rule.ts';
import { readAnnotations } from './annotations.ts';
import { parseCidrGroup } from './cidr-group.ts';
import { parseCilium } from './cilium.ts';
import { parseClusterNetworkPolicy } from './cluster-network-policy.ts';
import type { ParsedLanguage, ParseOptions } from './language.ts';
import { parseNetworkPolicy } from './network-policy.ts';
import { createReport, type Report } from './report.ts';

type LanguageParser = (document: Document, report: Report, options: ParseOptions) => ParsedLanguage;

/** "group kind" of everything the engine understands; versions of a group are read alike unless listed apart. */
const LANGUAGES: Readonly<Record<string, LanguageParser>> = {
  'cilium.io CiliumNetworkPolicy': parseCilium,
  'cilium.io CiliumClusterwideNetworkPolicy': parseCilium,
  'cilium.io CiliumCIDRGroup': parseCidrGroup,
  'networking.k8s.io NetworkPolicy': parseNetworkPolicy,
  'policy.networking.k8s.io ClusterNetworkPolicy': parseClusterNetworkPolicy,
  'policy.networking.k8s.io AdminNetworkPolicy': parseClusterNetworkPolicy,
  'policy.networking.k8s.io BaselineAdminNetworkPolicy': parseClusterNetworkPolicy,
};

/** True if documents of this kind are for the policy engine. */
export function isPolicyKind(apiVersion: string, kind: string): boolean {
  return Object.hasOwn(LANGUAGES, `${apiVersion.split('/')[0]} ${kind}`);
}

export interface Parsed {
  /** Undefined: refused. */
  readonly document: ParsedDocument | undefined;
  /** For a refused document: its subjects isolated, nothing allowed. Empty: not even the subjects can be read. */
  readonly isolation: ParsedDocument | undefined;
  readonly problems: readonly Problem[];
}

export function parse(document: Document, options: ParseOptions): Parsed {
  const report = createReport(document);
  const lifetime = readAnnotations(document, report);
  const { apiVersion, kind } = document.ref;
  const language = LANGUAGES[`${apiVersion.split('/')[0]} ${kind}`];
  if (!language) report.error('unknown-kind', ['kind'], `${apiVersion} ${kind} is no policy this engine knows`);
  const result = language?.(document, report, options) ?? { specs: [], isolation: [] };
  const inForce = (specs: readonly PolicySpec[]): ParsedDocument => ({
    specs: lifetime.keepEstablished ? specs.map(keepEstablished) : specs,
    lifetime,
    group: result.group,
  });
  const refused = report.failed();
  return {
    document: refused ? undefined : inForce(result.specs),
    isolation: refused && result.isolation.length > 0 ? inForce(result.isolation) : undefined,
    problems: report.problems,
  };
}

function keepEstablished(spec: PolicySpec): PolicySpec {
  return { ...spec, rules: spec.rules.map((rule) => (rule.action === 'deny' ? { ...rule, keep: true } : rule)) };
}
