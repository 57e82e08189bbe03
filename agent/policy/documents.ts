/** The documents the engine knows: which version of each is in force, and what it says now that time has passed. */
import { type Document, type ObjectRef, type Problem, refKey } from '../model/object.ts';
import type { Attribution } from './attribution.ts';
import type { ActiveRule } from './compile/direction.ts';
import type { ParseOptions } from './parse/language.ts';
import { type Parsed, parse } from './parse/parse.ts';
import type { CidrGroup, ParsedDocument, PolicySpec } from './rule.ts';
import { type Selector, selectorMatches } from './select/selector.ts';
import { createSelectorIndex } from './select/selector-index.ts';
import type { Subject } from './subject.ts';

/**
 * - valid: in force as written
 * - kept-previous: refused; the last valid version stays in force
 * - isolating: refused, no valid version; isolates what its selector selects and allows nothing
 * - unreadable: refused, and not even its selector can be read; only reported
 */
export type DocumentState = 'valid' | 'kept-previous' | 'isolating' | 'unreadable';

export interface KnownDocument {
  readonly ref: ObjectRef;
  readonly status: DocumentState;
  readonly problems: readonly Problem[];
  /** What is in force; undefined for an unreadable document. */
  readonly inForce: ParsedDocument | undefined;
  /** The last valid version as it came. */
  readonly lastValid: { readonly document: Document; readonly parsed: ParsedDocument } | undefined;
}

export interface Documents {
  /** `now` in milliseconds since 1970. */
  upsert(document: Document, now: number): { before: KnownDocument | undefined; after: KnownDocument };
  remove(ref: ObjectRef): KnownDocument | undefined;
  all(): KnownDocument[];
  /** Documents that select the subject, first those of a namespace, then the clusterwide ones, each in the order they came. */
  selecting(subject: Pick<Subject, 'labels'>): KnownDocument[];
}

export function createDocuments(options: ParseOptions, attribution: Attribution): Documents {
  const known = new Map<string, KnownDocument>();
  /** Where a document comes in the order: its next version stays there. */
  const places = new Map<string, number>();
  let nextPlace = 0;
  const index = createSelectorIndex();
  /** By the key of the selector that stands for them all in the index. */
  const bySubject = new Map<string, { readonly selector: Selector; readonly documents: Set<KnownDocument> }>();

  function place(key: string, document: KnownDocument): void {
    known.set(key, document);
    if (!places.has(key)) places.set(key, nextPlace++);
    for (const { subject } of document.inForce?.specs ?? []) {
      const entry = bySubject.get(subject.key) ?? { selector: subject, documents: new Set() };
      if (entry.documents.size === 0) {
        bySubject.set(subject.key, entry);
        index.add(subject);
      }
      entry.documents.add(document);
    }
  }

  function displace(document: KnownDocument | undefined): void {
    for (const { subject } of document?.inForce?.specs ?? []) {
      const entry = bySubject.get(subject.key);
      if (!entry?.documents.delete(document as KnownDocument) || entry.documents.size > 0) continue;
      bySubject.delete(subject.key);
      index.remove(entry.selector);
    }
  }

  function inOrder(a: KnownDocument, b: KnownDocument): number {
    const clusterwide = Number(a.ref.namespace === '') - Number(b.ref.namespace === '');
    return clusterwide || (places.get(refKey(a.ref)) ?? 0) - (places.get(refKey(b.ref)) ?? 0);
  }

  return {
    upsert(document, now) {
      const key = refKey(document.ref);
      const before = known.get(key);
      const parsed = parse(document, options);
      // Old rules go first: a rule at the same place keeps its number.
      if (parsed.document && before?.inForce) attribution.retire(before.inForce);
      const adopted = parsed.document && attribution.adopt(parsed.document, isAudited(parsed.document, now));
      const after = judge(document, { ...parsed, document: adopted }, before);
      displace(before);
      place(key, after);
      return { before, after };
    },
    remove(ref) {
      const key = refKey(ref);
      const before = known.get(key);
      known.delete(key);
      places.delete(key);
      displace(before);
      if (before?.inForce) attribution.retire(before.inForce);
      return before;
    },
    all: () => [...known.values()],
    selecting({ labels }) {
      const found = index.matching(labels).flatMap(({ key }) => [...(bySubject.get(key)?.documents ?? [])]);
      return [...new Set(found)].sort(inOrder);
    },
  };
}

function judge(document: Document, parsed: Parsed, before: KnownDocument | undefined): KnownDocument {
  const { ref } = document;
  const { problems, isolation } = parsed;
  if (parsed.document) {
    const lastValid = { document, parsed: parsed.document };
    return { ref, status: 'valid', problems, inForce: parsed.document, lastValid };
  }
  const lastValid = before?.lastValid;
  if (lastValid) return { ref, status: 'kept-previous', problems, inForce: lastValid.parsed, lastValid };
  return { ref, status: isolation ? 'isolating' : 'unreadable', problems, inForce: isolation, lastValid };
}

/** True while the policy is audited: it changes no verdict, what it would change is reported. */
export function isAudited({ lifetime }: ParsedDocument, now: number): boolean {
  return lifetime.audit && (lifetime.auditUntil === undefined || now < lifetime.auditUntil);
}

/** True once the policy's allows have ended. */
export function isExpired({ lifetime }: ParsedDocument, now: number): boolean {
  return lifetime.expiresAt !== undefined && now >= lifetime.expiresAt;
}

/** When the document next changes by itself. */
export function nextChange({ lifetime }: ParsedDocument, now: number): number | undefined {
  const times = [lifetime.audit ? lifetime.auditUntil : undefined, lifetime.expiresAt];
  const ahead = times.filter((time) => time !== undefined && time > now) as number[];
  return ahead.length === 0 ? undefined : Math.min(...ahead);
}

/** The specs of the document that select the subject. */
export function specsFor(document: ParsedDocument, { labels }: Pick<Subject, 'labels'>): readonly PolicySpec[] {
  return document.specs.filter((spec) => selectorMatches(spec.subject, labels));
}

/** The rules of a spec that count now: an expired policy allows nothing any more, but still denies and isolates. */
export function activeRules(document: ParsedDocument, spec: PolicySpec, now: number): ActiveRule[] {
  const audit = isAudited(document, now);
  const rules = isExpired(document, now) ? spec.rules.filter((rule) => rule.action === 'deny') : spec.rules;
  return rules.map((rule) => ({ rule, audit }));
}

/** True if the document's meaning depends on objects of this kind besides pods. */
export function refersTo(document: ParsedDocument, type: 'nodes' | 'services' | 'group'): boolean {
  return document.specs.some((spec) => spec.rules.some((rule) => rule.peers.some((peer) => peer.type === type)));
}

export function groupOf(document: KnownDocument | undefined): CidrGroup | undefined {
  return document?.inForce?.group;
}
