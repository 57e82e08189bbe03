/** Flags that several commands share. */
import type { Flag } from '../run/flags.ts';

export const DEFAULT_SERVER = 'unix:///run/weir/api.sock';

/** Of every command. */
export const SHARED_FLAGS: readonly Flag[] = [
  {
    name: 'server',
    value: 'ADDRESS',
    sentence: `The agent: unix:///PATH, or http://HOST:PORT [$WEIR_SERVER, else ${DEFAULT_SERVER}]`,
  },
  { name: 'help', short: 'h', sentence: 'Explain the command' },
];

/** Forms of a table; the first is the default. */
export const OUTPUTS = ['table', 'json'] as const;

/** Of commands that print a table or JSON. */
export const OUTPUT_FLAG: Flag = {
  name: 'output',
  short: 'o',
  value: OUTPUTS.join('|'),
  choices: OUTPUTS,
  sentence: `Form of the output [${OUTPUTS[0]}]`,
};
