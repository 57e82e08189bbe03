/** weir policy lint: what is wrong, or probably not meant, in files of manifests. */
import packageJson from '../../../package.json' with { type: 'json' };
import type { Problem } from '../../model/object.ts';
import { type LintInput, lint } from '../../policy/lint/lint.ts';
import { sarif } from '../../policy/lint/sarif.ts';
import { readText } from '../../source/manifests/directory.ts';
import { parseManifest } from '../../source/manifests/parse.ts';
import { readManifestFiles } from '../../source/manifests/read.ts';
import { type Command, EXIT } from '../command.ts';
import { problemLine } from '../problem.ts';
import { json, plural } from '../table.ts';
import { manifestFiles, presentProblem } from './manifests.ts';

const FORMATS = ['text', 'json', 'sarif'] as const;

export const POLICY_LINT: Command = {
  words: ['policy', 'lint'],
  operands: ['FILE...'],
  sentence: 'Find what is wrong, or probably not meant, in files or directories of manifests',
  flags: [
    { name: 'strict', sentence: 'Exit with 1 on warnings too, not on errors only' },
    {
      name: 'output',
      short: 'o',
      value: FORMATS.join('|'),
      choices: FORMATS,
      sentence: `Form of the output [${FORMATS[0]}]`,
    },
  ],
  examples: ['weir policy lint policies/*.yaml', 'weir policy lint --strict -o sarif ./manifests > lint.sarif'],
  async run({ operands, flags, io }) {
    const files = manifestFiles(operands);
    const problems = lint(readFiles(files));
    const errors = problems.filter(({ severity }) => severity === 'error').length;
    const warnings = problems.length - errors;
    const format = flags.choice('output', FORMATS);
    if (format === 'sarif') await io.out(json(sarif(problems, packageJson.version)));
    else if (format === 'json') await io.out(json(problems.map(presentProblem)));
    else await io.out(text(problems, files.length, io.colors));
    return errors > 0 || (warnings > 0 && flags.on('strict')) ? EXIT.failed : EXIT.ok;
  },
};

/** Each file for itself: variants of one object may be looked at together. */
function readFiles(files: readonly string[]): LintInput {
  const all = files.map((file) => {
    const read = readText('', file);
    const written = 'text' in read ? parseManifest(read.text, file).objects : [];
    return { written, ...readManifestFiles([file]) };
  });
  return {
    written: all.flatMap(({ written }) => written),
    objects: all.flatMap(({ objects }) => objects),
    problems: all.flatMap(({ problems }) => problems),
  };
}

function text(problems: readonly Problem[], files: number, colors: boolean): string {
  const lines = problems.map((problem) => `${problemLine(presentProblem(problem), colors)} [${problem.code}]\n`);
  const errors = problems.filter(({ severity }) => severity === 'error').length;
  const found = `${plural(errors, 'error')}, ${plural(problems.length - errors, 'warning')}`;
  return `${lines.join('')}${found} in ${plural(files, 'file')}\n`;
}
