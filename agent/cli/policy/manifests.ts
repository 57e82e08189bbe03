/** What the offline commands work on: manifests from directories and files, and the settings an agent would have. */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import type { ProblemAnswer } from '../../api/problem.ts';
import { formatPath, type Problem, refKey } from '../../model/object.ts';
import type { DocumentStatus, EnforcementMode } from '../../policy/engine.ts';
import { objectsOf } from '../../policy/workbench/objects.ts';
import { createWorkbench, type Workbench, type WorkbenchOptions } from '../../policy/workbench/workbench.ts';
import type { Flag } from '../../run/flags.ts';
import { listManifests } from '../../source/manifests/directory.ts';
import { type Manifests, readManifestFiles } from '../../source/manifests/read.ts';
import { type Call, CliError, type FlagValues, type Io } from '../command.ts';
import { problemLine } from '../problem.ts';

export const MANIFESTS_FLAG: Flag = {
  name: 'manifests',
  value: 'PATH',
  repeat: true,
  sentence: 'Directory or file of manifests to work on, instead of a running agent; may be repeated',
};

const ENFORCEMENT = ['default', 'always', 'never'] as const satisfies readonly EnforcementMode[];

/** As the agent's settings of the same names, for offline work. */
export const POLICY_FLAGS: readonly Flag[] = [
  {
    name: 'policy-enforcement',
    value: ENFORCEMENT.join('|'),
    choices: ENFORCEMENT,
    sentence: `As the agent's setting, with --manifests [${ENFORCEMENT[0]}]`,
  },
  { name: 'cluster-name', value: 'NAME', sentence: "As the agent's setting, with --manifests [default]" },
  {
    name: 'allow-local-host',
    value: 'true|false',
    choices: ['true', 'false'],
    sentence: "As the agent's setting, with --manifests [true]",
  },
  { name: 'cidr-matches-nodes', sentence: "As the agent's setting, with --manifests" },
];

export function workbenchOptions(flags: FlagValues): WorkbenchOptions {
  return {
    enforcement: flags.choice('policy-enforcement', ENFORCEMENT),
    clusterName: flags.one('cluster-name') ?? 'default',
    allowLocalHost: flags.one('allow-local-host') !== 'false',
    cidrMatchesNodes: flags.on('cidr-matches-nodes'),
    now: Date.now(),
  };
}

/** Files as written, of directories their manifests. Throws CliError for a path that is not there. */
export function manifestFiles(paths: readonly string[]): string[] {
  return paths.flatMap((path) => {
    try {
      return statSync(path).isDirectory() ? listManifests(path).map((name) => join(path, name)) : [path];
    } catch (cause) {
      throw new CliError(`cannot read ${path}: ${(cause as Error).message}`, { cause });
    }
  });
}

/**
 * The objects of the paths. Warnings go to stderr; with an error nothing is answered, for an object that cannot be read
 * could change every answer.
 */
function readPaths(paths: readonly string[], io: Io): Manifests {
  const manifests = readManifestFiles(manifestFiles(paths));
  reportProblems(manifests.problems, io);
  // Of two objects with one name the first is in force, as in the agent; everything else is missing.
  const missing = manifests.problems.filter(
    ({ severity, code }) => severity === 'error' && code !== 'duplicate-object',
  );
  const errors = missing.length;
  if (errors > 0) throw new CliError(`${paths.join(', ')} cannot be used: ${errors} of what is written there is wrong`);
  return manifests;
}

/** The manifests on a bench. Refused documents isolate, as in the agent, and are reported on stderr. */
export function openWorkbench(paths: readonly string[], { flags, io }: Pick<Call, 'flags' | 'io'>): Workbench {
  const bench = createWorkbench(objectsOf(readPaths(paths, io).objects), workbenchOptions(flags));
  for (const document of bench.documents) reportDocument(document, io);
  return bench;
}

const STATUS_WORDS: Readonly<Record<DocumentStatus['status'], string>> = {
  valid: 'is in force',
  'kept-previous': 'is refused; its last valid version stays in force',
  isolating: 'is refused: what it selects is isolated, nothing of it is allowed',
  unreadable: 'is refused, and whom it selects cannot be read: it has no effect',
};

function reportDocument({ ref, status, problems }: DocumentStatus, io: Io): void {
  reportProblems(problems, io);
  if (status !== 'valid') io.err(`weir: ${refKey(ref)} ${STATUS_WORDS[status]}\n`);
}

export function reportProblems(problems: readonly Problem[], io: Io): void {
  for (const problem of problems) io.err(`${problemLine(presentProblem(problem), io.colors)}\n`);
}

/** As the API shows it. */
export function presentProblem({ severity, code, message, path, place, line }: Problem): ProblemAnswer {
  return { severity, code, message, path: formatPath(path), place, ...(line !== undefined && { line }) };
}
