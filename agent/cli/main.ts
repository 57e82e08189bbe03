/** The `weir` command: the only file here that knows the process it runs in. */
import { once } from 'node:events';
import { type Command, runCli } from './command.ts';
import { FLOWS_RECORD, FLOWS_REPLAY } from './flows/record.ts';
import { FLOWS_TOP } from './flows/top.ts';
import { MAP_DUMP } from './map/dump.ts';
import { POLICY_DIFF } from './policy/diff.ts';
import { POLICY_EXPLAIN } from './policy/explain.ts';
import { POLICY_FROM_FLOWS } from './policy/from-flows.ts';
import { POLICY_LINT } from './policy/lint.ts';
import { POLICY_MATRIX } from './policy/matrix.ts';
import { POLICY_TEST } from './policy/test.ts';
import { POLICY_UNUSED } from './policy/unused.ts';
import { SYSDUMP } from './sysdump/sysdump.ts';
import { CHECK } from './verbs/check.ts';
import { CONNECTIVITY_TEST } from './verbs/connectivity.ts';
import { DIAL_STDIO } from './verbs/dial-stdio.ts';
import { ENDPOINT_GET, ENDPOINT_LIST } from './verbs/endpoint.ts';
import { IDENTITY_GET, IDENTITY_LIST } from './verbs/identity.ts';
import { OBSERVE } from './verbs/observe.ts';
import { POLICY_GET, POLICY_LIST } from './verbs/policy.ts';
import { POLICY_WAIT } from './verbs/policy-wait.ts';
import { STATUS } from './verbs/status.ts';
import { VERSION } from './verbs/version.ts';

const COMMANDS: readonly Command[] = [
  STATUS,
  CHECK,
  CONNECTIVITY_TEST,
  DIAL_STDIO,
  ENDPOINT_LIST,
  ENDPOINT_GET,
  IDENTITY_LIST,
  IDENTITY_GET,
  POLICY_LIST,
  POLICY_GET,
  POLICY_WAIT,
  POLICY_EXPLAIN,
  POLICY_MATRIX,
  POLICY_LINT,
  POLICY_TEST,
  POLICY_DIFF,
  POLICY_UNUSED,
  POLICY_FROM_FLOWS,
  OBSERVE,
  FLOWS_TOP,
  FLOWS_RECORD,
  FLOWS_REPLAY,
  MAP_DUMP,
  SYSDUMP,
  VERSION,
];

const interrupted = new AbortController();
process.once('SIGINT', () => interrupted.abort());
process.once('SIGTERM', () => interrupted.abort());
// `weir observe | head`: the reader has seen enough.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));

process.exitCode = await runCli(process.argv.slice(2), COMMANDS, {
  async out(text) {
    if (!process.stdout.write(text)) await once(process.stdout, 'drain');
  },
  err: (text) => void process.stderr.write(text),
  environment: process.env,
  signal: interrupted.signal,
  get stdio() {
    return { input: process.stdin, output: process.stdout };
  },
  colors: process.stdout.isTTY === true && process.env.NO_COLOR === undefined,
});
