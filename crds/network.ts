/** How addresses, prefixes and ports are written. */
import type { Condition } from './schema.ts';

/** Decimal without leading zeros: "010" is 10 to the API server's formats and 8 to others, so nobody may write it. */
const DECIMAL = '(0|[1-9][0-9]{0,2})';
const ANY_ADDRESS = `(([0-9A-Fa-f:]*:)?${DECIMAL}([.]${DECIMAL}){3}|[0-9A-Fa-f:]+)`;

export const ADDRESS: Condition = { anyOf: [{ format: 'ipv4' }, { format: 'ipv6' }], pattern: `^${ANY_ADDRESS}$` };
/** With its length: "10.0.0.0/8". In allOf, because beside a type the API server lets a format take lists as well. */
export const PREFIX: Condition = { allOf: [{ format: 'cidr' }], pattern: `^${ANY_ADDRESS}/${DECIMAL}$` };
export const ADDRESS_OR_PREFIX: Condition = {
  anyOf: [{ format: 'cidr' }, { format: 'ipv4' }, { format: 'ipv6' }],
  pattern: `^${ANY_ADDRESS}(/${DECIMAL})?$`,
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
