/** Tells of the nodes that did not answer. */
import type { Answers } from './agents.ts';
import { EXIT, type ExitCode, type Io } from './command.ts';
import { printable } from './table.ts';

/** On stderr, each by name; the exit code is a failure then, for what was printed is not everything. */
export function tellSilent({ answers, silent }: Answers<unknown>, io: Io): ExitCode {
  if (silent.length === 0) return EXIT.ok;
  io.err(`weir: ${silent.length} of ${silent.length + answers.length} nodes did not answer:\n`);
  for (const { node, why } of silent) io.err(`  ${printable(`${node}: ${why}`)}\n`);
  return EXIT.failed;
}

/** The JSON of a question to many: what each answered, and who did not. */
export function manyAnswers<T extends object>({ answers, silent }: Answers<T>): object {
  return { nodes: answers.map(({ node, value }) => ({ node, ...value })), unreachable: silent };
}
