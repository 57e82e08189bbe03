/** The settings for people: the flags, and docs/reference/settings.md. */
import { describeFlags, type Flag } from '../run/flags.ts';
import { flagName, type Setting, variableName } from '../run/settings.ts';
import { SETTING_NAMES, SETTINGS } from './settings.ts';

const CONFIG_FLAG: Flag = {
  name: 'config',
  value: 'FILE',
  sentence: 'YAML or JSON file of settings, named as the flags without dashes: podCidrV4, ...',
};
export const FLAGS: readonly Flag[] = [
  CONFIG_FLAG,
  ...SETTING_NAMES.map((key) => {
    const setting: Setting<unknown> = SETTINGS[key];
    const fallback = setting.fallback === '' ? '' : ` [${setting.fallback}]`;
    return {
      name: flagName(key),
      ...(setting.value === undefined ? {} : { value: setting.value }),
      sentence: setting.sentence + fallback,
    };
  }),
];

/** The flags for --help. */
export function describeSettings(): string {
  return describeFlags(FLAGS);
}

/** docs/reference/settings.md. */
export function settingsReference(): string {
  const rows = SETTING_NAMES.map((key) => {
    const { fallback, sentence }: Setting<unknown> = SETTINGS[key];
    const cells = [
      `\`${key}\``,
      `\`--${flagName(key)}\``,
      `\`${variableName(key)}\``,
      fallback === '' ? '' : `\`${fallback}\``,
      sentence,
    ];
    return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  });
  return `${[
    '# Settings of weir-agent',
    '',
    'Generated from agent/config/settings.ts by docs/generate.ts; do not edit. Flags win over variables, variables over the file',
    'named by `--config` (YAML or JSON, keys as in the first column), the file over the defaults.',
    '',
    '| in a file | flag | variable | default | meaning |',
    '|---|---|---|---|---|',
    ...rows,
  ].join('\n')}\n`;
}
