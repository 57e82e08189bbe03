/** What events need to name: rules and policies, also those that are gone but that events on their way still mention. */
import { formatPath, refKey } from '../model/object.ts';
import type { PolicyId, PolicyInfo, RuleId, RuleInfo, RuleMatch } from '../model/verdict.ts';
import { ruleId } from './parse/rule-maker.ts';
import type { ParsedDocument, PolicyRule, PortMatch } from './rule.ts';

/** How many rules and policies are remembered after they are gone. */
const HISTORY = 4096;

export interface Attribution {
  /** Registers the document's rules; gives a rule another number if its own belongs to another rule already. */
  adopt(document: ParsedDocument, audited: boolean): ParsedDocument;
  /** The document's rules are gone: they may be forgotten when room is needed. */
  retire(document: ParsedDocument): void;
  rule(id: RuleId): RuleInfo | undefined;
  policyAdded(info: PolicyInfo): void;
  policyRemoved(id: PolicyId): void;
  policy(id: PolicyId): PolicyInfo | undefined;
}

export function createAttribution(own: readonly PolicyRule[]): Attribution {
  const rules = history<RuleInfo>();
  const policies = history<PolicyInfo>();
  for (const rule of own) rules.put(rule.id, ruleInfo(rule, false));

  function number(rule: PolicyRule): PolicyRule {
    let { id } = rule;
    for (let attempt = 1; ; attempt++) {
      const holder = rules.get(id);
      if (!holder || sameRule(holder, rule)) return id === rule.id ? rule : { ...rule, id };
      id = ruleId(rule.document, rule.path, rule.direction, attempt);
    }
  }

  return {
    adopt(document, audited) {
      const specs = document.specs.map((spec) => ({
        ...spec,
        rules: spec.rules.map((rule) => {
          const numbered = number(rule);
          rules.put(numbered.id, ruleInfo(numbered, audited));
          return numbered;
        }),
      }));
      return { ...document, specs };
    },
    retire(document) {
      for (const spec of document.specs) for (const rule of spec.rules) rules.retire(rule.id);
    },
    rule: (id) => rules.get(id),
    policyAdded: (info) => policies.put(info.id, info),
    policyRemoved: (id) => policies.retire(id),
    policy: (id) => policies.get(id),
  };
}

function sameRule(info: RuleInfo, rule: PolicyRule): boolean {
  return (
    refKey(info.policy) === refKey(rule.document) &&
    formatPath(info.path) === formatPath(rule.path) &&
    info.direction === rule.direction
  );
}

function ruleInfo(rule: PolicyRule, audit: boolean): RuleInfo {
  const { id, tier, direction, action, path, place, line, description, log, document: policy } = rule;
  return { id, policy, tier, direction, action, audit, match: matchOf(rule), path, place, line, description, log };
}

function matchOf({ peers, ports }: PolicyRule): RuleMatch {
  const numbers = new Set(ports?.flatMap((port) => (port.type === 'named' ? port.protocols : [port.protocol])));
  const isWhole = (port: PortMatch, number: number): boolean =>
    port.type === 'range' && port.protocol === number && port.first === 0 && port.last === 65535;
  return {
    anyPeer: peers.some(({ type }) => type === 'any'),
    protocols: ports && [...numbers].map((number) => ({ number, ports: !ports.some((port) => isWhole(port, number)) })),
  };
}

interface History<Info> {
  get(id: number): Info | undefined;
  put(id: number, info: Info): void;
  retire(id: number): void;
}

/** Everything alive, and the latest HISTORY of what is not. */
function history<Info>(): History<Info> {
  const infos = new Map<number, Info>();
  /** In order of retirement. */
  const retired = new Set<number>();
  return {
    get: (id) => infos.get(id),
    put(id, info) {
      infos.set(id, info);
      retired.delete(id);
    },
    retire(id) {
      retired.delete(id);
      retired.add(id);
      const [oldest] = retired;
      if (retired.size <= HISTORY || oldest === undefined) return;
      retired.delete(oldest);
      infos.delete(oldest);
    },
  };
}
