/**
 * What is to be done so that the kernel has what is desired: the difference, in an order that leaves no moment without a
 * way that is there before and after. Pure. Nothing but what names.ts describes is ever in a plan.
 */
import type { Link, Route } from '../../native/index.ts';
import { type Address, bitsOf, familyOf } from '../model/address.ts';
import type { Desired, DesiredDevice } from './desired.ts';
import { destinationOf, type Found, isOurs } from './found.ts';
import { OWN_DEVICES } from './names.ts';
import { type DesiredRoute, hasDefaultMetric } from './routes.ts';
import { IPV6_LEAST_MTU } from './uplinks.ts';

export type Operation =
  | { readonly kind: 'device.create'; readonly device: DesiredDevice }
  | { readonly kind: 'device.set'; readonly name: string; readonly set: DeviceSettings }
  | { readonly kind: 'device.delete'; readonly name: string }
  | { readonly kind: 'sysctl.set'; readonly key: string; readonly value: string }
  | {
      readonly kind: 'address.add' | 'address.delete';
      readonly device: string;
      readonly address: Address;
      readonly prefixLength: number;
    }
  /** `replace`: one of ours is there. */
  | { readonly kind: 'route.set'; readonly route: DesiredRoute; readonly replace: boolean }
  | { readonly kind: 'route.delete'; readonly route: Route }
  | { readonly kind: 'rules.load'; readonly text: string }
  | { readonly kind: 'rules.delete' };

export interface DeviceSettings {
  readonly up?: true;
  readonly arp?: false;
  readonly mac?: string;
  readonly mtu?: number;
}

/** Operations in the order they are to be done. */
export function plan(desired: Desired, found: Found): Operation[] {
  const devices = desired.devices.map((device) => planDevice(device, found));
  const stillThere = new Set(devices.flatMap(({ kept }) => (kept === undefined ? [] : [kept])));
  const gone = found.links.filter(
    (link) => OWN_DEVICES.includes(link.name) && !desired.devices.some(({ name }) => name === link.name),
  );
  const routes = planRoutes(desired, found, stillThere);
  // An address that goes takes the routes along whose source it is, also those that are kept for now.
  const surplus = desired.routesAreComplete ? devices.flatMap(({ after }) => after) : [];
  return [
    ...devices.flatMap(({ before }) => before),
    ...routes.set,
    ...routes.delete,
    ...surplus,
    ...gone.map(({ name }): Operation => ({ kind: 'device.delete', name })),
    ...planRules(desired, found),
  ];
}

interface DevicePlan {
  /** The device that is there stays. */
  readonly kept: Link | undefined;
  readonly before: readonly Operation[];
  /** When routes no longer have the old address as source. */
  readonly after: readonly Operation[];
}

function planDevice(device: DesiredDevice, found: Found): DevicePlan {
  const { name } = device;
  const there = found.links.find((link) => link.name === name);
  const kept = there !== undefined && isAsMade(device, there) ? there : undefined;
  const addresses = found.addresses.filter(
    ({ index, address }) => index === kept?.index && !address.startsWith('fe80:'),
  );
  const has = (wanted: Address): boolean =>
    addresses.some(
      ({ address, prefixLength, deprecated }) =>
        address === wanted && prefixLength === lengthOf(address) && deprecated === (familyOf(wanted) === 6),
    );
  const set = difference(device, kept);
  return {
    kept,
    before: [
      ...(there !== undefined && kept === undefined ? [{ kind: 'device.delete' as const, name }] : []),
      ...(kept === undefined ? [{ kind: 'device.create' as const, device }] : []),
      ...settingsOf(name, found.hasIpv6, device.mtu).flatMap(([key, value]): Operation[] =>
        kept !== undefined && found.sysctls.get(key) === value ? [] : [{ kind: 'sysctl.set', key, value }],
      ),
      ...(Object.keys(set).length > 0 ? [{ kind: 'device.set' as const, name, set }] : []),
      ...device.addresses
        .filter((address) => !has(address))
        .map((address): Operation => ({ kind: 'address.add', device: name, address, prefixLength: lengthOf(address) })),
    ],
    after: addresses
      .filter(({ address, prefixLength }) => !device.addresses.includes(address) || prefixLength !== lengthOf(address))
      .map(({ address, prefixLength }): Operation => ({ kind: 'address.delete', device: name, address, prefixLength })),
  };
}

/** Whether what is there can stay; the rest can be changed on a living device. */
function isAsMade({ kind, port }: DesiredDevice, { kind: found, vxlan }: Link): boolean {
  if (kind !== found) return false;
  return kind === 'veth' || (vxlan?.external === true && !vxlan.learning && vxlan.port === port);
}

function difference({ mac, mtu }: DesiredDevice, kept: Link | undefined): DeviceSettings {
  if (kept === undefined) return { up: true, arp: false };
  return {
    ...(!kept.up && { up: true }),
    ...(kept.arp && { arp: false }),
    ...(mac !== undefined && mac !== kept.mac && { mac }),
    ...(mtu !== undefined && mtu !== kept.mtu && { mtu }),
  };
}

/** Settings of one of our devices, whatever the node's defaults are. With too small an MTU it has none for IPv6. */
export function settingsOf(
  name: string,
  hasIpv6: boolean,
  mtu = IPV6_LEAST_MTU,
): (readonly [key: string, value: string])[] {
  return [
    [`net/ipv4/conf/${name}/forwarding`, '1'],
    ...(hasIpv6 && mtu >= IPV6_LEAST_MTU
      ? ([
          [`net/ipv6/conf/${name}/disable_ipv6`, '0'],
          [`net/ipv6/conf/${name}/forwarding`, '1'],
          [`net/ipv6/conf/${name}/accept_ra`, '0'],
        ] as const)
      : []),
  ];
}

interface RoutePlan {
  readonly set: readonly Operation[];
  readonly delete: readonly Operation[];
}

function planRoutes(
  { devices, routes, routesAreComplete }: Desired,
  found: Found,
  stillThere: ReadonlySet<Link>,
): RoutePlan {
  // What leads through a device that is made anew goes with the old one, first of all.
  const remade = found.links.filter((link) => !stillThere.has(link) && devices.some(({ name }) => name === link.name));
  const isGone = (route: Route): boolean => remade.some(({ index }) => index === route.index);
  const ours = found.routes.filter((route) => isOurs(route));
  const kept = new Map<string, Route>();
  for (const route of ours) {
    if (hasDefaultMetric(route) && !isGone(route)) kept.set(destinationOf(route), route);
  }
  const wanted = new Set(routes.map(({ dst }) => dst));
  return {
    set: routes.flatMap((route): Operation[] => {
      const there = kept.get(route.dst);
      return there !== undefined && isAsWanted(route, there, found)
        ? []
        : [{ kind: 'route.set', route, replace: there !== undefined }];
    }),
    delete: ours.flatMap((route): Operation[] => {
      const isWanted = wanted.has(destinationOf(route)) && hasDefaultMetric(route);
      const mayBeANodes = !routesAreComplete && route.type === 'unicast';
      return isWanted || mayBeANodes || isGone(route) ? [] : [{ kind: 'route.delete', route }];
    }),
  };
}

function isAsWanted({ type, device, gateway, source }: DesiredRoute, there: Route, found: Found): boolean {
  if (type !== there.type) return false;
  if (type === 'blackhole') return true; // IPv6 shows it with loopback as its device.
  const index = found.links.find(({ name }) => name === device)?.index;
  return there.index === index && there.gateway === gateway && there.source === source;
}

function planRules({ rules, routesAreComplete }: Desired, found: Found): Operation[] {
  // Those of an agent before this one know the pods of nodes that this one has not heard of yet.
  if (!routesAreComplete && found.rules === 'different' && found.loadedRules === undefined) return [];
  if (rules === undefined) return found.rules === 'absent' ? [] : [{ kind: 'rules.delete' }];
  return found.rules === 'as loaded' && found.loadedRules === rules ? [] : [{ kind: 'rules.load', text: rules }];
}

const lengthOf = (address: Address): number => bitsOf(familyOf(address));
