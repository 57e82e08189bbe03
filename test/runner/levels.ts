/** The levels of tests, cheapest first, and which files a command line means. */
import { globSync } from 'node:fs';
import { relative } from 'node:path';

export interface Level {
  readonly name: string;
  /** Files at once. One where the kernel, the CPU or time is what is tested. */
  readonly parallel: number;
  /** For one file, in seconds; ten times as much with --long. */
  readonly timeLimitS: number;
}

export const LEVELS: readonly Level[] = [
  { name: 'unit', parallel: 2, timeLimitS: 120 },
  { name: 'scenario', parallel: 2, timeLimitS: 120 },
  { name: 'bpf', parallel: 1, timeLimitS: 180 },
  { name: 'netns', parallel: 1, timeLimitS: 300 },
  { name: 'kernel', parallel: 1, timeLimitS: 600 },
  { name: 'cluster', parallel: 1, timeLimitS: 600 },
  { name: 'fuzz', parallel: 1, timeLimitS: 300 },
];

export interface TestFile {
  readonly level: Level;
  /** Below test/, without `.test.ts`: "unit/labels". What a person types and reads. */
  readonly name: string;
  readonly path: string;
}

/** All test files below `root` (the test folder), by level, then by name. */
export function discover(root: string): TestFile[] {
  return LEVELS.flatMap((level) =>
    globSync(`${root}/${level.name}/**/*.test.ts`)
      .map((path) => ({ level, path, name: relative(root, path).replace(/\.test\.ts$/, '') }))
      .sort((a, b) => (a.name < b.name ? -1 : 1)),
  );
}

/**
 * The files that `words` mean, in the order of `files`: each word is a level ("unit"), the beginning of a name ("bpf/layout") or a path as
 * a shell completes it ("test/bpf/layout.test.ts"). No words: all. A word that means nothing is an error.
 */
export function select(files: readonly TestFile[], words: readonly string[]): TestFile[] {
  if (words.length === 0) return [...files];
  const chosen = new Set<TestFile>();
  for (const word of words) {
    const start = word.replace(/^(\.\/)?test\//, '').replace(/\.test\.ts$/, '');
    const isLevel = LEVELS.some((level) => level.name === start);
    const matching = files.filter(({ name }) => name.startsWith(isLevel ? `${start}/` : start));
    if (matching.length === 0 && !isLevel) {
      const levels = LEVELS.map((level) => level.name).join(', ');
      throw new Error(
        `no test matches "${word}": a level (${levels}) or the beginning of a name such as bpf/layout was expected`,
      );
    }
    for (const file of matching) chosen.add(file);
  }
  return files.filter((file) => chosen.has(file));
}
