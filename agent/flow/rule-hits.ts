/**
 * How often each rule decided, and when last: told from flow events and kept over restarts, so that rules nobody needs
 * can be found. A rule's number is a hash of its document and place, so it means the same after a restart.
 */
import { EventType } from '../datapath/layout.gen.ts';
import type { RuleId } from '../model/verdict.ts';
import type { StoredFlow } from './decode.ts';

export interface RuleHit {
  readonly rule: RuleId;
  /** Connections allowed, packets dropped or audited by it. */
  readonly hits: number;
  /** The last event that named it, a sign of life of an old connection included; ms since 1970, undefined: never. */
  readonly lastHit: number | undefined;
  /** Since when it is watched, ms since 1970: before that nobody can tell. */
  readonly since: number;
}

interface Entry {
  hits: number;
  lastHit: number;
  since: number;
}

/** Most rules remembered; beyond, those hit longest ago go first. */
const RULES_MAX = 100_000;

export class RuleHits {
  readonly #entries = new Map<RuleId, Entry>();

  /** Looks at a record that has its wall time. */
  readonly count = (flow: StoredFlow): void => {
    const isHit =
      flow.type === EventType.EVENT_NEW || flow.type === EventType.EVENT_AUDIT || flow.type === EventType.EVENT_DROP;
    for (const direction of [0, 1] as const) {
      const rule = flow.ruleId(direction);
      if (rule === 0) continue;
      const entry = this.#entries.get(rule) ?? this.#add(rule, flow.timeMs);
      if (isHit) entry.hits++;
      if (flow.timeMs > entry.lastHit) entry.lastHit = flow.timeMs;
    }
  };

  /** From now on these rules are watched, if they were not before. */
  watch(rules: Iterable<RuleId>, now: number): void {
    for (const rule of rules) if (!this.#entries.has(rule)) this.#add(rule, now);
  }

  of(rule: RuleId): RuleHit | undefined {
    const entry = this.#entries.get(rule);
    return entry && hit(rule, entry);
  }

  /** Text to be kept; `keep` says which rules are still of interest. */
  save(keep: (rule: RuleId) => boolean): string {
    const rows = [...this.#entries]
      .filter(([rule]) => keep(rule))
      .map(([rule, { hits, lastHit, since }]) => [rule, hits, lastHit, since]);
    return JSON.stringify({ version: 1, rules: rows });
  }

  /** Takes up what {@link save} wrote. Throws a TypeError for anything else, and has then taken nothing. */
  restore(text: string): void {
    const kept: unknown = JSON.parse(text);
    const rows = (kept as { readonly rules?: unknown }).rules;
    if ((kept as { readonly version?: unknown }).version !== 1 || !Array.isArray(rows) || !rows.every(isRow)) {
      throw new TypeError('expected {"version":1,"rules":[[rule, hits, lastHit, since], ...]}');
    }
    for (const [rule, hits, lastHit, since] of rows) {
      const now = this.#entries.get(rule);
      this.#entries.set(rule, {
        hits: hits + (now?.hits ?? 0),
        lastHit: Math.max(lastHit, now?.lastHit ?? 0),
        since: Math.min(since, now?.since ?? since),
      });
    }
  }

  #add(rule: RuleId, since: number): Entry {
    if (this.#entries.size >= RULES_MAX) this.#dropOldest();
    const entry = { hits: 0, lastHit: 0, since };
    this.#entries.set(rule, entry);
    return entry;
  }

  /** A tenth at a time, so that a full table does not look for the oldest with every new rule. */
  #dropOldest(): void {
    const oldest = [...this.#entries].sort(([, a], [, b]) => a.lastHit - b.lastHit).slice(0, RULES_MAX / 10);
    for (const [rule] of oldest) this.#entries.delete(rule);
  }
}

function hit(rule: RuleId, { hits, lastHit, since }: Entry): RuleHit {
  return { rule, hits, lastHit: lastHit === 0 ? undefined : lastHit, since };
}

function isRow(row: unknown): row is [number, number, number, number] {
  return Array.isArray(row) && row.length === 4 && row.every((one) => typeof one === 'number' && one >= 0);
}
