/** What is written for each setting, and where: the place that wins. */
import { readFileSync } from 'node:fs';
import { LineCounter, parseDocument } from 'yaml';
import { didYouMean } from '../model/did-you-mean.ts';
import { parseFlags } from '../run/flags.ts';
import { flagName, variableName } from '../run/settings.ts';
import { FLAGS } from './reference.ts';
import { SETTING_NAMES, SETTINGS, type SettingName } from './settings.ts';

export interface ConfigSources {
  /** Words after the program's name. */
  readonly args: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Reads the file named by --config; the disk by default. */
  readonly readFile?: (path: string) => string;
}

export type Written = Map<SettingName, { readonly value: string; readonly place: string }>;

/** Flags before variables, variables before the file. What cannot be understood is appended to `errors`. */
export function collect(sources: ConfigSources, errors: string[]): Written {
  const flags = parseFlags(sources.args, FLAGS);
  errors.push(...flags.errors);
  if (flags.words.length > 0) errors.push(`unexpected ${JSON.stringify(flags.words[0])}: every setting is a flag`);

  const written: Written = new Map();
  const file = flags.values.get('config')?.[0] ?? sources.environment.WEIR_CONFIG;
  if (file) collectFile(file, sources.readFile ?? ((at) => readFileSync(at, 'utf8')), written, errors);
  for (const key of SETTING_NAMES) {
    const value = sources.environment[variableName(key)];
    if (value !== undefined) written.set(key, { value, place: variableName(key) });
  }
  for (const key of SETTING_NAMES) {
    const value = flags.values.get(flagName(key))?.[0];
    if (value !== undefined) written.set(key, { value, place: `--${flagName(key)}` });
  }
  const known = new Set(['WEIR_CONFIG', 'WEIR_SERVER', ...SETTING_NAMES.map(variableName)]);
  for (const variable of Object.keys(sources.environment)) {
    // WEIR_TEST_* and the like belong to others; a near miss of one of ours is a mistake.
    if (!variable.startsWith('WEIR_') || known.has(variable)) continue;
    const hint = didYouMean(variable, known);
    if (hint !== '') errors.push(`unknown variable ${variable}${hint}`);
  }
  return written;
}

function collectFile(file: string, readFile: (path: string) => string, written: Written, errors: string[]): void {
  let content: string;
  try {
    content = readFile(file);
  } catch (error) {
    errors.push(`--config: cannot read ${file}: ${(error as Error).message}`);
    return;
  }
  const lines = new LineCounter();
  const document = parseDocument(content, { lineCounter: lines, prettyErrors: false });
  for (const error of document.errors) errors.push(`${file}:${lines.linePos(error.pos[0]).line}: ${error.message}`);
  if (document.errors.length > 0) return;
  const settings: unknown = document.toJS() ?? {};
  if (typeof settings !== 'object' || settings === null || Array.isArray(settings)) {
    errors.push(`${file}: expected settings as "name: value"`);
    return;
  }
  for (const [key, value] of Object.entries(settings)) {
    const place = `${file}: ${key}`;
    if (!(key in SETTINGS)) errors.push(`${file}: unknown setting ${key}${didYouMean(key, SETTING_NAMES)}`);
    else if (Array.isArray(value)) written.set(key as SettingName, { value: value.join(' '), place });
    else if (typeof value === 'object') errors.push(`${place}: expected a single value`);
    else written.set(key as SettingName, { value: String(value), place });
  }
}
