/**
 * Programs as direct-action filters of a clsact qdisc, for kernels before 6.6, where tcx links are missing
 * (linux/pkt_sched.h, linux/pkt_cls.h). A filter holds its program by itself: no descriptor and no pin is needed.
 * All on the JS thread, in this process's own namespace.
 */
import { addon, type RawAnswer, type RawStep } from './addon.ts';
import { KernelError } from './error.ts';
import type { ProgramHandle } from './handle.ts';
import type { Direction } from './link.ts';
import { MessageComposer, NLM_F_CREATE, NLM_F_EXCL, readMessages, structU32 } from './netlink/message.ts';
import { checkIndex, dump, ENOENT, request, wasThere } from './netlink/request.ts';

const RTM_NEWQDISC = 36;
const RTM_NEWTFILTER = 44;
const RTM_DELTFILTER = 45;
const RTM_GETTFILTER = 46;
const TCMSG_BYTES = 20;
const TC_H_CLSACT = 0xfffffff1; // as parent of the qdisc
const CLSACT_HANDLE = 0xffff0000;
const HOOKS = { ingress: 0xfffffff2, egress: 0xfffffff3 } as const;
const ETH_P_ALL_NETWORK = 0x0300;
const TCA_KIND = 1;
const TCA_OPTIONS = 2;
const TCA_BPF_FD = 6;
const TCA_BPF_NAME = 7;
const TCA_BPF_FLAGS = 8;
const TCA_BPF_ID = 11;
const TCA_BPF_FLAG_ACT_DIRECT = 1;
const EEXIST = 17;
const EINVAL = 22;

/** Which filter of a hook. Lower priorities run first, 1 to 65535; the handle is the filter's own within its priority, from 1. */
export interface FilterPlace {
  readonly priority: number;
  readonly handle: number;
}

export interface Filter extends FilterPlace {
  readonly programId: number;
  readonly name: string;
}

function tcmsg(
  type: number,
  flags: number,
  ifindex: number,
  parent: number,
  handle: number,
  info: number,
): MessageComposer {
  return new MessageComposer(type, flags).u8(0).u8(0).u16(0).u32(ifindex).u32(handle).u32(parent).u32(info);
}

function filterMessage(
  operation: string,
  type: number,
  flags: number,
  ifindex: number,
  direction: Direction,
  place: FilterPlace,
): MessageComposer {
  const { priority, handle } = place;
  if (!Number.isInteger(priority) || priority < 1 || priority > 0xffff)
    throw new RangeError(`${operation}: priority must be 1 to 65535, got ${priority}`);
  if (!Number.isInteger(handle) || handle < 1 || handle > 0x7fffffff)
    throw new RangeError(`${operation}: handle must be 1 to 2^31-1, got ${handle}`);
  const info = ((priority << 16) | ETH_P_ALL_NETWORK) >>> 0;
  return tcmsg(type, flags, checkIndex(operation, ifindex), HOOKS[direction], handle, info).attributeString(
    TCA_KIND,
    'bpf',
  );
}

function exchange(operation: string, steps: RawStep[]): RawAnswer[] {
  const answers = addon.exchangeNow(steps);
  const at = answers.length - 1;
  const last = answers[at];
  if (last && last.status < 0 && !steps[at]?.accepted?.includes(-last.status)) {
    throw new KernelError(operation, -last.status, { detail: last.text, log: last.text });
  }
  return answers;
}

/** Attaches a program, in the place of the one that has the same priority and handle; makes the qdisc where it is absent. */
export function attachClsact(program: ProgramHandle, ifindex: number, direction: Direction, place: FilterPlace): void {
  const operation = `attach clsact ${direction} ${program.name} to ifindex ${ifindex}`;
  const qdisc = tcmsg(
    RTM_NEWQDISC,
    NLM_F_CREATE | NLM_F_EXCL,
    checkIndex(operation, ifindex),
    TC_H_CLSACT,
    CLSACT_HANDLE,
    0,
  );
  const filter = filterMessage(operation, RTM_NEWTFILTER, NLM_F_CREATE, ifindex, direction, place).nested(
    TCA_OPTIONS,
    (options) => {
      options
        .attributeU32(TCA_BPF_FD, program.fd)
        .attributeString(TCA_BPF_NAME, program.name)
        .attributeU32(TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT);
    },
  );
  exchange(operation, [
    request(qdisc.attributeString(TCA_KIND, 'clsact').finish(), [EEXIST]),
    request(filter.finish()),
  ]);
}

/** False: there was no such filter. The qdisc stays: others may use it. */
export function detachClsact(ifindex: number, direction: Direction, place: FilterPlace): boolean {
  const operation = `detach clsact ${direction} from ifindex ${ifindex}`;
  if (
    !queryClsact(ifindex, direction).some((found) => found.priority === place.priority && found.handle === place.handle)
  )
    return false;
  const message = filterMessage(operation, RTM_DELTFILTER, 0, ifindex, direction, place).finish();
  return wasThere(exchange(operation, [request(message, [ENOENT])]));
}

/** The BPF filters of a hook in the order they run; [] where there is no clsact qdisc. */
export function queryClsact(ifindex: number, direction: Direction): Filter[] {
  const operation = `query clsact ${direction} of ifindex ${ifindex}`;
  const message = tcmsg(RTM_GETTFILTER, 0, checkIndex(operation, ifindex), HOOKS[direction], 0, 0).finish();
  const [answer] = exchange(operation, [{ ...dump(message), accepted: [EINVAL] }]);
  return readMessages(answer?.messages ?? new Uint8Array(), TCMSG_BYTES).flatMap(({ struct, attributes }): Filter[] => {
    const handle = structU32(struct, 8);
    if (handle === 0 || attributes.string(TCA_KIND) !== 'bpf') return []; // 0 announces a priority
    const options = attributes.nested(TCA_OPTIONS);
    const programId = options.u32(TCA_BPF_ID) ?? 0;
    return [{ priority: structU32(struct, 16) >>> 16, handle, programId, name: options.string(TCA_BPF_NAME) ?? '' }];
  });
}
