/** weir map dump: the kernel's tables as they are. */
import type { MapName } from '../../api/map-dump.ts';
import type { MapAnswer } from '../../api/maps.ts';
import { withAgents } from '../agents.ts';
import { type Command, UsageError } from '../command.ts';
import { OUTPUT_FLAG, OUTPUTS } from '../flags.ts';
import { manyAnswers, tellSilent } from '../silence.ts';
import { json, table } from '../table.ts';

const MAPS = ['ct', 'ipcache', 'policy', 'services'] as const satisfies readonly MapName[];

export const MAP_DUMP: Command = {
  words: ['map', 'dump'],
  operands: ['MAP'],
  sentence: `Show what a table of the kernel holds: ${MAPS.join(', ')}`,
  flags: [OUTPUT_FLAG],
  examples: ['weir map dump ct', 'weir map dump ipcache --node node1', 'weir map dump services -o json'],
  run(call) {
    const name = call.operands[0] as string;
    if (!MAPS.some((one) => one === name)) {
      throw new UsageError(`MAP: expected one of ${MAPS.join(', ')}, got "${name}"`);
    }
    return withAgents(call, async ({ ask, areMany }) => {
      const asked = await ask((client) => client.get<MapAnswer>(`/v1/maps/${name}`));
      if (call.flags.choice('output', OUTPUTS) === 'json') {
        await call.io.out(json(areMany ? manyAnswers(asked) : asked.answers[0]?.value));
        return tellSilent(asked, call.io);
      }
      const named = asked.answers.flatMap(({ node, value }) =>
        value.rows.map((row) => (areMany ? { node, ...row } : row)),
      );
      const header = Object.keys(named[0] ?? {});
      if (named.length === 0) await call.io.out(`${name} is empty\n`);
      else {
        const rows = named.map((row) => header.map((column) => (row as Record<string, string>)[column] ?? ''));
        await call.io.out(
          table(
            header.map((column) => column.toUpperCase()),
            rows,
          ),
        );
      }
      for (const { node, value } of asked.answers) {
        if (value.total === value.rows.length) continue;
        call.io.err(`weir: ${node === '' ? '' : `${node}: `}the first ${value.rows.length} of ${value.total} rows\n`);
      }
      return tellSilent(asked, call.io);
    });
  },
};
