/** What goes to stdout: the result of ADD and the error object, in the words of each version. SPEC.md, "Result types". */

import type { Added } from '../endpoint/add.ts';
import { ERRORS, type WeirError } from '../errors.ts';
import { familyOf, hostPrefix } from '../model/address.ts';
import type { Dns } from './netconf.ts';
import { type CniVersion, isAtLeast } from './version.ts';

/** What every pod sees as its router; the same in bpf/abi/endpoint.h. */
export const GATEWAYS = { 4: '169.254.1.1', 6: 'fe80::1' } as const;
const DEFAULT_ROUTES = { 4: '0.0.0.0/0', 6: '::/0' } as const;

/** Index of the pod's interface in `interfaces`. */
const POD_INTERFACE = 1;

export function addResult(version: CniVersion, { record, wired }: Added, dns: Dns): string {
  // `mtu` came with 1.1.0, and a `version` beside each address went with 1.0.0.
  const mtu = isAtLeast(version, '1.1.0') ? { mtu: wired.mtu } : {};
  const families = [...new Set(record.addresses.map(familyOf))];
  return JSON.stringify({
    cniVersion: version,
    interfaces: [
      { name: record.hostInterface, mac: wired.hostMac, ...mtu },
      { name: record.interfaceName, mac: record.mac, ...mtu, sandbox: record.netns },
    ],
    ips: record.addresses.map((address) => ({
      ...(isAtLeast(version, '1.0.0') ? {} : { version: String(familyOf(address)) }),
      address: hostPrefix(address),
      gateway: GATEWAYS[familyOf(address)],
      interface: POD_INTERFACE,
    })),
    routes: families.map((family) => ({ dst: DEFAULT_ROUTES[family], gw: GATEWAYS[family] })),
    dns,
  });
}

export function errorResult(version: CniVersion, error: WeirError): string {
  const details = error.details === '' ? {} : { details: error.details };
  return JSON.stringify({ cniVersion: version, code: ERRORS[error.code].cni, msg: error.message, ...details });
}
