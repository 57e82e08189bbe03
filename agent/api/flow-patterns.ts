/**
 * How the values of /v1/flows's fields are written, as patterns for those who read the OpenAPI document: clients, and tools
 * that make requests from it. The readers are flow-values.ts and flow/label-selector.ts; a test holds the two together.
 */
import { TCP_FLAG_NAMES } from '../flow/flow.ts';
import { RESERVED_IDENTITIES } from '../model/identity.ts';
import { PROTOCOLS, TRACE_POINTS, TYPE_NUMBERS } from './flow-values.ts';

const anyCase = (word: string): string =>
  word.replace(/[a-z]/gi, (letter) => `[${letter.toLowerCase()}${letter.toUpperCase()}]`);
const whole = (...choices: readonly string[]): string => `^(?:${choices.join('|')})$`;

const BYTE = '(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])';
const IPV4 = `(?:${BYTE}\\.){3}${BYTE}`;
const GROUP = '[0-9a-fA-F]{1,4}';
/** Without an IPv4 address at its end, but for the mapped ones. */
const IPV6 = `(?:${[
  `(?:${GROUP}:){7}${GROUP}`,
  ...[1, 2, 3, 4, 5, 6].map((n) => `(?:${GROUP}:){1,${n}}(?::${GROUP}){1,${7 - n}}`),
  `(?:${GROUP}:){1,7}:`,
  `:(?::${GROUP}){1,7}`,
  `::(?:[fF]{4}:${IPV4})?`,
].join('|')})`;

const KEY = '(?:[a-zA-Z0-9_.\\-]+:)?[a-zA-Z0-9](?:[a-zA-Z0-9_.\\/\\-]*[a-zA-Z0-9])?';
/** Never empty: blanks must belong to one place only, or a text that does not fit is tried in exponentially many ways. */
const VALUE = '[^\\s,()=!<>]+';
const IN_LIST = `(?:${VALUE}\\s*)?`;
const REQUIREMENT = `(?:${[
  `!?\\s*${KEY}`,
  `${KEY}\\s*(?:==?|!=)(?:\\s*${VALUE})?`,
  `${KEY}\\s*[<>]\\s*[0-9]{1,18}`,
  `${KEY}\\s+(?:in|notin)\\s*\\(\\s*${IN_LIST}(?:,\\s*${IN_LIST})*\\)`,
].join('|')})`;

const TCP_FLAG = `(?:${TCP_FLAG_NAMES.map(anyCase).join('|')})`;

const CLOCK = '(?:[01][0-9]|2[0-3]):[0-5][0-9]';
const DATE = '[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])';

export const PATTERNS = {
  protocol: whole(...Object.keys(PROTOCOLS).map(anyCase), '[01]?[0-9]{1,2}', '2[0-4][0-9]', '25[0-5]'),
  eventType: whole(`(?:${Object.keys(TYPE_NUMBERS).join('|')})(?::[0-9]{1,5})?`, `trace:(?:${TRACE_POINTS.join('|')})`),
  tcpFlags: `^${TCP_FLAG}(?:,${TCP_FLAG})*$`,
  uuid: '^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}$',
  pod: '^(?:[^\\/]+|[^\\/]*\\/[^\\/]*)$',
  label: `^(?:\\s*${REQUIREMENT}\\s*(?:,\\s*${REQUIREMENT}\\s*)*)?$`,
  ip: whole(`${IPV4}(?:\\/(?:3[0-2]|[12]?[0-9]))?`, `${IPV6}(?:\\/(?:12[0-8]|1[01][0-9]|[1-9]?[0-9]))?`),
  identity: whole(
    '[0-9]{1,9}',
    '[1-3][0-9]{9}',
    '4[01][0-9]{8}',
    `(?:reserved:)?(?:${Object.keys(RESERVED_IDENTITIES).join('|')})`,
  ),
  time: whole(
    '(?:[0-9]{1,9}(?:\\.[0-9]{1,3})?(?:ms|s|m|h|d))+',
    `${DATE}T${CLOCK}(?::[0-5][0-9](?:\\.[0-9]{1,9})?)?(?:Z|[+\\-]${CLOCK})`,
  ),
  cursor: '^[0-9a-f]{18}-[1-9][0-9]{0,14}$',
} as const;
