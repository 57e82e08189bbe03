/**
 * Settings declared as a table: name, default, how to read it, and its sentence. The same table reads flags, WEIR_*
 * variables and a configuration file, and prints --help and docs/reference/settings.md.
 */
import { isAbsolute } from 'node:path';
import { type Family, familyOf, type Prefix, parsePrefix } from '../model/address.ts';

/** What a text was expected to be, in words that fit behind "expected ". */
export class Expected {
  readonly what: string;
  constructor(what: string) {
    this.what = what;
  }
}

export interface Setting<T> {
  /** Default as it would be written; '' where the value is then computed or empty. */
  readonly fallback: string;
  /** What to write, e.g. "PATH" or "SECONDS"; undefined: a switch. */
  readonly value: string | undefined;
  readonly sentence: string;
  read(text: string): T | Expected;
}

export function text(fallback: string, value: string, sentence: string): Setting<string> {
  return { fallback, value, sentence, read: (written) => written };
}

/** Where something speaks HTTP; '' for nowhere. */
export function httpUrl(sentence: string): Setting<string> {
  const isOne = (written: string): boolean => /^https?:[/][/]/.test(written) && URL.canParse(written);
  return {
    fallback: '',
    value: 'URL',
    sentence,
    read: (written) => (written === '' || isOne(written) ? written : new Expected('an http:// or https:// URL')),
  };
}

/** A name as Kubernetes writes names of nodes and clusters: RFC 1123, at most 253 letters. */
export function name(fallback: string, sentence: string): Setting<string> {
  const shape = /^[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$/;
  return {
    fallback,
    value: 'NAME',
    sentence,
    read: (written) =>
      written === '' || shape.test(written) ? written : new Expected('lower-case letters, digits, "-" and "."'),
  };
}

export function path(fallback: string, sentence: string): Setting<string> {
  return {
    fallback,
    value: 'PATH',
    sentence,
    read: (written) => (written === '' || isAbsolute(written) ? written : new Expected('an absolute path')),
  };
}

export function integer(
  fallback: number,
  range: readonly [number, number],
  value: string,
  sentence: string,
): Setting<number> {
  const [least, most] = range;
  return {
    fallback: String(fallback),
    value,
    sentence,
    read(written) {
      const number = Number(written);
      const fits = /^[0-9]+$/.test(written) && number >= least && number <= most;
      return fits ? number : new Expected(`a whole number from ${least} to ${most}`);
    },
  };
}

/** A size that the kernel wants as a power of two. */
export function powerOfTwo(
  fallback: number,
  range: readonly [number, number],
  value: string,
  sentence: string,
): Setting<number> {
  const whole = integer(fallback, range, value, sentence);
  return {
    ...whole,
    read(written) {
      const number = whole.read(written);
      const fits = typeof number === 'number' && Number.isInteger(Math.log2(number));
      return fits ? number : new Expected(`a power of two from ${range[0]} to ${range[1]}`);
    },
  };
}

export function toggle(fallback: boolean, sentence: string): Setting<boolean> {
  return {
    fallback: String(fallback),
    value: undefined,
    sentence,
    read: (written) => (written === 'true' ? true : written === 'false' ? false : new Expected('true or false')),
  };
}

export function oneOf<const T extends string>(choices: readonly T[], fallback: T, sentence: string): Setting<T> {
  return {
    fallback,
    value: choices.join('|'),
    sentence,
    read: (written) => choices.find((choice) => choice === written) ?? new Expected(`one of ${choices.join(', ')}`),
  };
}

/** Words separated by spaces or commas. */
export function words(fallback: string, value: string, sentence: string): Setting<readonly string[]> {
  return {
    fallback,
    value,
    sentence,
    read: (written) => Object.freeze(written.split(/[\s,]+/).filter((word) => word !== '')),
  };
}

/** Words that are regular expressions behind an optional "!" and "source:". */
export function patterns(fallback: string, value: string, sentence: string): Setting<readonly string[]> {
  const plain = words(fallback, value, sentence);
  return {
    ...plain,
    read(written) {
      const list = plain.read(written);
      const fits =
        !(list instanceof Expected) && list.every((word) => isRegularExpression(word.replace(/^!?([^:]*:)?/, '')));
      return fits ? list : new Expected('regular expressions, [!][SOURCE:]KEY each');
    },
  };
}

function isRegularExpression(source: string): boolean {
  try {
    new RegExp(source);
    return true;
  } catch {
    return false;
  }
}

/** A prefix of one family, or "none". */
export function prefix(fallback: string, family: Family, sentence: string): Setting<Prefix | undefined> {
  return {
    fallback,
    value: 'PREFIX|none',
    sentence,
    read(written) {
      if (written === 'none') return undefined;
      const parsed = parsePrefix(written);
      if (!parsed || familyOf(parsed) !== family)
        return new Expected(`an IPv${family} prefix such as ${fallback}, or none`);
      if (parsed !== written) return new Expected(`a prefix without host bits: ${parsed}`);
      return parsed;
    },
  };
}

/** Prefixes of either family, separated by commas or spaces. */
export function prefixes(fallback: string, value: string, sentence: string): Setting<readonly Prefix[]> {
  return {
    fallback,
    value,
    sentence,
    read(written) {
      const words = written.split(/[\s,]+/).filter((word) => word !== '');
      const parsed = words.map((word) => parsePrefix(word));
      const wrong = words.find((word, i) => parsed[i] !== word);
      if (wrong === undefined) return parsed as Prefix[];
      const canonical = parsePrefix(wrong);
      return new Expected(
        canonical
          ? `a prefix without host bits: ${canonical}`
          : `prefixes such as 10.0.0.0/8, not ${JSON.stringify(wrong)}`,
      );
    },
  };
}

/** podCidrV4 -> pod-cidr-v4, flowMemoryMiB -> flow-memory-mib. */
export function flagName(key: string): string {
  return key.replace(/MiB$/, 'Mib').replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** podCidrV4 -> WEIR_POD_CIDR_V4. */
export function variableName(key: string): string {
  return `WEIR_${flagName(key).toUpperCase().replaceAll('-', '_')}`;
}
