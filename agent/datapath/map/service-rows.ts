/** Services and backends as structs (bpf/abi/service.h) and back. Pure. */
import { type Address, familyOf } from '../../model/address.ts';
import type { ServiceBackend, ServiceFrontend } from '../datapath.ts';
import type * as abi from '../layout.gen.ts';
import { addressOf, ipAddress } from './addresses.ts';

const PROTOCOLS = { TCP: 6, UDP: 17 } as const satisfies Record<ServiceFrontend['protocol'], number>;

export function encodeFrontend({ address, port, protocol }: ServiceFrontend): abi.ServiceKey {
  return { address: ipAddress(address), port, protocol: PROTOCOLS[protocol], family: familyOf(address) };
}

/** The key by which an address is known to be a Service's. */
export function encodeVirtualKey(address: Address): abi.ServiceKey {
  return { address: ipAddress(address), port: 0, protocol: 0, family: familyOf(address) };
}

/** Its value, which is not read. */
export const NO_BACKENDS: abi.Service = { slots: 0, count: 0, affinitySeconds: 0, flags: 0 };

/** Undefined for the row that stands for the address alone. */
export function decodeFrontend(key: abi.ServiceKey): ServiceFrontend | undefined {
  const address = addressOf(key.address, key.family);
  if (key.protocol === 0) return undefined;
  return { address, protocol: key.protocol === PROTOCOLS.TCP ? 'TCP' : 'UDP', port: key.port };
}

export function encodeBackend({ address, port }: ServiceBackend): abi.Backend {
  return { address: ipAddress(address), port, family: familyOf(address) };
}

export function decodeBackend(value: abi.Backend): ServiceBackend {
  return { address: addressOf(value.address, value.family), port: value.port };
}
