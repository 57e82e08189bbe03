/** How addresses, prefixes and ports are written. The API server's formats are more lenient than ours in one point. */
import type { Condition } from './schema.ts';

/** "010.0.0.1" or "10.0.0.0/08": the API server reads decimal numbers, others octal ones; so nobody may write it. */
const LEADING_ZERO: Condition = { pattern: '(^|[.:])0[0-9]+[.]|[./]0[0-9]+(/|$)' };

export const ADDRESS: Condition = { anyOf: [{ format: 'ipv4' }, { format: 'ipv6' }], not: LEADING_ZERO };
/** With its length: "10.0.0.0/8". */
export const PREFIX: Condition = { format: 'cidr', not: LEADING_ZERO };
export const ADDRESS_OR_PREFIX: Condition = {
  anyOf: [{ format: 'cidr' }, { format: 'ipv4' }, { format: 'ipv6' }],
  not: LEADING_ZERO,
};

/** 1 to 65535 as decimal text. */
const NUMBER = '[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]';
/** 0 to 0177777 as octal text, which is how Cilium reads a number that begins with 0. */
const OCTAL = '0+([0-7]{1,5}|1[0-7]{5})';
/** RFC 6335, 5.1: letters, digits and single hyphens, a letter among them. */
const NAME = '([A-Za-z0-9]-?)*[A-Za-z](-?[A-Za-z0-9])*';

/** A port number that stands for one port. */
export const PORT_NUMBER: Condition = { pattern: `^(${NUMBER}|${OCTAL})$`, not: { pattern: '^0+$' } };
/** "0" (every port), a number or a name. */
export const PORT: Condition = { pattern: `^(0|${NUMBER}|${OCTAL}|${NAME})$`, maxLength: 15 };
export const PORT_NAME: Condition = { pattern: `^${NAME}$`, maxLength: 15 };
