/**
 * What a test file's end means, decided from its output and exit code alone. uvu 0.5.6 says Total, Passed and Skipped, never
 * "failed", and leaves with 0 in several cases where something failed; so every figure is checked against the others.
 */
import { stripVTControlCharacters } from 'node:util';
import type { Execution } from './execute.ts';

export interface Verdict {
  readonly passed: number;
  readonly failed: number;
  /** One line each, "suite: test: reason". */
  readonly skipped: readonly string[];
  /** Why the file failed, beyond the tests that uvu itself shows as failed. */
  readonly problems: readonly string[];
}

const SUMMARY = /^ {2}Total: +(\d+)\n {2}Passed: +(\d+)\n {2}Skipped: +(\d+)$/gm;
const SKIP = /^(?:.*\s)?SKIP (.+)$/gm;

/** `files`: names of what it left in its temporary folder. */
export function judge(run: Execution, timeLimitS: number, files: readonly string[]): Verdict {
  const output = stripVTControlCharacters(run.output);
  const summary = [...output.matchAll(SUMMARY)].at(-1);
  const [total, passed, skips] =
    summary === undefined ? [0, 0, 0] : (summary.slice(1).map(Number) as [number, number, number]);
  const skipped = [...output.matchAll(SKIP)].map((match) => match[1] ?? '');
  for (let i = skipped.length; i < skips; i++)
    skipped.push('a test without a reason (or everything that is not .only)');

  const problems: string[] = [];
  if (run.timedOut)
    problems.push(`not finished after ${timeLimitS} s: a test that waits for ever, or a handle left open`);
  else if (run.signal !== null) problems.push(`ended by ${run.signal}`);
  if (summary === undefined && !run.timedOut)
    problems.push('no summary was printed: .run() is missing, or the file ended early');
  if (summary !== undefined && total === 0 && skips === 0) problems.push('it has no tests (Total 0)');
  if (run.exitCode !== 0 && run.exitCode !== null && passed === total && !run.timedOut && summary !== undefined)
    problems.push(`exit code ${run.exitCode} although all ${total} tests passed`);
  for (const file of files) problems.push(`left in its temporary folder: ${file}`);
  for (const stray of run.strays) problems.push(`a process outlived it: ${stray}`);
  const failedTests = total - passed;
  if (failedTests > 0 && run.exitCode === 0)
    problems.push(
      `${failedTests} of ${total} tests did not pass although the exit code is 0: a hook failed or something that is not an Error was thrown`,
    );

  return { passed, failed: Math.max(failedTests, problems.length > 0 ? 1 : 0), skipped, problems };
}
