/** What the kernel has, as far as it matters here, and questions about it. Pure. */
import type { InterfaceAddress, Link, Route } from '../../native/index.ts';
import {
  type Address,
  addressBytes,
  type Family,
  familyOf,
  formatPrefix,
  type Prefix,
  prefixLength,
} from '../model/address.ts';
import { ROUTE_PROTOCOL } from './names.ts';

export interface Found {
  readonly links: readonly Link[];
  readonly addresses: readonly InterfaceAddress[];
  /** Of table main. */
  readonly routes: readonly Route[];
  /** Values of the settings of our devices (plan.ts), by key. */
  readonly sysctls: ReadonlyMap<string, string>;
  /** Our nftables table; 'as loaded': it is what the kernel made of {@link loadedRules}. */
  readonly rules: 'absent' | 'as loaded' | 'different';
  /** What this agent loaded last. */
  readonly loadedRules: string | undefined;
  /** False when the kernel was started without IPv6. */
  readonly hasIpv6: boolean;
}

export const isOurs = (route: Route): boolean => route.protocol === ROUTE_PROTOCOL;

/** "0.0.0.0/0" for default4. */
export function destinationOf({ dst }: Route): Prefix {
  return (dst === 'default4' ? '0.0.0.0/0' : dst === 'default6' ? '::/0' : dst) as Prefix;
}

/** Says by which route of others an address is reached: longest prefix, then metric. Rules and other tables are not looked at. */
export function routeLookup(routes: readonly Route[]): (address: Address) => Route | undefined {
  const best = new Map<Prefix, Route>();
  for (const route of routes.filter((route) => !isOurs(route))) {
    const dst = destinationOf(route);
    const other = best.get(dst);
    if (other === undefined || (route.metric ?? 0) < (other.metric ?? 0)) best.set(dst, route);
  }
  const lengths = ([4, 6] as const).map((family) => {
    const found = [...best.keys()].filter((prefix) => familyOf(prefix) === family).map(prefixLength);
    return [...new Set(found)].sort((a, b) => b - a);
  });
  return (address) => {
    const bytes = addressBytes(address);
    const [ipv4 = [], ipv6 = []] = lengths;
    for (const length of familyOf(address) === 4 ? ipv4 : ipv6) {
      const route = best.get(formatPrefix(bytes, length));
      if (route !== undefined) return route;
    }
    return undefined;
  };
}

/** Devices of the default routes of a family, best first. */
export function defaultDevices(family: Family, found: Found): Link[] {
  return found.routes
    .filter((route) => route.dst === `default${family}` && route.type === 'unicast')
    .sort((a, b) => (a.metric ?? 0) - (b.metric ?? 0))
    .flatMap((route) => found.links.filter(({ index }) => index === route.index));
}

/** Devices that have one of these addresses, in the order of the addresses. */
export function devicesOf(addresses: readonly Address[], found: Found): Link[] {
  const having = addresses.flatMap((own) => found.addresses.filter(({ address }) => address === own));
  return [...new Set(having.flatMap(({ index }) => found.links.filter((link) => link.index === index)))];
}
