/**
 * Rows of the Service tables in few words, for tests of the programs:
 *
 *     setService(datapath, 'tcp', '10.96.0.1', 80, [['10.9.0.3', 8080]]);
 */
import { familyOf, parseAddress } from '../../agent/model/address.ts';
import type { DatapathFixture } from './datapath-fixture.ts';
import { paddedAddress } from './datapath-rows.ts';
import { IPPROTO } from './packet.ts';

export type BackendWords = readonly [address: string, port: number];

let lastSlots = 0;

/** Puts a Service in the place of what the frontend had: new slots, then the switch. Old slots stay, as in the grace. */
export function setService(
  datapath: DatapathFixture,
  protocol: 'tcp' | 'udp',
  address: string,
  port: number,
  backends: readonly BackendWords[],
  affinitySeconds = 0,
): void {
  const slots = ++lastSlots;
  for (const [index, [to, targetPort]] of backends.entries()) {
    const backend = { address: paddedAddress(to), port: targetPort, family: to.includes(':') ? 6 : 4 };
    datapath.put('service_slots', { slots, index }, backend);
    datapath.put('service_members', { slots, backend }, 1);
  }
  datapath.put('services', serviceKey(undefined, address, 0), { slots: 0, count: 0, affinitySeconds: 0, flags: 0 });
  const service = { slots, count: backends.length, affinitySeconds, flags: 0 };
  datapath.put('services', serviceKey(protocol, address, port), service);
}

export function removeService(datapath: DatapathFixture, protocol: 'tcp' | 'udp', address: string, port: number): void {
  datapath.delete('services', serviceKey(protocol, address, port));
}

/** The address is a Service's no more. */
export function removeVirtualAddress(datapath: DatapathFixture, address: string): void {
  datapath.delete('services', serviceKey(undefined, address, 0));
}

function serviceKey(protocol: 'tcp' | 'udp' | undefined, address: string, port: number) {
  const parsed = parseAddress(address);
  if (parsed === undefined) throw new TypeError(`not an IP address: ${address}`);
  return {
    address: paddedAddress(address),
    port,
    protocol: protocol === undefined ? 0 : IPPROTO[protocol],
    family: familyOf(parsed),
  };
}
