/** weir observe: flows, as Hubble's users know them, with the rule that decided each. */
import type { FlowsAnswer } from '../../api/flows.ts';
import type { FlowLine } from '../../flow/flow.ts';
import { mergeOrdered } from '../../flow/merge.ts';
import { nodePatternMatches } from '../../model/node-pattern.ts';
import { type AgentOfNode, type Agents, type Silence, withAgents } from '../agents.ts';
import type { Client, Query } from '../client.ts';
import { type Call, CliError, type Command, EXIT, type ExitCode, type FlagValues, UsageError } from '../command.ts';
import { FILTER_FLAGS, filterQuery } from '../observe/filters.ts';
import { followAll } from '../observe/follow.ts';
import { createPrinter, PRINTER_FLAGS, printerOptions } from '../observe/printer.ts';
import { tellSilent } from '../silence.ts';

/** Flows shown when nothing says how many, as in Hubble. */
const USUAL_COUNT = 20;
/** Most flows the API gives in one page. */
const PAGE = 5000;
const EVERYTHING = Number.POSITIVE_INFINITY;

export const OBSERVE: Command = {
  words: ['observe'],
  operands: [],
  sentence: 'Show flows: who talked to whom, what was decided and by which rule',
  flags: [
    { name: 'follow', short: 'f', sentence: 'Go on with flows as they come' },
    { name: 'last', value: 'N', sentence: `The newest N flows [${USUAL_COUNT}]` },
    { name: 'first', value: 'N', sentence: 'The oldest N flows' },
    { name: 'all', sentence: 'All flows that are kept' },
    { name: 'since', value: 'TIME', sentence: 'From then on: "2024-05-01T12:00:00Z", or how long ago: "90s", "1h30m"' },
    { name: 'until', value: 'TIME', sentence: 'Before then, written likewise' },
    {
      name: 'node-name',
      value: 'PATTERN',
      repeat: true,
      sentence: 'Flows of nodes whose name fits: "*" for any letters',
    },
    ...PRINTER_FLAGS,
    ...FILTER_FLAGS,
  ],
  examples: [
    'weir observe -f --verdict DROPPED',
    'weir observe --pod default/backend --since 5m',
    'weir observe --from-label app=frontend --to-port 8080 -o jsonpb',
  ],
  async run(call) {
    const range = readRange(call.flags);
    const query = { ...filterQuery(call.flags), ...range.query };
    const isWanted = readNodePatterns(call.flags.all('node-name'));
    try {
      return await withAgents(call, (agents) => observe(call, ofNodes(agents, isWanted), range, query, isWanted));
    } catch (error) {
      if (call.io.signal.aborted) return EXIT.ok; // Ctrl-C is no failure, as in Hubble
      throw error;
    }
  },
};

async function observe(
  call: Call,
  agents: Agents,
  range: Range,
  query: Query,
  isWanted: (node: string) => boolean,
): Promise<ExitCode> {
  if (agents.areMany) return observeMany(call, agents, range, query);
  const [only] = agents.all;
  if (!only) return EXIT.ok;
  if (!only.client) throw new CliError(`${only.node}: ${only.why}`);
  const { client } = only;
  const lines = range.follow ? client.follow<FlowLine>('/v1/flows', query) : chosen(pages(client, query, range), range);
  await print(call, linesOf(lines, isWanted));
  return EXIT.ok;
}

/** Whether the name of a node fits one of the patterns, or there are none. */
function readNodePatterns(patterns: readonly string[]): (node: string) => boolean {
  for (const pattern of patterns) {
    if (pattern.includes('/') || nodePatternMatches(pattern, '', '') === undefined)
      throw new UsageError(`--node-name: expected the name of a node, "*" for any letters, got "${pattern}"`);
  }
  return (node) => patterns.length === 0 || patterns.some((pattern) => nodePatternMatches(pattern, '', node));
}

/** Only those are asked; of an agent whose node is not known yet, its flows will say. */
function ofNodes(agents: Agents, isWanted: (node: string) => boolean): Agents {
  const of = (all: readonly AgentOfNode[]) => all.filter(({ node }) => node === '' || isWanted(node));
  return { ...agents, all: of(agents.all), again: async () => of(await agents.again()) };
}

async function* linesOf(lines: AsyncIterable<FlowLine>, isWanted: (node: string) => boolean) {
  for await (const line of lines) if (line.node_name === '' || isWanted(line.node_name)) yield line;
}

async function observeMany(call: Call, agents: Agents, range: Range, query: Query): Promise<ExitCode> {
  if (range.follow) {
    await print(call, followAll(agents, query, call.io));
    return EXIT.ok;
  }
  const silent: Silence[] = [];
  const streams = agents.all.map(({ node, client, why }) => {
    if (client) return orSilent(pages(client, query, range), node, silent);
    silent.push({ node, why });
    return nothing();
  });
  const merged = mergeOrdered(streams);
  await print(call, chosen(merged, range));
  if (call.io.signal.aborted) return EXIT.ok;
  const answered = agents.all.filter(({ node }) => !silent.some((one) => one.node === node));
  return tellSilent({ answers: answered.map(({ node }) => ({ node, value: undefined })), silent }, call.io);
}

/** A node that fails in the middle is one that is told of, and the others go on. */
async function* orSilent(lines: AsyncIterable<FlowLine>, node: string, silent: Silence[]) {
  try {
    yield* lines;
  } catch (error) {
    if (!(error instanceof CliError)) throw error;
    silent.push({ node, why: error.message });
  }
}

async function* nothing(): AsyncGenerator<FlowLine, void, void> {}

function chosen(lines: AsyncIterable<FlowLine>, { most, isNewest }: Range): AsyncIterable<FlowLine> {
  return isNewest ? newest(lines, most) : oldestOf(lines, most);
}

/** What was lost is always told; of flows, the last so many. */
async function* newest(lines: AsyncIterable<FlowLine>, most: number): AsyncGenerator<FlowLine, void, void> {
  const kept: FlowLine[] = [];
  for await (const line of lines) {
    if (line.flow) kept.push(line);
    else yield line;
    if (kept.length > 2 * most + PAGE) kept.splice(0, kept.length - most);
  }
  yield* most === 0 ? [] : kept.slice(-most);
}

async function* oldestOf(lines: AsyncIterable<FlowLine>, most: number): AsyncGenerator<FlowLine, void, void> {
  let shown = 0;
  for await (const line of lines) {
    if (line.flow && ++shown > most) return;
    yield line;
  }
}

interface Range {
  readonly query: Query;
  readonly follow: boolean;
  /** How many flows to show at most: the newest, or the oldest. */
  readonly most: number;
  readonly isNewest: boolean;
}

function readRange(flags: FlagValues): Range {
  const first = flags.count('first');
  const last = flags.count('last');
  const since = flags.one('since');
  const until = flags.one('until');
  const follow = flags.on('follow');
  const given = ['first', 'last', 'all'].filter((name) => flags.one(name) !== undefined);
  if (given.length > 1)
    throw new UsageError(`only one of ${given.map((name) => `--${name}`).join(' and ')} can be used`);
  const impossible = follow && ['first', 'until'].find((name) => flags.one(name) !== undefined);
  if (impossible) throw new UsageError(`--follow and --${impossible} cannot be used together`);

  const times: Query = { since, until };
  if (follow) {
    const count = flags.on('all') ? PAGE : last;
    return { query: { ...times, follow: 'true', last: count?.toString() }, follow, most: EVERYTHING, isNewest: false };
  }
  if (first !== undefined) return oldest(times, first);
  if (flags.on('all') || (since !== undefined && last === undefined)) return oldest(times, EVERYTHING);
  const most = last ?? USUAL_COUNT;
  // the API has no pages of the newest: all are read
  const query = most <= PAGE ? { ...times, last: String(most) } : oldest(times, EVERYTHING).query;
  return { query, follow, most, isNewest: true };
}

function oldest(times: Query, most: number): Range {
  return { query: { ...times, first: String(Math.min(most, PAGE)) }, follow: false, most, isNewest: false };
}

/** The flows of as many pages as it takes, as the lines a stream would have. */
async function* pages(client: Client, query: Query, range: Range): AsyncGenerator<FlowLine, void, void> {
  const most = range.isNewest ? EVERYTHING : range.most;
  let asked = query;
  for (let shown = 0; ; ) {
    const page = await client.get<FlowsAnswer>('/v1/flows', asked);
    for (const lost of page.lost) yield { lost_events: lost, node_name: '', time: '' };
    for (const flow of page.flows) yield { flow, node_name: flow.node_name, time: flow.time };
    shown += page.flows.length;
    if (!page.more || shown >= most || query.first === undefined) return;
    asked = { ...query, cursor: page.cursor, first: String(Math.min(most - shown, PAGE)) };
  }
}

async function print(call: Call, lines: AsyncIterable<FlowLine>): Promise<void> {
  const { flags, io } = call;
  const printer = createPrinter(printerOptions(flags, io));
  for await (const line of lines) {
    const { out, err } = printer.print(line);
    if (err !== '') io.err(err);
    if (out !== '') await io.out(out);
  }
}
