/** weir identity list | get: numbers and the labels they stand for. */
import type { IdentitiesAnswer, IdentityAnswer } from '../../api/identities.ts';
import { type Agents, withAgents } from '../agents.ts';
import { type Call, CliError, type Command, UsageError } from '../command.ts';
import { OUTPUT_FLAG, OUTPUTS } from '../flags.ts';
import { tellSilent } from '../silence.ts';
import { json, table } from '../table.ts';

export const IDENTITY_LIST: Command = {
  words: ['identity', 'list'],
  operands: [],
  sentence: 'List the security identities that the node knows, or all nodes',
  flags: [OUTPUT_FLAG],
  run: (call) =>
    withAgents(call, async (agents) => {
      const { asked, identities } = await askAll(agents);
      await print(call, identities, identities);
      return tellSilent(asked, call.io);
    }),
};

export const IDENTITY_GET: Command = {
  words: ['identity', 'get'],
  operands: ['ID'],
  sentence: 'Show the labels of one identity, by number or reserved name',
  flags: [OUTPUT_FLAG],
  examples: ['weir identity get 257', 'weir identity get host'],
  async run(call) {
    const wanted = call.operands[0] as string;
    if (!/^([0-9]+|(reserved:)?[a-z][-a-z0-9]*)$/.test(wanted)) {
      throw new UsageError(`ID: expected a number or a reserved name such as host, got "${wanted}"`);
    }
    return withAgents(call, async (agents) => {
      const { asked, identities } = await askAll(agents);
      const found = identities.filter((one) => isWanted(one, wanted));
      if (found.length === 0) {
        tellSilent(asked, call.io);
        throw new CliError(
          agents.areMany ? `no node that answered knows identity ${wanted}` : `this node knows no identity ${wanted}`,
        );
      }
      await print(call, found, found.length === 1 ? found[0] : found);
      return tellSilent(asked, call.io);
    });
  },
};

/**
 * An identity once, however many nodes know it, with the endpoints of all; a number that stands for other labels on another
 * node, which must not be, is there once for each set.
 */
async function askAll({ ask }: Agents) {
  const asked = await ask((client) => client.get<IdentitiesAnswer>('/v1/identities'));
  const all = asked.answers.flatMap(({ value }) => value.identities);
  const identities = [...Map.groupBy(all, ({ id, labels }) => JSON.stringify([id, labels])).values()].flatMap(
    (same) => {
      const [first] = same;
      return first ? [{ ...first, endpoints: same.reduce((sum, { endpoints }) => sum + endpoints, 0) }] : [];
    },
  );
  return { asked, identities: identities.sort((a, b) => a.id - b.id) };
}

function isWanted(identity: IdentityAnswer, wanted: string): boolean {
  if (/^[0-9]+$/.test(wanted)) return identity.id === Number(wanted);
  const label = `reserved:${wanted.replace(/^reserved:/, '')}`;
  return identity.reserved && identity.labels.includes(label);
}

async function print(call: Call, identities: readonly IdentityAnswer[], value: unknown): Promise<void> {
  const rows = identities.map(({ id, labels }) => [String(id), [...labels]]);
  const asJson = call.flags.choice('output', OUTPUTS) === 'json';
  await call.io.out(asJson ? json(value) : table(['ID', 'LABELS'], rows));
}
