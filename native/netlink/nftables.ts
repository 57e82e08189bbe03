/** Whether anything of nftables has changed: the rules themselves are composed and read by the program nft (linux/netfilter/nf_tables.h). */
import { MessageComposer, readMessages } from './message.ts';
import { type Request, request } from './request.ts';

const NETLINK_NETFILTER = 12;
const NFNL_SUBSYS_NFTABLES = 10;
const NFT_MSG_GETGEN = 16;
const NFGENMSG_BYTES = 4;
const NFTA_GEN_ID = 1;

/** A number that the kernel changes with every transaction on any table of the namespace: 1 to 2^32-1, and round again. */
export function nftablesGeneration(_op: object): Request<number> {
  const message = new MessageComposer((NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETGEN).u32(0).finish();
  return {
    name: 'nftables generation',
    steps: [{ ...request(message), protocol: NETLINK_NETFILTER }],
    result: ([answer]) => {
      const [reply] = readMessages(answer?.messages ?? new Uint8Array(), NFGENMSG_BYTES);
      const generation = reply?.attributes.u32Network(NFTA_GEN_ID);
      if (generation === undefined) throw new RangeError('nftables generation: the kernel answered without one');
      return generation;
    },
  };
}
