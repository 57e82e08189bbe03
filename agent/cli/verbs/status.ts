/** weir status: how the agent is, or all of a cluster's. Exit code 1 if something is red, so that a script can ask. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { StatusAnswer } from '../../api/status.ts';
import { RECORDS, type RecordObject } from '../../cluster/objects.ts';
import { WeirError } from '../../errors.ts';
import { collectionPath } from '../../kubernetes/path.ts';
import { type Agents, type Answers, withAgents } from '../agents.ts';
import { type Call, CliError, type Command, EXIT, type ExitCode } from '../command.ts';
import { OUTPUT_FLAG, OUTPUTS } from '../flags.ts';
import { statusLines, statusText } from '../status/lines.ts';
import { isSettled, type NodeRow, nodeRows, nodesText } from '../status/nodes.ts';
import { json } from '../table.ts';
import { milliseconds } from '../time.ts';

const ASK_EVERY_MS = 1000;

export const STATUS: Command = {
  words: ['status'],
  operands: [],
  sentence: 'Show how the agent is, or those of all nodes; exit code 1 if something needs attention',
  flags: [
    OUTPUT_FLAG,
    { name: 'verbose', short: 'v', sentence: 'Show how full each kernel map is (of one agent)' },
    { name: 'wait', sentence: 'Wait until every agent is ready and has the last policy revision in force' },
    { name: 'wait-duration', value: 'TIME', sentence: 'Give up waiting after this long [5m]' },
  ],
  examples: ['weir status', 'weir status -A --wait --wait-duration 2m'],
  async run(call) {
    const waitMs = call.flags.on('wait') ? milliseconds(call, 'wait-duration', '5m') : 0;
    const end = performance.now() + waitMs;
    for (;;) {
      const { code, settled, show } = await look(call, waitMs > 0);
      if (settled || performance.now() >= end) {
        await show();
        return waitMs > 0 && !settled ? EXIT.failed : code;
      }
      await sleep(ASK_EVERY_MS, undefined, { signal: call.io.signal });
    }
  },
};

interface Look {
  readonly code: ExitCode;
  /** Nothing to wait for. */
  readonly settled: boolean;
  show(): Promise<void>;
}

/** Agents are found anew each time: while one waits for them, they come. */
async function look(call: Call, isWaiting: boolean): Promise<Look> {
  try {
    return await withAgents(call, async (agents) => {
      const asked = await agents.ask((client) => client.get<StatusAnswer>('/v1/status'));
      if (agents.areMany) return ofMany(call, asked, nodeRows(asked, await recordsOf(agents, asked)));
      return ofOne(call, asked.answers[0]?.value as StatusAnswer);
    });
  } catch (error) {
    // No agent yet, or none of them answers; or the API server is away for a moment, as when it is upgraded.
    const mayPass = error instanceof CliError || (error instanceof WeirError && error.retryable);
    if (!isWaiting || !mayPass) throw error;
    return { code: EXIT.failed, settled: false, show: async () => call.io.err(`weir: ${error.message}\n`) };
  }
}

function ofOne({ flags, io }: Call, status: StatusAnswer): Look {
  const lines = statusLines(status, flags.on('verbose'));
  const asJson = flags.choice('output', OUTPUTS) === 'json';
  return {
    code: lines.some((line) => line.state === 'red') ? EXIT.failed : EXIT.ok,
    settled: status.ready && status.revision.realized >= status.revision.desired,
    show: async () => io.out(asJson ? json(status) : statusText(lines, status, io.colors)),
  };
}

function ofMany({ flags, io }: Call, asked: Answers<StatusAnswer>, rows: readonly NodeRow[]): Look {
  const asJson = flags.choice('output', OUTPUTS) === 'json';
  const answerOf = (node: string) => asked.answers.find((one) => one.node === node)?.value;
  const nodes = rows.map(({ said, why, ...row }) => ({
    ...row,
    ...(why && { why, said }),
    status: answerOf(row.node),
  }));
  return {
    code: rows.some(({ state }) => state === 'red') ? EXIT.failed : EXIT.ok,
    settled: isSettled(rows),
    show: async () => io.out(asJson ? json({ nodes, unreachable: asked.silent }) : nodesText(rows, asked, io.colors)),
  };
}

/** Only needed where an agent is silent, and only an extra then: without the right to read them, nothing is said of it. */
async function recordsOf({ cluster }: Agents, { silent }: Answers<StatusAnswer>): Promise<readonly RecordObject[]> {
  if (silent.length === 0 || !cluster) return [];
  const listed = cluster.client.list<RecordObject>(collectionPath(RECORDS));
  return listed.then(
    ({ items }) => items,
    () => [],
  );
}
