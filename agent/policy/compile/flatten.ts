/**
 * Flattens the rules of one class into entries for longest-prefix match: the longest entry that matches a packet holds
 * the right winner of every tier, so the program never compares entries of one class. Ranges that overlap are cut into
 * elementary intervals first and only then into prefixes (CVE-2024-47825, CVE-2024-52529: merging ranges went wrong).
 */
import { TIERS, type Tier, type TierVerdict, type TierVerdicts } from '../../model/verdict.ts';
import { blocks, LAST_PORT } from './blocks.ts';

/** Inclusive, host order. */
export interface PortRange {
  readonly protocol: number;
  readonly first: number;
  readonly last: number;
}

/** One rule as far as one class is concerned. */
export interface Term {
  readonly tier: Tier;
  readonly verdict: TierVerdict;
  /** Counts only for `audited`. */
  readonly audit: boolean;
  /** Undefined: every protocol and port. */
  readonly ports: readonly PortRange[] | undefined;
}

export interface FlatEntry {
  readonly protocol: number | undefined;
  readonly port: number;
  readonly portBits: number;
  readonly enforced: TierVerdicts;
  readonly audited: TierVerdicts;
}

/** {@link TierVerdicts} while they are being found. */
type Best = [TierVerdict | undefined, TierVerdict | undefined, TierVerdict | undefined];

/** What holds for one stretch of ports. Equal keys mean equal winners: a precedence names one rule of its tier. */
interface Winners {
  readonly enforced: TierVerdicts;
  readonly audited: TierVerdicts;
  readonly key: string;
}

/** Entries, each only where it differs from what the next shorter prefix says. */
export function flatten(terms: readonly Term[]): FlatEntry[] {
  const out: FlatEntry[] = [];
  const put = (winners: Winners, protocol: number | undefined, port: number, portBits: number): void => {
    out.push({ protocol, port, portBits, enforced: winners.enforced, audited: winners.audited });
  };
  const everything = terms.filter((term) => term.ports === undefined);
  const root = winnersOf(everything);
  if (everything.length > 0) put(root, undefined, 0, 0);

  for (const [protocol, ranges] of rangesByProtocol(terms)) {
    const whole = ranges.filter(({ range }) => isWhole(range)).map(({ term }) => term);
    const parts = ranges.filter(({ range }) => !isWhole(range));
    const stretches = intervals(parts, [...everything, ...whole]);
    // Ranges that together cover every port are what the protocol's own entry says.
    const [only] = stretches;
    const base = only && isWhole(only) ? only.winners : winnersOf([...everything, ...whole]);
    if (base.key !== root.key) put(base, protocol, 0, 0);
    for (const { first, last, winners } of stretches) {
      if (winners.key === base.key) continue;
      for (const { port, bits } of blocks(first, last)) put(winners, protocol, port, bits);
    }
  }
  return out;
}

interface RangeTerm {
  readonly range: PortRange;
  readonly term: Term;
}

function isWhole({ first, last }: { readonly first: number; readonly last: number }): boolean {
  return first === 0 && last === LAST_PORT;
}

function rangesByProtocol(terms: readonly Term[]): Map<number, RangeTerm[]> {
  const out = new Map<number, RangeTerm[]>();
  for (const term of terms) {
    for (const range of term.ports ?? []) {
      const list = out.get(range.protocol);
      if (list) list.push({ range, term });
      else out.set(range.protocol, [{ range, term }]);
    }
  }
  return out;
}

/** Stretches of ports with the same winners, neighbours with equal winners joined; stretches no range touches are left out. */
function intervals(
  parts: readonly RangeTerm[],
  everywhere: readonly Term[],
): { first: number; last: number; winners: Winners }[] {
  const starts = [...new Set(parts.flatMap(({ range }) => [range.first, range.last + 1]))].sort((a, b) => a - b);
  const waiting = [...parts].sort((a, b) => b.range.first - a.range.first);
  let here: RangeTerm[] = [];
  const out: { first: number; last: number; winners: Winners }[] = [];
  for (const [i, first] of starts.entries()) {
    const last = (starts[i + 1] ?? first) - 1;
    here = here.filter(({ range }) => range.last >= first);
    while (waiting.at(-1)?.range.first === first) here.push(waiting.pop() as RangeTerm);
    if (here.length === 0) continue;
    const winners = winnersOf([...everywhere, ...here.map(({ term }) => term)]);
    const before = out.at(-1);
    if (before && before.winners.key === winners.key && before.last === first - 1) before.last = last;
    else out.push({ first, last, winners });
  }
  return out;
}

function winnersOf(terms: readonly Term[]): Winners {
  const enforced: Best = [undefined, undefined, undefined];
  const audited: Best = [undefined, undefined, undefined];
  for (const { tier, verdict, audit } of terms) {
    const at = TIERS.indexOf(tier);
    if (verdict.precedence > (audited[at]?.precedence ?? 0)) audited[at] = verdict;
    if (!audit && verdict.precedence > (enforced[at]?.precedence ?? 0)) enforced[at] = verdict;
  }
  return { enforced, audited, key: [...enforced, ...audited].map((verdict) => verdict?.precedence ?? 0).join(' ') };
}
