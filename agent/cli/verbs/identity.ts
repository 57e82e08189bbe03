/** weir identity list | get: numbers and the labels they stand for. */
import type { IdentitiesAnswer, IdentityAnswer } from '../../api/identities.ts';
import { connect } from '../client.ts';
import { type Call, CliError, type Command, EXIT, type ExitCode, UsageError } from '../command.ts';
import { OUTPUT_FLAG, OUTPUTS } from '../flags.ts';
import { json, table } from '../table.ts';

export const IDENTITY_LIST: Command = {
  words: ['identity', 'list'],
  operands: [],
  sentence: 'List the security identities this node knows',
  flags: [OUTPUT_FLAG],
  async run(call) {
    const { identities } = await connect(call).get<IdentitiesAnswer>('/v1/identities');
    return print(call, identities, identities);
  },
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
    const { identities } = await connect(call).get<IdentitiesAnswer>('/v1/identities');
    const identity = identities.find((one) => isWanted(one, wanted));
    if (!identity) throw new CliError(`this node knows no identity ${wanted}`);
    return print(call, [identity], identity);
  },
};

function isWanted(identity: IdentityAnswer, wanted: string): boolean {
  if (/^[0-9]+$/.test(wanted)) return identity.id === Number(wanted);
  const label = `reserved:${wanted.replace(/^reserved:/, '')}`;
  return identity.reserved && identity.labels.includes(label);
}

async function print(call: Call, identities: readonly IdentityAnswer[], value: unknown): Promise<ExitCode> {
  const rows = identities.map(({ id, labels }) => [String(id), [...labels]]);
  const asJson = call.flags.choice('output', OUTPUTS) === 'json';
  await call.io.out(asJson ? json(value) : table(['ID', 'LABELS'], rows));
  return EXIT.ok;
}
