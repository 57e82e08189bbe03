/** Small BPF programs of a test's own, compiled from text. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { arch, tmpdir } from 'node:os';
import { join } from 'node:path';

const PREAMBLE = `#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
char _license[] SEC("license") = "GPL";
`;
/** Where Debian keeps <asm/types.h>, which clang's bpf target does not search. */
const ASM_INCLUDE = `/usr/include/${arch() === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`;

/** Compiles with linux/bpf.h, bpf_helpers.h and a license in front. Throws with clang's words. */
export function compileBpf(source: string): { path: string; [Symbol.dispose](): void } {
  const folder = mkdtempSync(join(tmpdir(), 'wt-bpf-'));
  const [c, o] = [join(folder, 'test.bpf.c'), join(folder, 'test.bpf.o')];
  writeFileSync(c, PREAMBLE + source);
  const remove = () => rmSync(folder, { recursive: true, force: true });
  try {
    execFileSync('clang', ['-g', '-O2', '-target', 'bpf', '-I', ASM_INCLUDE, '-c', c, '-o', o]);
  } catch (error) {
    remove();
    throw error;
  }
  return { path: o, [Symbol.dispose]: remove };
}
