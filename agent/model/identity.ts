/**
 * Numeric security identities. Reserved numbers and their meaning are Cilium's
 * (cilium/cilium pkg/identity/numericidentity.go), so that flows read the same in Hubble's tools.
 */
import type { Labels } from './labels.ts';

export type IdentityNumber = number;

export const RESERVED_IDENTITIES = {
  unknown: 0,
  host: 1,
  world: 2,
  unmanaged: 3,
  health: 4,
  init: 5,
  'remote-node': 6,
  'kube-apiserver': 7,
  ingress: 8,
  'world-ipv4': 9,
  'world-ipv6': 10,
} as const satisfies Record<string, IdentityNumber>;
export type ReservedName = keyof typeof RESERVED_IDENTITIES;

/** First and last number given to label sets of pods. Below: reserved, well-known and user-reserved ranges. */
export const FIRST_POD_IDENTITY = 256;
export const LAST_POD_IDENTITY = 65535;

export interface Identity {
  readonly number: IdentityNumber;
  readonly labels: Labels;
}

/** Labels of a reserved identity: "reserved:NAME"; the two world families also carry "reserved:world". */
export function reservedLabels(name: ReservedName): Labels {
  const labels = new Map([[`reserved:${name}`, '']]);
  if (name.startsWith('world-')) labels.set('reserved:world', '');
  // An API server's address is a node's or outside; Cilium adds the place's own label where it knows it.
  return labels;
}

export const RESERVED: readonly Identity[] = Object.entries(RESERVED_IDENTITIES).map(([name, number]) => ({
  number,
  labels: reservedLabels(name as ReservedName),
}));
