/** Network interfaces (linux/if_link.h). */
import { closeSync, openSync } from 'node:fs';
import { KernelError } from '../error.ts';
import {
  type Attributes,
  type Message,
  MessageComposer,
  NLM_F_CREATE,
  NLM_F_EXCL,
  readMessages,
  structU32,
} from './message.ts';
import {
  checkIndex,
  checkName,
  dump,
  ENODEV,
  macBytes,
  macText,
  nothing,
  type Request,
  request,
  wasThere,
} from './request.ts';

const RTM_NEWLINK = 16;
const RTM_DELLINK = 17;
const RTM_GETLINK = 18;
const RTM_SETLINK = 19;
const IFINFOMSG_BYTES = 16;
const AF_INET6 = 10;
const IFF_UP = 1;
const IFF_NOARP = 0x80;
const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_LINK = 5;
const IFLA_MASTER = 10;
const IFLA_TXQLEN = 13;
const IFLA_LINKINFO = 18;
const IFLA_AF_SPEC = 26;
const IFLA_NET_NS_FD = 28;
const IFLA_LINK_NETNSID = 37;
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const IFLA_INET6_ADDR_GEN_MODE = 8;
const VETH_INFO_PEER = 1;
const IFLA_VXLAN_ID = 1;
const IFLA_VXLAN_LEARNING = 7;
const IFLA_VXLAN_PORT = 15;
const IFLA_VXLAN_COLLECT_METADATA = 25;

/** What a new interface may be given at once. */
export interface LinkAttributes {
  readonly name: string;
  /** Interface index; EEXIST (or EBUSY) when taken. Default: the kernel's choice. */
  readonly index?: number;
  readonly mac?: string;
  /** Bytes. */
  readonly mtu?: number;
}

export interface LinkCreateVeth extends LinkAttributes {
  /** The other end, made in the namespace of that path. */
  readonly peer: LinkAttributes & { readonly netns: string };
}

export interface LinkCreate extends LinkAttributes {
  readonly kind: 'dummy' | 'bridge' | 'vxlan';
  /** vxlan: `external` takes the tunnel's key and address from the packet's metadata instead of `id`. */
  readonly vxlan?: {
    readonly external?: boolean;
    readonly id?: number;
    readonly port?: number;
    readonly learning?: boolean;
  };
  readonly up?: boolean;
}

export interface LinkSet {
  readonly index: number;
  readonly up?: boolean;
  readonly mtu?: number;
  readonly name?: string;
  readonly mac?: string;
  /** Index of the bridge it joins; 0 leaves. */
  readonly master?: number;
  /** 'none': no fe80 address of its own. Applied before `up`. */
  readonly addrGenMode?: 'eui64' | 'none';
  /** False: neighbours are never asked for (IFF_NOARP); whoever is behind it gets the device's own MAC. */
  readonly arp?: boolean;
}

export interface Link {
  readonly index: number;
  readonly name: string;
  /** '' where the device has no Ethernet address. */
  readonly mac: string;
  readonly mtu: number;
  readonly up: boolean;
  /** 'veth', 'vxlan', ...; '' for a physical device. */
  readonly kind: string;
  /** Index of the other end of a veth, in its namespace. */
  readonly peerIndex?: number;
  /** That namespace's number as seen from here; absent when it is this one. */
  readonly peerNetnsId?: number;
  /** What a vxlan device was made with. */
  readonly vxlan?: { readonly external: boolean; readonly learning: boolean; readonly port: number };
  readonly arp: boolean;
  /** IFF_*. */
  readonly flags: number;
  readonly txQueueLen: number;
}

function ifinfo(message: MessageComposer, index: number, flags = 0, change = 0): MessageComposer {
  return message.u8(0).u8(0).u16(0).u32(index).u32(flags).u32(change);
}

function appendAttributes(operation: string, message: MessageComposer, link: Partial<LinkAttributes>): void {
  if (link.name !== undefined) message.attributeString(IFLA_IFNAME, checkName(operation, link.name));
  if (link.mac !== undefined) message.attribute(IFLA_ADDRESS, macBytes(operation, link.mac));
  if (link.mtu !== undefined) message.attributeU32(IFLA_MTU, link.mtu);
}

const chosenIndex = (operation: string, link: LinkAttributes): number =>
  link.index === undefined ? 0 : checkIndex(operation, link.index);

/** Both ends in one message, so that there is no moment at which the peer stands in the wrong namespace. */
export function linkCreateVeth(op: LinkCreateVeth): Request<{ index: number; peerIndex: number }> {
  const name = `link create veth ${op.name} with peer ${op.peer.name} in ${op.peer.netns}`;
  const message = ifinfo(new MessageComposer(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL), chosenIndex(name, op));
  appendAttributes(name, message, op);
  const peerIndex = chosenIndex(name, op.peer);
  const netns = openNamespace(name, op.peer.netns);
  try {
    message.nested(IFLA_LINKINFO, (info) => {
      info.attributeString(IFLA_INFO_KIND, 'veth').nested(IFLA_INFO_DATA, (data) => {
        data.nested(VETH_INFO_PEER, (peer) => {
          ifinfo(peer, peerIndex);
          appendAttributes(name, peer, op.peer);
          peer.attributeU32(IFLA_NET_NS_FD, netns);
        });
      });
    });
  } catch (error) {
    closeSync(netns);
    throw error;
  }
  return {
    name,
    steps: [request(message.finish()), request(getByName(op.name))],
    result: ([, answer]) => {
      const link = readLinks(answer?.messages)[0];
      if (link?.peerIndex === undefined) throw new Error(`${name}: the kernel made it but does not show it`);
      return { index: link.index, peerIndex: link.peerIndex };
    },
    release: () => closeSync(netns),
  };
}

function openNamespace(operation: string, path: string): number {
  try {
    return openSync(path, 'r'); // O_CLOEXEC
  } catch (error) {
    throw new KernelError(operation, -Number((error as NodeJS.ErrnoException).errno), {
      detail: `the namespace of the peer, ${path}`,
    });
  }
}

export function linkCreate(op: LinkCreate): Request<{ index: number }> {
  const name = `link create ${op.kind} ${op.name}`;
  const up = op.up ? IFF_UP : 0;
  const message = ifinfo(new MessageComposer(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL), chosenIndex(name, op), up, up);
  appendAttributes(name, message, op);
  message.nested(IFLA_LINKINFO, (info) => {
    info.attributeString(IFLA_INFO_KIND, op.kind);
    const vxlan = op.vxlan;
    if (vxlan === undefined) return;
    info.nested(IFLA_INFO_DATA, (data) => {
      if (vxlan.external) data.attributeU8(IFLA_VXLAN_COLLECT_METADATA, 1);
      if (vxlan.id !== undefined) data.attributeU32(IFLA_VXLAN_ID, vxlan.id);
      if (vxlan.port !== undefined) data.attributeU16Network(IFLA_VXLAN_PORT, vxlan.port);
      if (vxlan.learning !== undefined) data.attributeU8(IFLA_VXLAN_LEARNING, vxlan.learning ? 1 : 0);
    });
  });
  return {
    name,
    steps: [request(message.finish()), request(getByName(op.name))],
    result: ([, answer]) => {
      const link = readLinks(answer?.messages)[0];
      if (link === undefined) throw new Error(`${name}: the kernel made it but does not show it`);
      return { index: link.index };
    },
  };
}

export function linkSet(op: LinkSet): Request<undefined> {
  const name = `link set ifindex ${op.index}`;
  const index = checkIndex(name, op.index);
  const steps = [];
  if (op.addrGenMode !== undefined) {
    const mode = op.addrGenMode === 'none' ? 1 : 0; // enum in6_addr_gen_mode
    const message = ifinfo(new MessageComposer(RTM_SETLINK), index).nested(IFLA_AF_SPEC, (spec) => {
      spec.nested(AF_INET6, (inet6) => inet6.attributeU8(IFLA_INET6_ADDR_GEN_MODE, mode));
    });
    steps.push(request(message.finish()));
  }
  const { up, arp, mtu, name: newName, mac, master } = op;
  if ([up, arp, mtu, newName, mac, master].some((field) => field !== undefined)) {
    const flags = (up ? IFF_UP : 0) | (arp === false ? IFF_NOARP : 0);
    const change = (up === undefined ? 0 : IFF_UP) | (arp === undefined ? 0 : IFF_NOARP);
    const message = ifinfo(new MessageComposer(RTM_SETLINK), index, flags, change);
    appendAttributes(name, message, {
      ...(newName !== undefined && { name: newName }),
      ...(mac !== undefined && { mac }),
      ...(mtu !== undefined && { mtu }),
    });
    if (master !== undefined) message.attributeU32(IFLA_MASTER, master);
    steps.push(request(message.finish()));
  }
  return { name, steps, result: nothing };
}

/** Which interface: by index or by name. */
export type LinkChoice = { readonly index: number } | { readonly name: string };

const describe = (op: LinkChoice): string => ('index' in op ? `ifindex ${op.index}` : op.name);

function chosen(operation: string, type: number, op: LinkChoice): Uint8Array {
  if ('index' in op) return ifinfo(new MessageComposer(type), checkIndex(operation, op.index)).finish();
  return ifinfo(new MessageComposer(type), 0).attributeString(IFLA_IFNAME, checkName(operation, op.name)).finish();
}

/** False: there was no such interface. */
export function linkDelete(op: LinkChoice): Request<boolean> {
  const name = `link delete ${describe(op)}`;
  return { name, steps: [request(chosen(name, RTM_DELLINK, op), [ENODEV])], result: wasThere };
}

export function linkGet(op: LinkChoice): Request<Link | undefined> {
  const name = `link get ${describe(op)}`;
  return {
    name,
    steps: [request(chosen(name, RTM_GETLINK, op), [ENODEV])],
    result: ([answer]) => readLinks(answer?.messages)[0],
  };
}

export function linkList(_op: object): Request<Link[]> {
  const message = ifinfo(new MessageComposer(RTM_GETLINK), 0).finish();
  return { name: 'link list', steps: [dump(message)], result: ([answer]) => readLinks(answer?.messages) };
}

function getByName(name: string): Uint8Array {
  return ifinfo(new MessageComposer(RTM_GETLINK), 0).attributeString(IFLA_IFNAME, name).finish();
}

function readLinks(messages: Uint8Array = new Uint8Array()): Link[] {
  return readMessages(messages, IFINFOMSG_BYTES).map(readLink);
}

function readLink({ struct, attributes }: Message): Link {
  const flags = structU32(struct, 8);
  const mac = attributes.bytes(IFLA_ADDRESS);
  const info = attributes.nested(IFLA_LINKINFO);
  const kind = info.string(IFLA_INFO_KIND) ?? '';
  const peerIndex = attributes.u32(IFLA_LINK);
  const peerNetnsId = attributes.i32(IFLA_LINK_NETNSID);
  return {
    index: structU32(struct, 4),
    name: attributes.string(IFLA_IFNAME) ?? '',
    mac: mac?.length === 6 ? macText(mac) : '',
    mtu: attributes.u32(IFLA_MTU) ?? 0,
    up: (flags & IFF_UP) !== 0,
    kind,
    ...(peerIndex !== undefined && { peerIndex }),
    ...(peerNetnsId !== undefined && { peerNetnsId }),
    ...(kind === 'vxlan' && { vxlan: readVxlan(info.nested(IFLA_INFO_DATA)) }),
    arp: (flags & IFF_NOARP) === 0,
    flags,
    txQueueLen: attributes.u32(IFLA_TXQLEN) ?? 0,
  };
}

function readVxlan(data: Attributes): NonNullable<Link['vxlan']> {
  const port = data.bytes(IFLA_VXLAN_PORT); // network order
  return {
    external: data.bytes(IFLA_VXLAN_COLLECT_METADATA)?.[0] === 1,
    learning: data.bytes(IFLA_VXLAN_LEARNING)?.[0] === 1,
    port: port === undefined ? 0 : ((port[0] as number) << 8) | (port[1] as number),
  };
}
