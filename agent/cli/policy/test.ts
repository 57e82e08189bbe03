/** weir policy test: expectations about packets against manifests, without a cluster. */
import { dirname, resolve } from 'node:path';
import { type Outcome, readSuite, runTest, type Suite } from '../../policy/suite.ts';
import { readText } from '../../source/manifests/directory.ts';
import { parseManifest } from '../../source/manifests/parse.ts';
import { type Call, CliError, type Command, EXIT } from '../command.ts';
import { json, paint, printable } from '../table.ts';
import { explanationTexts, TEXT_OUTPUT_FLAG } from './explain.ts';
import { MANIFESTS_FLAG, openWorkbench, POLICY_FLAGS, reportProblems } from './manifests.ts';

export const POLICY_TEST: Command = {
  words: ['policy', 'test'],
  operands: ['SUITE...'],
  sentence: 'Run policy tests: files of expectations, against manifests',
  flags: [
    { ...MANIFESTS_FLAG, sentence: "Directory or file of manifests, instead of the suite's own; may be repeated" },
    ...POLICY_FLAGS,
    TEXT_OUTPUT_FLAG,
  ],
  examples: ['weir policy test policies/test.yaml', 'weir policy test --manifests ./manifests test.yaml'],
  async run(call) {
    const all = call.operands.flatMap((path) => runSuites(path, call));
    const failed = all.filter(({ outcome }) => outcome.failures.length > 0);
    if (call.flags.one('output') === 'json') await call.io.out(json(all.map(present)));
    else await call.io.out(all.map((one) => text(one, call.io.colors)).join('') + summary(all.length, failed.length));
    return failed.length > 0 ? EXIT.failed : EXIT.ok;
  },
};

interface Placed {
  readonly outcome: Outcome;
  /** File and line of the test. */
  readonly where: string;
}

function runSuites(path: string, call: Call): Placed[] {
  return readSuites(path, call).flatMap((suite) => {
    const given = call.flags.all('manifests');
    const paths = given.length > 0 ? given : suite.manifests.map((one) => resolve(dirname(path), one));
    if (paths.length === 0) throw new CliError(`${path} names no manifests: write them there, or use --manifests`);
    const bench = openWorkbench(paths, call);
    return suite.tests.map((test, i) => ({ outcome: runTest(bench, test), where: `${path}:${suite.line(i)}` }));
  });
}

function readSuites(path: string, { io }: Call): Suite[] {
  const read = readText('', path);
  if (!('text' in read)) throw new CliError(`${path}: ${read.unreadable}`);
  const parsed = parseManifest(read.text, path);
  const suites = parsed.objects.map(({ raw, origin }) => readSuite(raw, origin));
  const problems = [...parsed.problems, ...suites.flatMap((one) => one.problems)];
  reportProblems(problems, io);
  if (problems.some(({ severity }) => severity === 'error')) throw new CliError(`${path} is no suite of policy tests`);
  if (suites.length === 0) throw new CliError(`${path} is empty`);
  return suites.flatMap(({ suite }) => suite ?? []);
}

function nameOf({ test }: Outcome): string {
  const { name, from, to, port, expect } = test;
  return name ?? `${from} -> ${to} ${port}: ${expect}`;
}

function text({ outcome, where }: Placed, colors: boolean): string {
  const passed = outcome.failures.length === 0;
  const sign = passed ? paint('green', 'ok    ', colors) : paint('red', 'FAILED', colors);
  const head = `${sign} ${printable(nameOf(outcome))}${passed ? '' : ` (${printable(where)})`}\n`;
  const failures = outcome.failures.map((failure) => `    ${printable(failure)}\n`);
  const why = explanationTexts(outcome.explanations, colors).replace(/^(?=.)/gm, '    ');
  return head + failures.join('') + why;
}

function summary(tests: number, failed: number): string {
  return `${tests - failed} passed, ${failed} failed\n`;
}

function present({ outcome, where }: Placed): unknown {
  const { test, failures, explanations } = outcome;
  return { name: nameOf(outcome), where, passed: failures.length === 0, failures, test, explanations };
}
