/** weir version: which one this command is. What agents are is told by weir status. */
import packageJson from '../../../package.json' with { type: 'json' };
import { type Command, EXIT } from '../command.ts';
import { OUTPUT_FLAG, OUTPUTS } from '../flags.ts';
import { json } from '../table.ts';

export const VERSION: Command = {
  words: ['version'],
  operands: [],
  sentence: 'Show the version of this command; weir status shows those of agents',
  flags: [OUTPUT_FLAG],
  async run({ flags, io }) {
    const { version } = packageJson;
    await io.out(flags.choice('output', OUTPUTS) === 'json' ? json({ version }) : `weir ${version}\n`);
    return EXIT.ok;
  },
};
