/** Edits that may turn a denial around, the least first. Whether one does is found out by trying: see fix.ts. */
import { type Document, type ObjectRef, type Path, refKey } from '../../model/object.ts';
import type { PolicyRule } from '../rule.ts';
import { specPath } from '../spec-path.ts';
import type { Party } from '../workbench/party.ts';
import type { Decision, Holding, MatchedRule, Trace } from '../workbench/trace.ts';
import { type Candidate, valueAt } from './edit.ts';
import {
  ciliumRule,
  clusterRule,
  type Expression,
  inCilium,
  inNetworkPolicy,
  networkPolicyRule,
  tellingLabels,
  type Wanted,
} from './expression.ts';

export interface Denial {
  readonly wanted: Wanted;
  readonly subject: Party;
  readonly trace: Trace;
  readonly decision: Decision;
  /** The documents as they are, by refKey. */
  readonly documents: ReadonlyMap<string, Document>;
}

const EXPIRES = 'weir.dev/expires-at';

export function candidates(denial: Denial): Candidate[] {
  const { by } = denial.decision;
  if (by) return by.rule.tier === 'normal' ? withoutDeny(denial, by.rule) : beforeRule(denial, by.rule);
  return [...revived(denial), ...extended(denial), ...added(denial), ...newDocument(denial)];
}

/** Rules that would allow it, had their policy not expired. */
function revived({ trace, documents }: Denial): Candidate[] {
  const refs = new Map(trace.idle.filter(isExpiredAllow).map(({ rule }) => [refKey(rule.document), rule.document]));
  return [...refs.values()].flatMap((ref) => {
    const document = documents.get(refKey(ref));
    if (!document) return [];
    const path = ['metadata', 'annotations', EXPIRES];
    return [{ document, change: { type: 'remove', path } as const, sentence: `let ${refKey(ref)} live on` }];
  });
}

function isExpiredAllow({ rule, expired }: MatchedRule): boolean {
  return expired && rule.action === 'allow';
}

/** Allow rules that lack the port alone, or the peer alone, and say nothing else that would be opened along. */
function extended(denial: Denial): Candidate[] {
  return validHoldings(denial).flatMap(({ document, spec, expression }) =>
    spec.rules
      .filter((rule) => rule.direction === denial.wanted.direction && rule.action === 'allow')
      .flatMap((rule) => extendedRule(document, rule, expression)),
  );
}

function extendedRule(document: Document, rule: PolicyRule, { peer, port }: Expression): Candidate[] {
  const raw = valueAt(document.raw, rule.path) as { readonly [field: string]: unknown };
  const who = peer && (raw[peer.field] as unknown[] | undefined);
  const where = port && portList(raw, port.field);
  const out: Candidate[] = [];
  if (port && where && who?.length === 1) {
    const change = { type: 'add', path: [...rule.path, ...where.path], value: port.item } as const;
    out.push({ document, change, sentence: `add the port to ${rule.description}` });
  }
  if (peer && who && where?.items.length === 1) {
    const change = { type: 'add', path: [...rule.path, peer.field], value: peer.item } as const;
    out.push({ document, change, sentence: `add the peer to ${rule.description}` });
  }
  return out;
}

/** The only list of ports in a rule, wherever its language has it. */
function portList(
  raw: { readonly [field: string]: unknown },
  field: string,
): { readonly path: Path; readonly items: readonly unknown[] } | undefined {
  if (field === 'ports') return raw.ports ? { path: ['ports'], items: raw.ports as unknown[] } : undefined;
  const blocks = raw[field] as readonly { readonly [inner: string]: unknown }[] | undefined;
  const inner = field === 'icmps' ? 'fields' : 'ports';
  const items = blocks?.length === 1 ? (blocks[0]?.[inner] as unknown[] | undefined) : undefined;
  return items && { path: [field, 0, inner], items };
}

/** A rule of its own in a document that isolates the subject. */
function added(denial: Denial): Candidate[] {
  const { direction } = denial.wanted;
  return validHoldings(denial)
    .filter(({ spec }) => spec.isolates[direction])
    .flatMap(({ document, path, expression }) => {
      const value = isCilium(document.ref) ? ciliumRule(expression) : networkPolicyRule(expression);
      if (value === undefined) return [];
      const change = { type: 'add', path: [...path, direction], value } as const;
      return [{ document, change, sentence: `add a rule to ${refKey(document.ref)}` }];
    });
}

/** For subjects that no document isolates in which a rule could be written. */
function newDocument({ wanted, subject }: Denial): Candidate[] {
  const { direction } = wanted;
  const namespace = subject.pod?.namespace ?? 'default';
  const value = ciliumRule(inCilium(wanted, namespace));
  if (value === undefined) return [];
  const plain = (text: string): string => text.toLowerCase().replace(/[^a-z0-9]+/g, '-');
  const name = plain(`allow ${direction} ${subject.name} ${wanted.peer.name} ${wanted.target.number}`).slice(0, 63);
  const metadata = { name: name.replace(/-$/, ''), namespace };
  const labels = tellingLabels(subject);
  const spec = {
    endpointSelector: Object.keys(labels).length === 0 ? {} : { matchLabels: labels },
    enableDefaultDeny: { [direction]: false },
    [direction]: [value],
  };
  const raw = { apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata, spec };
  const ref: ObjectRef = { apiVersion: raw.apiVersion, kind: raw.kind, ...metadata, uid: '' };
  const document = { ref, annotations: {}, raw, origin: { place: '', line: () => undefined } };
  return [{ document, change: undefined, sentence: `add ${refKey(ref)}, which isolates nobody` }];
}

/** Less of a deny rule: an exception, one peer or one port less; at last all of it. */
function withoutDeny({ wanted, documents }: Denial, rule: PolicyRule): Candidate[] {
  const document = documents.get(refKey(rule.document));
  if (!document) return [];
  const raw = valueAt(document.raw, rule.path) as { readonly [field: string]: unknown };
  const out: Candidate[] = [];
  const remove = (path: Path, sentence: string): unknown =>
    out.push({ document, change: { type: 'remove', path: [...rule.path, ...path] }, sentence });
  const except = inCilium(wanted, '').peer?.item;
  for (const [field, items] of Object.entries(raw)) {
    if (!Array.isArray(items) || !/^(from|to)[A-Z]/.test(field)) continue;
    if (field.endsWith('CIDRSet') && typeof except === 'string') {
      for (const i of items.keys()) {
        const change = { type: 'add', path: [...rule.path, field, i, 'except'], value: except } as const;
        out.push({ document, change, sentence: `except the address in ${rule.description}` });
      }
    }
    if (field === 'toPorts' || items.length < 2) continue;
    for (const i of items.keys()) remove([field, i], `remove one peer of ${rule.description}`);
  }
  const ports = portList(raw, 'toPorts') ?? portList(raw, 'icmps');
  if (ports && ports.items.length > 1) {
    for (const i of ports.items.keys()) remove([...ports.path, i], `remove one port of ${rule.description}`);
  }
  remove([], `remove ${rule.description}`);
  return out;
}

/** Of ordered rules: one before the rule that denies, that passes the packet on or, if that is not enough, accepts it. */
function beforeRule({ wanted, documents }: Denial, rule: PolicyRule): Candidate[] {
  const document = documents.get(refKey(rule.document));
  if (!document) return [];
  const forerunner = rule.document.kind !== 'ClusterNetworkPolicy';
  const inserted = ['Pass', forerunner ? 'Allow' : 'Accept'].flatMap((action): Candidate[] => {
    const value = clusterRule(wanted, action, forerunner);
    if (value === undefined) return [];
    const change = { type: 'insert', path: rule.path, value } as const;
    return [{ document, change, sentence: `insert a rule before ${rule.description}` }];
  });
  const change = { type: 'remove', path: rule.path } as const;
  return [...inserted, { document, change, sentence: `remove ${rule.description}` }];
}

interface ValidHolding extends Pick<Holding, 'spec'> {
  readonly document: Document;
  /** Of the rule set in the document. */
  readonly path: Path;
  readonly expression: Expression;
}

/** Rule sets of the Normal tier in documents that are in force as they stand, with the packet in their language. */
function validHoldings({ trace, documents, wanted }: Denial): ValidHolding[] {
  return trace.holdings.flatMap(({ document: { ref, status, inForce }, spec }): ValidHolding[] => {
    const document = documents.get(refKey(ref));
    const isNetworkPolicy = ref.kind === 'NetworkPolicy';
    if (!document || status !== 'valid' || !(isNetworkPolicy || isCilium(ref))) return [];
    const path = specPath(document, inForce?.specs.indexOf(spec) ?? 0);
    const expression = isNetworkPolicy ? inNetworkPolicy(wanted, ref.namespace) : inCilium(wanted, ref.namespace);
    return [{ document, spec, path, expression }];
  });
}

function isCilium({ kind }: ObjectRef): boolean {
  return kind === 'CiliumNetworkPolicy' || kind === 'CiliumClusterwideNetworkPolicy';
}
