/** Random selectors, CIDRs and ports, the pieces all three languages are made of. */

import type { Random } from '../../kit/random.ts';
import { LABELS, PORTS } from './cluster.ts';

/** Blocks that overlap each other, pods, nodes and the outside; some with host bits set. */
const BLOCKS = [
  '0.0.0.0/0',
  '10.0.0.0/8',
  '10.0.0.0/16',
  '10.0.1.0/24',
  '10.0.1.7/24',
  '10.0.1.0/29',
  '10.0.2.3/32',
  '10.9.0.0/16',
  '192.168.0.0/24',
  '192.168.0.1/32',
  '203.0.113.0/24',
  '203.0.113.128/25',
  '203.0.113.7/32',
  '::/0',
  'fd00::/8',
  'fd00::/16',
  'fd00:0:0:1::/64',
  'fd00:0:0:1::5/64',
  'fd00:0:0:2::3/128',
  'fd01::/64',
  '2001:db8::/32',
  '2001:db8:0:1::/64',
  '2001:db8::7/128',
];

export function block(random: Random): string {
  return random.pick(BLOCKS);
}

/** A block with holes that lie inside it. */
export function blockWithExcept(random: Random): { cidr: string; except?: string[] } {
  const cidr = block(random);
  const length = Number(cidr.split('/')[1]);
  const inner = BLOCKS.filter((other) => isInside(other, cidr) && Number(other.split('/')[1]) >= length);
  if (random.chance(0.4) || inner.length === 0) return { cidr };
  return { cidr, except: random.some(inner, 1, 3) };
}

/** Enough for the blocks above: containment by listed parents. */
const PARENTS: Readonly<Record<string, readonly string[]>> = {
  '0.0.0.0/0': BLOCKS.filter((one) => !one.includes(':')),
  '10.0.0.0/8': BLOCKS.filter((one) => one.startsWith('10.')),
  '10.0.0.0/16': BLOCKS.filter((one) => one.startsWith('10.0.')),
  '10.0.1.0/24': ['10.0.1.0/29', '10.0.1.7/24', '10.0.1.0/24'],
  '192.168.0.0/24': ['192.168.0.1/32'],
  '203.0.113.0/24': ['203.0.113.128/25', '203.0.113.7/32'],
  '::/0': BLOCKS.filter((one) => one.includes(':')),
  'fd00::/8': BLOCKS.filter((one) => one.startsWith('fd')),
  'fd00::/16': BLOCKS.filter((one) => one.startsWith('fd00')),
  '2001:db8::/32': ['2001:db8:0:1::/64', '2001:db8::7/128'],
};

function isInside(inner: string, outer: string): boolean {
  return (PARENTS[outer] ?? []).includes(inner);
}

export interface KeyChoice {
  readonly key: string;
  readonly values: readonly string[];
}

export function choices(from: Readonly<Record<string, readonly string[]>>, prefix = ''): KeyChoice[] {
  return Object.entries(from).map(([key, values]) => ({ key: prefix + key, values }));
}

/** A selector over some of the keys; often empty, mostly of one condition, so that it often matches. */
export function selector(random: Random, keys: readonly KeyChoice[] = choices(LABELS)): object {
  if (random.chance(0.25)) return {};
  const matchLabels = Object.fromEntries(
    random.some(keys, 0, random.chance(0.8) ? 1 : 2).map(({ key, values }) => [key, random.pick(values)]),
  );
  const matchExpressions = random.chance(0.3) ? random.many(1, 2, () => expression(random, random.pick(keys))) : [];
  return {
    ...(Object.keys(matchLabels).length > 0 || random.chance(0.1) ? { matchLabels } : {}),
    ...(matchExpressions.length > 0 ? { matchExpressions } : {}),
  };
}

function expression(random: Random, { key, values }: KeyChoice): object {
  const operator = random.pick(['In', 'NotIn', 'Exists', 'DoesNotExist']);
  return operator.endsWith('In') ? { key, operator, values: random.some(values, 1, values.length) } : { key, operator };
}

export function port(random: Random): number {
  return random.chance(0.8) ? random.pick(PORTS) : 1 + random.int(65535);
}

/** First and last of a range, in order. */
export function range(random: Random): { first: number; last: number } {
  const [a, b] = [port(random), port(random)];
  return { first: Math.min(a, b), last: Math.max(a, b) };
}
