/** Routes (linux/rtnetlink.h). */
import {
  type Address,
  addressBytes,
  formatAddress,
  formatPrefix,
  type Prefix,
  parsePrefix,
  prefixAddress,
  prefixLength,
} from '../../agent/model/address.ts';
import { addressFamily, checkAddress } from './address.ts';
import {
  type Message,
  MessageComposer,
  NLM_F_CREATE,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  readMessages,
  structU32,
} from './message.ts';
import { checkIndex, dump, ENODEV, ESRCH, nothing, type Request, request, wasThere } from './request.ts';

const RTM_NEWROUTE = 24;
const RTM_DELROUTE = 25;
const RTM_GETROUTE = 26;
const RTMSG_BYTES = 12;
const RTA_DST = 1;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_PRIORITY = 6;
const RTA_PREFSRC = 7;
const RTA_METRICS = 8;
const RTA_TABLE = 15;
const RTAX_MTU = 2;
const RTNH_F_ONLINK = 4;
const RTM_F_CLONED = 0x200; // a cache entry of the kernel, not a route
const RTPROT_STATIC = 4;
const RT_TABLE_UNSPEC = 0;
const RT_TABLE_MAIN = 254;
const SCOPES = { global: 0, link: 253, host: 254, nowhere: 255 } as const;
const TYPES = {
  unicast: 1,
  local: 2,
  broadcast: 3,
  anycast: 4,
  multicast: 5,
  blackhole: 6,
  unreachable: 7,
  prohibit: 8,
  throw: 9,
} as const;

export type RouteScope = keyof typeof SCOPES;
export type RouteType = keyof typeof TYPES;

export interface RouteAdd {
  /** A prefix, or everything of one family. */
  readonly dst: 'default4' | 'default6' | (string & {});
  readonly gateway?: string;
  /** Outgoing interface. */
  readonly index?: number;
  /** Preferred source address of what this node sends. */
  readonly source?: string;
  /** IPv4 only. Default: 'link' for an interface without gateway, else 'global'. */
  readonly scope?: 'link' | 'global' | 'host';
  /** Default 'unicast'. */
  readonly type?: 'unicast' | 'blackhole' | 'unreachable';
  /** Take the gateway to be on the interface although no address says so. */
  readonly onlink?: boolean;
  /** Bytes. */
  readonly mtu?: number;
  /** Lower wins. */
  readonly metric?: number;
  /** Instead of EEXIST. */
  readonly replace?: boolean;
  /** Default 254, main. */
  readonly table?: number;
  /** RTPROT_*: who made it. Default 4, static; for a deletion any. */
  readonly protocol?: number;
}

export interface Route {
  readonly dst: 'default4' | 'default6' | Prefix;
  readonly gateway?: Address;
  readonly index?: number;
  readonly source?: Address;
  readonly scope: RouteScope;
  readonly type: RouteType;
  readonly onlink: boolean;
  readonly mtu?: number;
  readonly metric?: number;
  readonly table: number;
  /** RTPROT_*: 2 the kernel's own, 4 static. */
  readonly protocol: number;
}

function checkDestination(operation: string, dst: string): Prefix {
  const prefix =
    dst === 'default4' ? parsePrefix('0.0.0.0/0') : dst === 'default6' ? parsePrefix('::/0') : parsePrefix(dst);
  if (prefix === undefined)
    throw new RangeError(`${operation}: dst must be default4, default6 or a prefix such as 10.0.0.0/8`);
  return prefix;
}

function defaultScope(op: RouteAdd, ipv4: boolean): keyof typeof SCOPES {
  return ipv4 && op.gateway === undefined && (op.type ?? 'unicast') === 'unicast' ? 'link' : 'global';
}

function compose(operation: string, type: number, flags: number, op: RouteAdd, scope: number): Uint8Array {
  const dst = checkDestination(operation, op.dst);
  const family = addressFamily(dst);
  const table = op.table ?? RT_TABLE_MAIN;
  const message = new MessageComposer(type, flags)
    .u8(family)
    .u8(prefixLength(dst))
    .u8(0) // source length
    .u8(0) // TOS
    .u8(table < 256 ? table : RT_TABLE_UNSPEC)
    .u8(op.protocol ?? (type === RTM_DELROUTE ? 0 : RTPROT_STATIC))
    .u8(scope)
    .u8(type === RTM_DELROUTE && op.type === undefined ? 0 : TYPES[op.type ?? 'unicast'])
    .u32(op.onlink ? RTNH_F_ONLINK : 0);
  if (prefixLength(dst) > 0) message.attribute(RTA_DST, addressBytes(prefixAddress(dst)));
  const sameFamily = (what: string, text: string): Uint8Array => {
    const address = checkAddress(operation, text);
    if (addressFamily(address) !== family)
      throw new RangeError(`${operation}: ${what} ${address} is of another family than ${dst}`);
    return addressBytes(address);
  };
  if (op.gateway !== undefined) message.attribute(RTA_GATEWAY, sameFamily('gateway', op.gateway));
  if (op.source !== undefined) message.attribute(RTA_PREFSRC, sameFamily('source', op.source));
  if (op.index !== undefined) message.attributeU32(RTA_OIF, checkIndex(operation, op.index));
  if (op.metric !== undefined) message.attributeU32(RTA_PRIORITY, op.metric);
  if (op.mtu !== undefined) {
    const mtu = op.mtu;
    message.nested(RTA_METRICS, (metrics) => metrics.attributeU32(RTAX_MTU, mtu));
  }
  return message.attributeU32(RTA_TABLE, table).finish();
}

export function routeAdd(op: RouteAdd): Request<undefined> {
  const name = `route add ${op.dst}`;
  const scope = SCOPES[op.scope ?? defaultScope(op, addressFamily(checkDestination(name, op.dst)) === 2)];
  const flags = NLM_F_CREATE | (op.replace ? NLM_F_REPLACE : NLM_F_EXCL);
  return { name, steps: [request(compose(name, RTM_NEWROUTE, flags, op, scope))], result: nothing };
}

/** Deletes the first route that has everything that is given. False: there was none. */
export function routeDelete(op: RouteAdd): Request<boolean> {
  const name = `route delete ${op.dst}`;
  const scope = op.scope === undefined ? SCOPES.nowhere : SCOPES[op.scope]; // nowhere: any
  return { name, steps: [request(compose(name, RTM_DELROUTE, 0, op, scope), [ESRCH, ENODEV])], result: wasThere };
}

export function routeList(op: { readonly family?: 4 | 6; readonly table?: number }): Request<Route[]> {
  const family = op.family === 4 ? 2 : op.family === 6 ? 10 : 0;
  const message = new MessageComposer(RTM_GETROUTE).u8(family);
  for (let i = 0; i < 7; i++) message.u8(0);
  return {
    name: 'route list',
    steps: [dump(message.u32(0).finish())],
    result: ([answer]) =>
      readMessages(answer?.messages ?? new Uint8Array(), RTMSG_BYTES)
        .filter(({ struct }) => (structU32(struct, 8) & RTM_F_CLONED) === 0 && [2, 10].includes(struct.getUint8(0)))
        .map(readRoute)
        .filter(({ table }) => op.table === undefined || table === op.table),
  };
}

function nameOf<Name extends string>(names: Readonly<Record<Name, number>>, number: number, otherwise: Name): Name {
  return (Object.keys(names) as Name[]).find((name) => names[name] === number) ?? otherwise;
}

function readRoute({ struct, attributes }: Message): Route {
  const ipv4 = struct.getUint8(0) === 2;
  const length = struct.getUint8(1);
  const dst = attributes.bytes(RTA_DST) ?? new Uint8Array(ipv4 ? 4 : 16);
  const [gateway, source] = [attributes.bytes(RTA_GATEWAY), attributes.bytes(RTA_PREFSRC)];
  const [index, metric] = [attributes.u32(RTA_OIF), attributes.u32(RTA_PRIORITY)];
  const mtu = attributes.nested(RTA_METRICS).u32(RTAX_MTU);
  return {
    dst: length === 0 ? (ipv4 ? 'default4' : 'default6') : formatPrefix(dst, length),
    ...(gateway !== undefined && { gateway: formatAddress(gateway) }),
    ...(index !== undefined && { index }),
    ...(source !== undefined && { source: formatAddress(source) }),
    scope: nameOf(SCOPES, struct.getUint8(6), 'global'),
    type: nameOf(TYPES, struct.getUint8(7), 'unicast'),
    onlink: (structU32(struct, 8) & RTNH_F_ONLINK) !== 0,
    ...(mtu !== undefined && { mtu }),
    ...(metric !== undefined && { metric }),
    table: attributes.u32(RTA_TABLE) ?? struct.getUint8(4),
    protocol: struct.getUint8(5),
  };
}
