/** The kernel's jiffies, which only a BPF program can read, and how many there are in a second. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type ProgramHandle, testRun } from '../../../native/index.ts';
import { WeirError } from '../../errors.ts';

/** What CONFIG_HZ can be (kernel/Kconfig.hz). */
const HZ_CHOICES = [100, 250, 300, 1000];
/** Long enough that a jiffy more or less does not make 250 look like 300: 60 ms are 15 or 18 of them. */
const CALIBRATION_MS = 60;
/** The program writes two u64 into a packet; the kernel wants no shorter one. */
const PACKET_BYTES = 64;

export interface ClockSample {
  readonly jiffies: bigint;
  /** CLOCK_MONOTONIC. */
  readonly ns: bigint;
}

/** Runs bpf's `sample_clock` once. */
export function sampleClock(program: ProgramHandle): ClockSample {
  const { retval, data } = testRun(program, { data: new Uint8Array(PACKET_BYTES) });
  if (retval !== 0) throw new WeirError('DATAPATH_FAILED', 'sample clock', `sample_clock returned ${retval}`);
  const [jiffies, ns] = new BigUint64Array(data.slice(0, 16).buffer) as unknown as [bigint, bigint];
  return { jiffies, ns };
}

/** Jiffies per second between two samples, as the choice of CONFIG_HZ that is nearest. */
export function hzBetween(first: ClockSample, second: ClockSample): number {
  const measured = (Number(second.jiffies - first.jiffies) * 1e9) / Number(second.ns - first.ns);
  const distance = (hz: number): number => Math.abs(Math.log(measured / hz));
  return HZ_CHOICES.reduce((best, hz) => (distance(hz) < distance(best) ? hz : best));
}

/** Takes about 60 ms; the JS thread is free meanwhile. */
export async function measureHz(program: ProgramHandle): Promise<number> {
  const first = sampleClock(program);
  await sleep(CALIBRATION_MS);
  return hzBetween(first, sampleClock(program));
}
