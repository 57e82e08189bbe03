import { existsSync } from 'node:fs';
import { addon } from './addon.ts';

const RINGBUF_MAP = 27; // BPF_MAP_TYPE_RINGBUF
const SCHED_CLS = 3; // BPF_PROG_TYPE_SCHED_CLS
const REDIRECT_PEER = 155; // BPF_FUNC_redirect_peer
const JIFFIES64 = 118; // BPF_FUNC_jiffies64
const CGROUP_SOCK_ADDR = 18; // BPF_PROG_TYPE_CGROUP_SOCK_ADDR
const SET_RETVAL = 187; // BPF_FUNC_set_retval
const LOOPBACK = 1;

export interface Features {
  /** tcx links, Linux 6.6; without them: clsact. */
  readonly tcx: boolean;
  /** BPF ring buffers, Linux 5.8. */
  readonly ringbuf: boolean;
  /** The kernel's own types in /sys/kernel/btf (CONFIG_DEBUG_INFO_BTF). */
  readonly btf: boolean;
  /** bpf_redirect_peer, Linux 5.10. */
  readonly redirectPeer: boolean;
  /** bpf_jiffies64, Linux 5.6. */
  readonly jiffies64: boolean;
  /** bpf_set_retval in programs of sockets, Linux 5.18: a refused connection can say ECONNREFUSED. */
  readonly setRetval: boolean;
}

let found: Features | undefined;

/** What the running kernel can do, found by trying and then remembered. Needs the rights to use BPF: without, all is false. */
export function features(): Features {
  found ??= Object.freeze({
    tcx: typeof addon.queryTcx(LOOPBACK, false) !== 'number', // EINVAL: unknown attach type
    ringbuf: addon.probeMapType(RINGBUF_MAP) === 1,
    btf: existsSync('/sys/kernel/btf/vmlinux'),
    redirectPeer: addon.probeHelper(SCHED_CLS, REDIRECT_PEER) === 1,
    jiffies64: addon.probeHelper(SCHED_CLS, JIFFIES64) === 1,
    setRetval: addon.probeHelper(CGROUP_SOCK_ADDR, SET_RETVAL) === 1,
  });
  return found;
}
