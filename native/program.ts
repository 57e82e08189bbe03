import type { ProgramFacts } from './addon.ts';
import { addon } from './addon.ts';
import { checked } from './error.ts';
import type { ProgramHandle } from './handle.ts';

export interface TestRun {
  /** Packet, from the Ethernet header on. At least 14 bytes; more limits in the kernel's net/bpf/test_run.c. */
  readonly data: Uint8Array;
  /**
   * Runs; the packet keeps what one run changed for the next. Default 1. An interrupt between two runs starts over with
   * the first, and maps then keep what the runs before it wrote: where each run counts, call with 1 instead.
   */
  readonly repeat?: number;
  /** struct __sk_buff or struct xdp_md going in. */
  readonly ctx?: Uint8Array;
  /** Room for the packet coming out. Default: 256 bytes more than went in; ENOSPC when it is too small. */
  readonly dataOutSize?: number;
}

export interface TestRunResult {
  /** What the program returned, as a signed 32-bit number. */
  readonly retval: number;
  readonly data: Uint8Array;
  readonly ctx?: Uint8Array;
  /** Mean of one run. */
  readonly durationNs: number;
}

/** Runs a program on a packet without any device (BPF_PROG_TEST_RUN). Blocks the JS thread for all repeats. */
export function testRun(program: ProgramHandle, run: TestRun): TestRunResult {
  const dataOutSize = run.dataOutSize ?? run.data.length + 256;
  return checked(
    `test run ${program.name}`,
    addon.testRun(program.fd, run.data, run.repeat ?? 1, run.ctx, dataOutSize),
  );
}

/** What the kernel says about a loaded program. */
export function programInfo(program: ProgramHandle): ProgramFacts {
  return checked(`program info ${program.name}`, addon.programInfo(program.fd));
}
