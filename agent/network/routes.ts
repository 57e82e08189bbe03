/** Which routes lead to the pods of other nodes, and what keeps the node's own from looping. Pure. */
import { type Address, familyOf, type Prefix, prefixContains } from '../model/address.ts';
import type { NodeRecord, Problem } from '../model/object.ts';
import { isYounger } from '../model/record-age.ts';
import { destinationOf, type Found, isOurs, routeLookup } from './found.ts';
import { TUNNEL_DEVICE } from './names.ts';
import type { Nodes } from './network.ts';
import { error, warning } from './problem.ts';

/** A route of ours: of table main, with the kernel's default metric. */
export interface DesiredRoute {
  readonly dst: Prefix;
  /** blackhole: packets for pods that are gone end here, rather than going out by the default route and coming back. */
  readonly type: 'unicast' | 'blackhole';
  readonly device?: string;
  readonly gateway?: Address;
  readonly source?: Address;
}

export interface DesiredRoutes {
  readonly routes: readonly DesiredRoute[];
  readonly problems: readonly Problem[];
}

/** How a pod CIDR of that node is reached; a problem where it cannot be. */
type Way = (node: NodeRecord, podCidr: Prefix) => Pick<DesiredRoute, 'device' | 'gateway'> | Problem;

/** Through the tunnel's device whatever the node: its program knows the far ends. */
export const throughTunnel: Way = () => ({ device: TUNNEL_DEVICE });

/**
 * By the node's own address, which must be on a network of this node: a route by way of a router would lead to that
 * router and no further, so there the network itself has to know the way.
 */
export function byAddress(found: Found): Way {
  const lookup = routeLookup(found.routes);
  return (node, podCidr) => {
    const addresses = node.addresses.filter((address) => familyOf(address) === familyOf(podCidr));
    if (addresses.length === 0) {
      const message = `node ${node.name} has no IPv${familyOf(podCidr)} address: its pods ${podCidr} cannot be reached`;
      return error('node-without-address', message);
    }
    for (const gateway of addresses) {
      const route = lookup(gateway);
      if (route?.type !== 'unicast' || route.gateway !== undefined) continue;
      const link = found.links.find(({ index }) => index === route.index);
      if (link !== undefined) return { device: link.name, gateway };
    }
    const message = `node ${node.name} (${addresses.join(', ')}) is on no network of this node: the network between them must route ${podCidr} to it, or routingMode be tunnel`;
    return warning('node-not-adjacent', message);
  };
}

/**
 * One route for each pod CIDR of other nodes. Where two claim the same it is the younger one's, as its addresses are
 * (cluster/address-owner.ts): the pod CIDR of a node that was removed is given to the next one while the old record lingers.
 */
export function routesToNodes({ self, others = [] }: Nodes, way: Way): DesiredRoutes {
  const problems: Problem[] = [];
  const routes = new Map<Prefix, DesiredRoute>();
  const source = { 4: routerOf(self, 4), 6: routerOf(self, 6) };
  const youngestFirst = others.filter(({ name }) => name !== self.name).sort(byAge);
  for (const node of youngestFirst) {
    for (const dst of node.podCidrs) {
      const refused = routes.has(dst)
        ? error('pod-cidr-taken', `node ${node.name} claims ${dst}, which another node has: its pods cannot be reached`)
        : unfit(dst, node, self);
      const next = refused ?? way(node, dst);
      if ('severity' in next) problems.push(next);
      else {
        const router = source[familyOf(dst)];
        routes.set(dst, { dst, type: 'unicast', ...next, ...(router !== undefined && { source: router }) });
      }
    }
  }
  return { routes: [...routes.values()], problems };
}

function byAge(a: NodeRecord, b: NodeRecord): number {
  if (isYounger(a.age, b.age)) return -1;
  if (isYounger(b.age, a.age)) return 1;
  return a.name < b.name ? -1 : 1;
}

/** A record somebody got wrong must not take the node off its network, nor its pods away. */
function unfit(dst: Prefix, node: NodeRecord, self: NodeRecord): Problem | undefined {
  const own = self.podCidrs.find((cidr) => prefixContains(cidr, dst) || prefixContains(dst, cidr));
  if (own !== undefined) {
    return error(
      'pod-cidr-taken',
      `node ${node.name} claims ${dst}, which overlaps ${own} of this node: no route to it`,
    );
  }
  const inside = [...self.addresses, ...node.addresses].find((address) => prefixContains(dst, address));
  if (inside === undefined) return undefined;
  return error(
    'pod-cidr-too-wide',
    `node ${node.name} claims ${dst}, which has a node's address in it (${inside}): no route to it`,
  );
}

export const blackholes = (podCidrs: readonly Prefix[]): DesiredRoute[] =>
  podCidrs.map((dst) => ({ dst, type: 'blackhole' }));

/** Leaves out what somebody else has a route for, which is not ours to replace. */
export function withoutForeign(wanted: readonly DesiredRoute[], found: Found): DesiredRoutes {
  const foreign = new Set(
    found.routes.filter((route) => !isOurs(route) && hasDefaultMetric(route)).map((route) => destinationOf(route)),
  );
  const taken = wanted.filter(({ dst }) => foreign.has(dst));
  return {
    routes: wanted.filter(({ dst }) => !foreign.has(dst)),
    problems: taken.map(({ dst }) =>
      warning('route-taken', `there is a route for ${dst} that Weir did not make; it is left as it is`),
    ),
  };
}

/** The kernel's metric for a route that names none: 0, and 1024 for IPv6 (IP6_RT_PRIO_USER). */
export const hasDefaultMetric = ({ dst, metric = 0 }: { readonly dst: string; readonly metric?: number }): boolean =>
  metric === (dst === 'default6' || dst.includes(':') ? 1024 : 0);

const routerOf = (self: NodeRecord, family: 4 | 6): Address | undefined =>
  self.routerAddresses.find((address) => familyOf(address) === family);
