/**
 * What a test needs from the machine. Where it is missing the tests are skipped, loudly, each with the reason; with
 * WEIR_REQUIRE_PRIVILEGED=1 (CI) the runner counts such a skip as a failure.
 */
import { accessSync, constants, existsSync, statfsSync } from 'node:fs';
import { release } from 'node:os';
import { delimiter, join } from 'node:path';
import { stockMissing } from './stock.ts';
import type { Suite } from './suite.ts';

/** linux/magic.h */
const BPF_FS_MAGIC = 0xcafe4a11;

const NEEDS = {
  root: () => (process.getuid?.() === 0 ? undefined : 'needs root'),
  btf: () => (existsSync('/sys/kernel/btf/vmlinux') ? undefined : 'needs a kernel with BTF (CONFIG_DEBUG_INFO_BTF)'),
  bpffs: () => (isBpffs('/sys/fs/bpf') ? undefined : 'needs a BPF file system mounted on /sys/fs/bpf'),
  tcx: () => kernelAtLeast(6, 6, 'tcx links'),
  qemu: () => onPath('qemu-system-x86_64'),
  iperf3: () => onPath('iperf3'),
  nft: () => onPath('nft'),
  stock: () => stockMissing('libcni', 'cnitool', 'cyclonus'),
  hubble: () => stockMissing('hubble'),
  kubernetes: () =>
    stockMissing(
      'kube-apiserver',
      'kube-controller-manager',
      'kube-scheduler',
      'kubelet',
      'kubectl',
      'agnhost',
      'helm',
      'coredns',
    ),
  etcd: () => onPath('etcd'),
  image: () => onPath('buildah') ?? onPath('debootstrap'),
  containerd: () => onPath('containerd') ?? onPath('runc'),
  'api-server': () => stockMissing('kube-apiserver', 'kubectl') ?? onPath('etcd'),
} as const satisfies Record<string, () => string | undefined>;
export type Need = keyof typeof NEEDS;

/** Why this machine cannot run a test with these needs, or undefined when it can. */
export function missing(...needs: readonly Need[]): string | undefined {
  const reasons = needs.map((need) => NEEDS[need]()).filter((reason) => reason !== undefined);
  return reasons.length === 0 ? undefined : reasons.join('; ');
}

/**
 * The suite itself where the machine has all `needs`; otherwise one that takes the same calls and skips every test:
 *
 *     const test = privileged(suite('attach'), 'root', 'btf');
 */
export function privileged<T>(test: Suite<T>, ...needs: readonly Need[]): Suite<T> {
  const reason = missing(...needs);
  if (reason === undefined) return test;
  const skip = (name: string) => test.skip(name, reason);
  const noHook = Object.assign(() => {}, { each: () => {} });
  return Object.assign(skip, { only: skip, skip, before: noHook, after: noHook, run: () => test.run() });
}

function isBpffs(path: string): boolean {
  return existsSync(path) && statfsSync(path).type === BPF_FS_MAGIC;
}

function kernelAtLeast(major: number, minor: number, feature: string): string | undefined {
  const [ours = 0, ourMinor = 0] = release().split('.').map(Number);
  const enough = ours > major || (ours === major && ourMinor >= minor);
  return enough ? undefined : `needs ${feature} (kernel ${major}.${minor}; this is ${release()})`;
}

function onPath(program: string): string | undefined {
  const found = (process.env.PATH ?? '').split(delimiter).some((folder) => isExecutable(join(folder, program)));
  return found ? undefined : `needs the program ${program}`;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
