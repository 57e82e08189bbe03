/** Reads what the node's network namespace has, and executes plans there. Decides nothing. */
import {
  addressAdd,
  addressDelete,
  batch,
  KernelError,
  linkCreate,
  linkCreateVeth,
  linkDelete,
  linkGet,
  linkList,
  linkSet,
  type NetlinkOp,
  type Route,
  sysctlGet,
  sysctlSet,
} from '../../native/index.ts';
import { hasIpv6 } from '../datapath/wiring/node.ts';
import { WeirError } from '../errors.ts';
import { familyOf } from '../model/address.ts';
import type { DesiredDevice } from './desired.ts';
import type { Found } from './found.ts';
import { OWN_DEVICES, ROUTE_PROTOCOL, ROUTER_FAR_END } from './names.ts';
import type { Rules } from './nft.ts';
import { type Operation, settingsOf } from './plan.ts';

const RT_TABLE_MAIN = 254;
/** Router addresses are of link scope (enum rt_scope_t): nothing that leaves by another way takes them as its source. */
const ROUTER_SCOPE = 253;
/** Operations in one hop to a worker thread: node by node would take 5,000 hops in a large cluster. */
const BATCH = 256;

export interface Failure {
  readonly operation: Operation;
  readonly cause: unknown;
}

/** `netns` as for {@link batch}. */
export async function findNetwork(netns: string | undefined, rules: Rules): Promise<Found> {
  const [links, addresses, routes] = await batch(netns, [
    { op: 'linkList' },
    { op: 'addressList' },
    { op: 'routeList', table: RT_TABLE_MAIN },
  ]);
  const ipv6 = hasIpv6();
  const sysctls = new Map<string, string>();
  for (const { name, mtu } of links.filter((link) => OWN_DEVICES.includes(link.name))) {
    for (const [key] of settingsOf(name, ipv6, mtu)) {
      const value = await sysctlGet({ key, netns }).catch(absent);
      if (value !== undefined) sysctls.set(key, value);
    }
  }
  return { links, addresses, routes, sysctls, hasIpv6: ipv6, ...(await rules.state()) };
}

/** Does them in order. One that fails does not hold up the others: what one node's record is wrong about is not the others' loss. */
export async function execute(
  operations: readonly Operation[],
  netns: string | undefined,
  rules: Rules,
): Promise<Failure[]> {
  const failures: Failure[] = [];
  for (let at = 0; at < operations.length; ) {
    const operation = operations[at] as Operation;
    try {
      if (operation.kind === 'route.set' || operation.kind === 'route.delete') {
        const run = takeWhile(operations.slice(at, at + BATCH), ({ kind }) => kind === operation.kind);
        at += await executeRoutes(run, netns, failures);
        continue;
      }
      await executeOne(operation, netns, rules);
    } catch (cause) {
      failures.push({ operation, cause });
    }
    at += 1;
  }
  return failures;
}

/** How many were done, the last of them perhaps with a failure. */
async function executeRoutes(
  run: readonly Operation[],
  netns: string | undefined,
  failures: Failure[],
): Promise<number> {
  const links = await linkList({ netns });
  const indexOf = (device: string | undefined) => links.find(({ name }) => name === device)?.index;
  try {
    await batch(
      netns,
      run.map((operation) => routeOperation(operation, indexOf)),
    );
    return run.length;
  } catch (cause) {
    if (!(cause instanceof KernelError) || cause.index === undefined) throw cause;
    failures.push({ operation: run[cause.index] as Operation, cause });
    return cause.index + 1;
  }
}

function routeOperation(operation: Operation, indexOf: (device: string | undefined) => number | undefined): NetlinkOp {
  if (operation.kind === 'route.set') {
    const { dst, type, device, gateway, source } = operation.route;
    const index = indexOf(device);
    return {
      op: 'routeAdd',
      dst,
      type,
      ...(index !== undefined && { index }),
      ...(gateway !== undefined && { gateway }),
      ...(source !== undefined && { source }),
      protocol: ROUTE_PROTOCOL,
      replace: operation.replace,
    };
  }
  if (operation.kind !== 'route.delete') throw new TypeError(`${operation.kind} is not about a route`);
  return deletionOf(operation.route);
}

export function deletionOf({ dst, type, metric, table }: Route): NetlinkOp {
  if (type !== 'unicast' && type !== 'blackhole') throw new TypeError(`Weir makes no routes of type ${type}`);
  return { op: 'routeDelete', dst, type, table, protocol: ROUTE_PROTOCOL, ...(metric !== undefined && { metric }) };
}

async function executeOne(operation: Operation, netns: string | undefined, rules: Rules): Promise<void> {
  switch (operation.kind) {
    case 'device.create':
      return createDevice(operation.device, netns);
    case 'device.set':
      return linkSet({ index: await indexOfDevice(operation.name, netns), ...operation.set, netns });
    case 'device.delete':
      return void (await linkDelete({ name: operation.name, netns }));
    case 'sysctl.set':
      return sysctlSet({ key: operation.key, value: operation.value, netns });
    case 'address.add': {
      const { address, prefixLength } = operation;
      const index = await indexOfDevice(operation.device, netns);
      const family = familyOf(address) === 4 ? { scope: ROUTER_SCOPE } : { nodad: true, deprecated: true };
      return addressAdd({ index, address, prefixLength, replace: true, ...family, netns });
    }
    case 'address.delete': {
      const { address, prefixLength } = operation;
      const index = await indexOfDevice(operation.device, netns);
      return void (await addressDelete({ index, address, prefixLength, netns }));
    }
    case 'rules.load':
      return rules.load(operation.text);
    case 'rules.delete':
      return rules.delete();
    default:
      throw new TypeError(`${operation.kind} is done in batches`);
  }
}

async function createDevice(device: DesiredDevice, netns: string | undefined): Promise<void> {
  const indexes = device.kind === 'veth' ? await createRouter(device, netns) : [await createTunnel(device, netns)];
  // Without an fe80 address they send nothing by themselves.
  if (hasIpv6()) for (const index of indexes) await linkSet({ index, addrGenMode: 'none', netns });
  const [, far] = indexes;
  if (far !== undefined) await linkSet({ index: far, up: true, arp: false, netns }); // Else the first has no carrier.
}

async function createTunnel({ name, mac, mtu, port }: DesiredDevice, netns: string | undefined): Promise<number> {
  const vxlan = { external: true, learning: false, ...(port !== undefined && { port }) };
  const chosen = { ...(mac !== undefined && { mac }), ...(mtu !== undefined && { mtu }) };
  return (await linkCreate({ name, kind: 'vxlan', ...chosen, vxlan, netns })).index;
}

async function createRouter({ name }: DesiredDevice, netns: string | undefined): Promise<[number, number]> {
  const peer = { name: ROUTER_FAR_END, netns: netns ?? '/proc/self/ns/net' };
  const { index, peerIndex } = await linkCreateVeth({ name, peer, netns });
  return [index, peerIndex];
}

async function indexOfDevice(name: string, netns: string | undefined): Promise<number> {
  const link = await linkGet({ name, netns });
  if (link === undefined) throw new WeirError('NETWORK_FAILED', `change ${name}`, `there is no device ${name}`);
  return link.index;
}

/** A device that went away in this moment. */
function absent(error: unknown): undefined {
  if (!(error instanceof KernelError && error.code === 'ENOENT')) throw error;
}

function takeWhile<T>(items: readonly T[], holds: (item: T) => boolean): T[] {
  const end = items.findIndex((item) => !holds(item));
  return items.slice(0, end < 0 ? items.length : end);
}
