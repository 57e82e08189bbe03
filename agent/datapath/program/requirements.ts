/** What the programs need of the kernel, said in words before a load fails in the verifier's. */
import { release } from 'node:os';
import type { Features } from '../../../native/index.ts';
import { WeirError } from '../../errors.ts';

const NEEDED: readonly { readonly feature: keyof Features; readonly what: string; readonly since: string }[] = [
  {
    feature: 'btf',
    what: 'type information of the kernel (CONFIG_DEBUG_INFO_BTF)',
    since: '5.2, if the distribution builds it in',
  },
  { feature: 'jiffies64', what: 'the BPF helper bpf_jiffies64', since: '5.6' },
  { feature: 'ringbuf', what: 'BPF ring buffers', since: '5.8' },
  { feature: 'redirectPeer', what: 'the BPF helper bpf_redirect_peer', since: '5.10' },
];

export type AttachMode = 'tcx' | 'clsact';

/** @throws WeirError KERNEL_UNSUPPORTED naming all that is missing, with the kernel that has it */
export function requireFeatures(found: Features, isRoot = process.getuid?.() === 0): void {
  const missing = NEEDED.filter(({ feature }) => !found[feature]).map(({ what, since }) => `${what} (Linux ${since})`);
  if (missing.length === 0) return;
  const message = isRoot
    ? `this kernel, ${release()}, lacks ${missing.join(', ')}`
    : 'the agent must run as root: without the rights to use BPF nothing can be loaded';
  throw new WeirError('KERNEL_UNSUPPORTED', 'kernel features', message);
}

/** @throws WeirError KERNEL_UNSUPPORTED when tcx is asked for and missing */
export function chooseAttachMode(setting: 'auto' | AttachMode, found: Features): AttachMode {
  if (setting === 'tcx' && !found.tcx) {
    const message = `this kernel, ${release()}, lacks tcx links (Linux 6.6); set the attach mode to auto or clsact`;
    throw new WeirError('KERNEL_UNSUPPORTED', 'attach mode', message);
  }
  return setting === 'auto' ? (found.tcx ? 'tcx' : 'clsact') : setting;
}
