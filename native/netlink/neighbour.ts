/** Neighbour entries: which MAC an address of a link has (linux/neighbour.h). */
import { type Address, addressBytes, formatAddress } from '../../agent/model/address.ts';
import { addressFamily, checkAddress } from './address.ts';
import {
  MessageComposer,
  NLM_F_CREATE,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  readMessages,
  structU16,
  structU32,
} from './message.ts';
import {
  checkIndex,
  dump,
  ENODEV,
  ENOENT,
  macBytes,
  macText,
  nothing,
  type Request,
  request,
  wasThere,
} from './request.ts';

const RTM_NEWNEIGH = 28;
const RTM_DELNEIGH = 29;
const RTM_GETNEIGH = 30;
const NDMSG_BYTES = 12;
const NDA_DST = 1;
const NDA_LLADDR = 2;
const NUD_REACHABLE = 0x02;
const NUD_PERMANENT = 0x80;

export interface NeighbourAdd {
  readonly index: number;
  readonly address: string;
  readonly mac: string;
  /** True: never asked for again, never forgotten. */
  readonly permanent: boolean;
  /** Instead of EEXIST. */
  readonly replace?: boolean;
}

export interface NeighbourDelete {
  readonly index: number;
  readonly address: string;
}

export interface Neighbour {
  readonly index: number;
  readonly address: Address;
  /** Absent while it is being asked for. */
  readonly mac?: string;
  /** NUD_*. */
  readonly state: number;
  readonly permanent: boolean;
}

function ndmsg(type: number, flags: number, family: number, index: number, state: number): MessageComposer {
  return new MessageComposer(type, flags).u8(family).u8(0).u16(0).u32(index).u16(state).u8(0).u8(0);
}

export function neighbourAdd(op: NeighbourAdd): Request<undefined> {
  const name = `neighbour add ${op.address} on ifindex ${op.index}`;
  const address = checkAddress(name, op.address);
  const flags = NLM_F_CREATE | (op.replace ? NLM_F_REPLACE : NLM_F_EXCL);
  const state = op.permanent ? NUD_PERMANENT : NUD_REACHABLE;
  const message = ndmsg(RTM_NEWNEIGH, flags, addressFamily(address), checkIndex(name, op.index), state)
    .attribute(NDA_DST, addressBytes(address))
    .attribute(NDA_LLADDR, macBytes(name, op.mac));
  return { name, steps: [request(message.finish())], result: nothing };
}

/** False: there was no entry. */
export function neighbourDelete(op: NeighbourDelete): Request<boolean> {
  const name = `neighbour delete ${op.address} on ifindex ${op.index}`;
  const address = checkAddress(name, op.address);
  const message = ndmsg(RTM_DELNEIGH, 0, addressFamily(address), checkIndex(name, op.index), 0).attribute(
    NDA_DST,
    addressBytes(address),
  );
  return { name, steps: [request(message.finish(), [ENOENT, ENODEV])], result: wasThere };
}

export function neighbourList(op: { readonly index?: number }): Request<Neighbour[]> {
  return {
    name: 'neighbour list',
    steps: [dump(ndmsg(RTM_GETNEIGH, 0, 0, 0, 0).finish())],
    result: ([answer]) =>
      readMessages(answer?.messages ?? new Uint8Array(), NDMSG_BYTES).flatMap(({ struct, attributes }): Neighbour[] => {
        const index = structU32(struct, 4);
        const address = attributes.bytes(NDA_DST);
        if (
          address === undefined ||
          ![2, 10].includes(struct.getUint8(0)) ||
          (op.index !== undefined && op.index !== index)
        )
          return [];
        const mac = attributes.bytes(NDA_LLADDR);
        const state = structU16(struct, 8);
        return [
          {
            index,
            address: formatAddress(address),
            ...(mac?.length === 6 && { mac: macText(mac) }),
            state,
            permanent: (state & NUD_PERMANENT) !== 0,
          },
        ];
      }),
  };
}
