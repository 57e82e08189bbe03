/** weir flows top: who talks most, to whom, and what is dropped most. */
import type { PairAnswer, StatsAnswer } from '../../api/traffic.ts';
import { type Answers, withAgents } from '../agents.ts';
import { type Command, UsageError } from '../command.ts';
import { OUTPUT_FLAG, OUTPUTS } from '../flags.ts';
import { FILTER_FLAGS, filterQuery } from '../observe/filters.ts';
import { manyAnswers, tellSilent } from '../silence.ts';
import { json, table } from '../table.ts';

const GROUPINGS = ['pod', 'workload', 'namespace'] as const;
const USUAL_TOP = 10;
const MOST = '5000';

export const FLOWS_TOP: Command = {
  words: ['flows', 'top'],
  operands: [],
  sentence: 'Show who talks most to whom, and what drops most',
  flags: [
    { name: 'by', value: GROUPINGS.join('|'), choices: GROUPINGS, sentence: `What is summed [${GROUPINGS[0]}]` },
    { name: 'top', value: 'N', sentence: `Rows of each table [${USUAL_TOP}]` },
    { name: 'since', value: 'TIME', sentence: 'From then on: "1h", or "2024-05-01T12:00:00Z" [all that is held]' },
    { name: 'until', value: 'TIME', sentence: 'Before then, written likewise' },
    OUTPUT_FLAG,
    ...FILTER_FLAGS,
  ],
  examples: ['weir flows top --since 10m', 'weir flows top --by workload --namespace shop -A'],
  run: (call) =>
    withAgents(call, async ({ ask, areMany }) => {
      const { flags, io } = call;
      const top = flags.count('top') ?? USUAL_TOP;
      if (top < 1) throw new UsageError('--top: expected a number from 1');
      const by = flags.choice('by', GROUPINGS);
      const times = { since: flags.one('since'), until: flags.one('until') };
      // of several nodes a connection is summed on its initiator's only
      const query = { ...filterQuery(flags), ...times, by, top: MOST, once: areMany ? 'true' : undefined };
      const asked = await ask((client) => client.get<StatsAnswer>('/v1/flows/stats', query));
      if (flags.choice('output', OUTPUTS) === 'json') {
        await io.out(json(areMany ? manyAnswers(asked) : asked.answers[0]?.value));
      } else {
        await io.out(table(PAIR_HEADER, summedPairs(asked).slice(0, top).map(pairRow)));
        const drops = summedDrops(asked).slice(0, top);
        if (drops.length > 0) await io.out(`\n${table(['DROPS', 'REASON', 'BY'], drops)}`);
      }
      return tellSilent(asked, io);
    }),
};

const PAIR_HEADER = ['FROM', 'TO', 'PORT', 'CONNECTIONS', 'BYTES', 'PACKETS', 'DROPS'];

function summedPairs({ answers }: Pick<Answers<StatsAnswer>, 'answers'>): PairAnswer[] {
  const sums = new Map<string, PairAnswer>();
  for (const pair of answers.flatMap(({ value }) => value.pairs)) {
    const key = [pair.from, pair.to, pair.protocol, pair.port].join('\u0000');
    const before = sums.get(key);
    sums.set(key, {
      ...pair,
      connections: pair.connections + (before?.connections ?? 0),
      bytes: pair.bytes + (before?.bytes ?? 0),
      packets: pair.packets + (before?.packets ?? 0),
      drops: pair.drops + (before?.drops ?? 0),
    });
  }
  return [...sums.values()].sort((a, b) => b.bytes - a.bytes || b.drops - a.drops);
}

function pairRow({ from, to, protocol, port, connections, bytes, packets, drops }: PairAnswer): string[] {
  const where = port === 0 ? protocol : `${port}/${protocol}`;
  return [from, to, where, String(connections), size(bytes), String(packets), String(drops)];
}

function summedDrops({ answers }: Answers<StatsAnswer>): string[][] {
  const sums = new Map<string, [count: number, reason: string, by: string]>();
  for (const { reason, rule, isolatedBy, drops } of answers.flatMap(({ value }) => value.drops)) {
    const by = rule ? rule.description : isolatedBy.length > 0 ? `isolated by ${isolatedBy.join(', ')}` : '';
    const key = `${reason}\u0000${by}`;
    sums.set(key, [drops + (sums.get(key)?.[0] ?? 0), reason, by]);
  }
  return [...sums.values()].sort(([a], [b]) => b - a).map(([count, reason, by]) => [String(count), reason, by]);
}

function size(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const unit = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 2 ** (10 * unit);
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}
