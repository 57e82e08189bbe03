/** Keeps what the rules decided in a file of the state directory, so that a restart does not forget it. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Problem } from '../model/object.ts';
import type { RuleId } from '../model/verdict.ts';
import { writeDurably } from '../run/durable-file.ts';
import type { RuleHits } from './rule-hits.ts';

export const RULE_HITS_FILE = 'rule-hits.json';
/** A rule that is in no policy any more is remembered so long: its policy may come back. */
const FORGET_MS = 30 * 24 * 3600_000;

export interface RuleHitsFile {
  /** A file that could not be read: counting starts anew, and says so. */
  readonly problems: readonly Problem[];
  /** Watches the rules there are now, and writes; rejects when the disk refuses. */
  keep(rules: readonly RuleId[], now: number): Promise<void>;
}

/** Reads what an earlier run kept into `hits`. */
export async function openRuleHits(stateDirectory: string, hits: RuleHits): Promise<RuleHitsFile> {
  const place = join(stateDirectory, RULE_HITS_FILE);
  const problems: Problem[] = [];
  let written = '';
  try {
    written = await readFile(place, 'utf8');
    hits.restore(written);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
      const message = `${place} cannot be read, rules are counted from now on: ${(error as Error).message}`;
      problems.push({ severity: 'warning', code: 'damaged-state', message, path: [], place, line: undefined });
    }
  }
  return {
    problems,
    async keep(rules, now) {
      hits.watch(rules, now);
      const there = new Set(rules);
      const text = hits.save((rule) => there.has(rule) || (hits.of(rule)?.lastHit ?? 0) > now - FORGET_MS);
      if (text === written) return;
      await writeDurably(place, text);
      written = text;
    },
  };
}
