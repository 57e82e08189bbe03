/** Addresses of interfaces (linux/if_addr.h). */
import {
  type Address,
  addressBytes,
  bitsOf,
  familyOf,
  formatAddress,
  parseAddress,
} from '../../agent/model/address.ts';
import { MessageComposer, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, readMessages, structU32 } from './message.ts';
import { checkIndex, dump, EADDRNOTAVAIL, ENODEV, nothing, type Request, request, wasThere } from './request.ts';

const RTM_NEWADDR = 20;
const RTM_DELADDR = 21;
const RTM_GETADDR = 22;
const IFADDRMSG_BYTES = 8;
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_CACHEINFO = 6;
const IFA_FLAGS = 8;
const IFA_F_NODAD = 0x02;
const IFA_F_DEPRECATED = 0x20;
const IFA_F_TENTATIVE = 0x40;
const FOR_EVER = 0xffffffff;

export interface AddressAdd {
  readonly index: number;
  readonly address: string;
  readonly prefixLength: number;
  /** IPv6: usable at once, no duplicate address detection. */
  readonly nodad?: boolean;
  /** IPv6: nothing takes it as its source that does not name it (its preferred lifetime is over, RFC 4862 5.5.4). */
  readonly deprecated?: boolean;
  /** enum rt_scope_t: 0 global (default), 253 link, 254 host. */
  readonly scope?: number;
  /** Otherwise EEXIST when the interface has it already. */
  readonly replace?: boolean;
}

export interface AddressDelete {
  readonly index: number;
  readonly address: string;
  readonly prefixLength: number;
}

export interface InterfaceAddress {
  readonly index: number;
  readonly address: Address;
  readonly prefixLength: number;
  readonly scope: number;
  /** IFA_F_*. */
  readonly flags: number;
  /** IPv6: not usable yet. */
  readonly tentative: boolean;
  /** IPv6: taken as a source only by name. */
  readonly deprecated: boolean;
}

/** Canonical address out of what a caller wrote. */
export function checkAddress(operation: string, text: string): Address {
  const address = parseAddress(text);
  if (address === undefined) throw new RangeError(`${operation}: "${text}" is no IP address`);
  return address;
}

/** AF_INET or AF_INET6. */
export const addressFamily = (address: string): number => (address.includes(':') ? 10 : 2);

function compose(operation: string, type: number, flags: number, op: AddressAdd | AddressDelete): Uint8Array {
  const address = checkAddress(operation, op.address);
  const most = bitsOf(familyOf(address));
  if (!Number.isInteger(op.prefixLength) || op.prefixLength < 0 || op.prefixLength > most) {
    throw new RangeError(`${operation}: prefixLength of ${address} must be 0 to ${most}, got ${op.prefixLength}`);
  }
  const nodad = 'nodad' in op && op.nodad === true;
  const scope = 'scope' in op ? (op.scope ?? 0) : 0;
  const message = new MessageComposer(type, flags)
    .u8(addressFamily(address))
    .u8(op.prefixLength)
    .u8(nodad ? IFA_F_NODAD : 0)
    .u8(scope)
    .u32(checkIndex(operation, op.index));
  const bytes = addressBytes(address);
  message.attribute(IFA_LOCAL, bytes).attribute(IFA_ADDRESS, bytes);
  // struct ifa_cacheinfo: preferred and valid lifetime in seconds, and two times the kernel keeps.
  if ('deprecated' in op && op.deprecated) message.attributeU32s(IFA_CACHEINFO, [0, FOR_EVER, 0, 0]);
  return message.finish();
}

export function addressAdd(op: AddressAdd): Request<undefined> {
  const name = `address add ${op.address} to ifindex ${op.index}`;
  const flags = NLM_F_CREATE | (op.replace ? NLM_F_REPLACE : NLM_F_EXCL);
  return { name, steps: [request(compose(name, RTM_NEWADDR, flags, op))], result: nothing };
}

export function addressDelete(op: AddressDelete): Request<boolean> {
  const name = `address delete ${op.address} from ifindex ${op.index}`;
  return { name, steps: [request(compose(name, RTM_DELADDR, 0, op), [EADDRNOTAVAIL, ENODEV])], result: wasThere };
}

export function addressList(op: { readonly index?: number }): Request<InterfaceAddress[]> {
  const message = new MessageComposer(RTM_GETADDR).u8(0).u8(0).u8(0).u8(0).u32(0).finish();
  return {
    name: 'address list',
    steps: [dump(message)],
    result: ([answer]) => {
      const found = readMessages(answer?.messages ?? new Uint8Array(), IFADDRMSG_BYTES).flatMap(
        ({ struct, attributes }): InterfaceAddress[] => {
          const bytes = attributes.bytes(IFA_LOCAL) ?? attributes.bytes(IFA_ADDRESS);
          if (bytes === undefined) return [];
          const flags = attributes.u32(IFA_FLAGS) ?? struct.getUint8(2);
          return [
            {
              index: structU32(struct, 4),
              address: formatAddress(bytes),
              prefixLength: struct.getUint8(1),
              scope: struct.getUint8(3),
              flags,
              tentative: (flags & IFA_F_TENTATIVE) !== 0,
              deprecated: (flags & IFA_F_DEPRECATED) !== 0,
            },
          ];
        },
      );
      return op.index === undefined ? found : found.filter(({ index }) => index === op.index);
    },
  };
}
