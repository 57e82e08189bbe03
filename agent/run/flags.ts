/**
 * A strict command line parser: flags are declared in a table, everything else is an error with a suggestion.
 * Accepts what pflag accepts (which Cilium's and Hubble's users are used to): --name value, --name=value, -n value,
 * -nvalue, -n=value, joined switches (-fx), and "--" before words that only look like flags.
 */
import { didYouMean } from '../model/did-you-mean.ts';

export interface Flag {
  /** Long name without dashes. */
  readonly name: string;
  /** One letter without dash. */
  readonly short?: string;
  /** What the value is, for --help, e.g. "FILE". A flag without one is a switch: true when given, or --name=false. */
  readonly value?: string;
  /** The only values there are. */
  readonly choices?: readonly string[];
  /** May be given more than once. */
  readonly repeat?: boolean;
  /** May stand behind the switch {@link NOT}, which turns it around. */
  readonly negatable?: boolean;
  readonly sentence: string;
}

/** The switch before a flag that is to be turned around, in commands that have it. */
export const NOT = 'not';

/** What a flag's values behind {@link NOT} are kept by. */
export function notName(name: string): string {
  return `${NOT} ${name}`;
}

export interface ParsedFlags {
  /**
   * Values as written, by flag name, in order; a switch has "true" or "false". Flags not given are absent. Those behind --not
   * are by their {@link notName}.
   */
  readonly values: ReadonlyMap<string, readonly string[]>;
  /** Words that are no flags, in order. */
  readonly words: readonly string[];
  /** Everything wrong with the command line; empty when it is right. */
  readonly errors: readonly string[];
}

export function parseFlags(args: readonly string[], flags: readonly Flag[]): ParsedFlags {
  const values = new Map<string, string[]>();
  const words: string[] = [];
  const errors: string[] = [];
  const rest = [...args];

  let isTurned = false;
  const turn = (attached: string | undefined): void => {
    if (attached !== undefined) errors.push(`--${NOT} needs a filter behind it, and no value`);
    isTurned = true;
  };

  const take = (flag: Flag, written: string, attached: string | undefined): void => {
    if (isTurned && !flag.negatable) errors.push(`--${NOT} needs a filter behind it, not ${written}`);
    if (flag.name === NOT) {
      turn(attached);
      return;
    }
    const name = isTurned && flag.negatable ? notName(flag.name) : flag.name;
    isTurned = false;
    let value = attached;
    if (flag.value === undefined) {
      value ??= 'true';
      if (value !== 'true' && value !== 'false') errors.push(`${written} takes true or false, not ${quote(value)}`);
    } else if (value === undefined) {
      value = rest.shift();
      if (value === undefined) {
        errors.push(`${written} needs a value: ${written} ${flag.value}`);
        return;
      }
    }
    if (flag.choices && !flag.choices.includes(value)) {
      const expected = `expected one of ${flag.choices.join(', ')}`;
      errors.push(`${written}: ${expected}, got ${quote(value)}${didYouMean(value, flag.choices)}`);
    }
    const before = values.get(name);
    if (!before) values.set(name, [value]);
    else if (flag.repeat) before.push(value);
    else errors.push(`${written} was given more than once`);
  };

  const takeShort = (word: string): void => {
    for (let at = 1; at < word.length; at++) {
      const flag = flags.find((f) => f.short === word[at]);
      if (!flag) {
        errors.push(`unknown flag -${word[at]}${word.length > 2 ? ` in ${word}` : ''}`);
        return;
      }
      const after = word.slice(at + 1);
      if (flag.value === undefined && !after.startsWith('=')) {
        take(flag, `-${word[at]}`, undefined);
        continue;
      }
      take(flag, `-${word[at]}`, after === '' ? undefined : after.replace(/^=/, ''));
      return;
    }
  };

  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (word === '--') {
      words.push(...rest.splice(0));
    } else if (word.startsWith('--')) {
      const equals = word.indexOf('=');
      const name = word.slice(2, equals < 0 ? undefined : equals);
      const flag = flags.find((f) => f.name === name);
      if (flag) take(flag, `--${name}`, equals < 0 ? undefined : word.slice(equals + 1));
      else
        errors.push(
          `unknown flag --${name}${didYouMean(
            `--${name}`,
            flags.map((f) => `--${f.name}`),
          )}`,
        );
    } else if (word.length > 1 && word.startsWith('-')) {
      takeShort(word);
    } else {
      words.push(word);
    }
  }
  if (isTurned) errors.push(`--${NOT} needs a filter behind it`);
  return { values, words, errors };
}

/** The flags as lines of --help: "  -o, --output FORMAT   sentence", aligned. */
export function describeFlags(flags: readonly Flag[]): string {
  const heads = flags.map((f) => {
    const short = f.short === undefined ? '    ' : `-${f.short}, `;
    return `  ${short}--${f.name}${f.value === undefined ? '' : ` ${f.value}`}`;
  });
  const width = Math.max(0, ...heads.map((head) => head.length)) + 3;
  return flags.map((f, i) => `${(heads[i] as string).padEnd(width)}${f.sentence}`).join('\n');
}

function quote(text: string): string {
  return JSON.stringify(text);
}
