/** weir flows record and replay: flows in a file, and a file of flows as weir observe shows them. */
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import type { FlowLine } from '../../flow/flow.ts';
import { mergeOrdered } from '../../flow/merge.ts';
import { type Agents, type Silence, withAgents } from '../agents.ts';
import { CliError, type Command, EXIT } from '../command.ts';
import { FILTER_FLAGS, filterQuery } from '../observe/filters.ts';
import { followAll } from '../observe/follow.ts';
import { createPrinter, PRINTER_FLAGS, printerOptions } from '../observe/printer.ts';
import { readFlows } from '../policy/record.ts';
import { tellSilent } from '../silence.ts';
import { plural } from '../table.ts';
import { flowPages } from './pages.ts';

export const FLOWS_RECORD: Command = {
  words: ['flows', 'record'],
  operands: ['FILE'],
  sentence: 'Write flows to a file that replay, policy diff --flows and policy from-flows --flows read',
  flags: [
    { name: 'since', value: 'TIME', sentence: 'From then on: "1h", or "2024-05-01T12:00:00Z" [all that is held]' },
    { name: 'until', value: 'TIME', sentence: 'Before then, written likewise' },
    { name: 'follow', short: 'f', sentence: 'What comes from now on instead, until Ctrl-C' },
    ...FILTER_FLAGS,
  ],
  examples: ['weir flows record flows.jsonl --since 1h -A', 'weir flows record -f flows.jsonl --namespace shop'],
  run: (call) =>
    withAgents(call, async (agents) => {
      const { flags, io, operands } = call;
      const silent: Silence[] = [];
      const filter = filterQuery(flags);
      const times = { since: flags.one('since'), until: flags.one('until') };
      const lines = flags.on('follow')
        ? followAll(agents, { ...filter, follow: 'true' }, io)
        : held(agents, { ...filter, ...times, since: times.since ?? '1970-01-01T00:00:00Z' }, silent);
      const count = await writeLines(operands[0] as string, lines);
      io.err(`weir: ${plural(count, 'flow')} written to ${operands[0]}\n`);
      const answered = agents.all.filter(({ node }) => !silent.some((one) => one.node === node));
      return tellSilent({ answers: answered.map(({ node }) => ({ node, value: undefined })), silent }, io);
    }),
};

export const FLOWS_REPLAY: Command = {
  words: ['flows', 'replay'],
  operands: ['FILE'],
  sentence: 'Show recorded flows as weir observe shows them',
  flags: PRINTER_FLAGS,
  examples: ['weir flows replay flows.jsonl'],
  async run({ flags, io, operands }) {
    const printer = createPrinter(printerOptions(flags, io));
    for (const flow of readFlows(operands[0] as string)) {
      await io.out(printer.print({ flow, node_name: flow.node_name, time: flow.time }).out);
    }
    return EXIT.ok;
  },
};

function held(agents: Agents, query: Parameters<typeof flowPages>[1], silent: Silence[]): AsyncIterable<FlowLine> {
  return mergeOrdered(
    agents.all.map(async function* ({ node, client, why }) {
      try {
        if (!client) throw new CliError(why);
        yield* flowPages(client, query);
      } catch (error) {
        if (!(error instanceof CliError) || !agents.areMany) throw error;
        silent.push({ node, why: error.message });
      }
    }),
  );
}

/** How many flows there were; what was lost is written too. */
async function writeLines(path: string, lines: AsyncIterable<FlowLine>): Promise<number> {
  const file = createWriteStream(path);
  let failure: Error | undefined;
  file.on('error', (error) => {
    failure = error;
  });
  let count = 0;
  for await (const line of lines) {
    if (failure) break;
    if (line.flow) count++;
    if (!file.write(`${JSON.stringify(line)}\n`)) await Promise.race([once(file, 'drain'), once(file, 'close')]);
  }
  if (!failure) await new Promise<void>((resolve) => file.end(() => resolve()));
  if (failure) throw new CliError(`cannot write ${path}: ${(failure as Error).message}`, { cause: failure });
  return count;
}
