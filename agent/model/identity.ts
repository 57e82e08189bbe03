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

/**
 * An API server outside the cluster: in the scope Cilium gives to identities of one node (1 << 24). On another node it is
 * `kube-apiserver`, on this one `host`.
 */
export const OUTSIDE_API_SERVER: IdentityNumber = 0x1000001;

/**
 * Labels of a reserved identity: "reserved:NAME"; the two world families also carry "reserved:world", and an API server
 * that runs on another node is that node too.
 */
export function reservedLabels(name: ReservedName): Labels {
  const labels = new Map([[`reserved:${name}`, '']]);
  if (name.startsWith('world-')) labels.set('reserved:world', '');
  if (name === 'kube-apiserver') labels.set('reserved:remote-node', '');
  return labels;
}

export const RESERVED: readonly Identity[] = [
  ...Object.entries(RESERVED_IDENTITIES).map(([name, number]) => ({
    number,
    labels: reservedLabels(name as ReservedName),
  })),
  {
    number: OUTSIDE_API_SERVER,
    labels: new Map([
      ['reserved:kube-apiserver', ''],
      ['reserved:world', ''],
    ]),
  },
];
