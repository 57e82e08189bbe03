/**
 * Finds the compiled addon and types what it exports. Every function answers failure with a negative errno (or an
 * object with a negative `status`); the files beside this one turn that into words.
 */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

/** What the kernel says a map is. `valueBytes`: of one value as user space reads it (per-cpu maps: of all CPUs). */
export interface MapShape {
  type: number;
  keySize: number;
  valueSize: number;
  valueBytes: number;
  maxEntries: number;
  flags: number;
  id: number;
}

export interface RawLoaded {
  maps: ({ fd: number; name: string } & MapShape)[];
  programs: { fd: number; name: string; type: number }[];
}

export interface RawRefusal {
  status: number;
  step: 'open' | 'rodata' | 'maxEntries' | 'reuse' | 'load';
  subject: string;
  expected: string;
  found: string;
  log: string;
}

export type RawPinned =
  | ({ kind: 'map'; fd: number; name: string } & MapShape)
  | { kind: 'program'; fd: number; name: string; type: number }
  | { kind: 'link'; fd: number };

export interface RawProgress {
  status: number;
  done: number;
}

type Pairs<T> = [string, T][];

/** One hop of a netlink exchange; `path` and `value` are of sysctls, `accepted` lists errnos that are answers, not failures. */
export interface RawStep {
  kind: 0 /* request */ | 1 /* dump */ | 2 /* sysctl read */ | 3 /* sysctl write */;
  /** Of netlink (linux/netlink.h); absent: NETLINK_ROUTE, 0. */
  protocol?: number;
  message?: Uint8Array;
  path?: string;
  value?: string;
  accepted?: number[];
}

/** `messages`: whole netlink messages; `text`: the kernel's extended acknowledgement. */
export interface RawAnswer {
  status: number;
  messages: Uint8Array;
  value: string;
  text: string;
}

/** The addon's exports. `fd` and `ifindex` are numbers, a status is 0 or -errno. */
export interface Addon {
  errnoText(errno: number): [name: string, text: string];
  openObject(
    path: string,
    rodata: Pairs<bigint | Uint8Array>,
    reuse: Pairs<string>,
    maxEntries: Pairs<number>,
    logLevel: number,
  ): RawLoaded | RawRefusal;
  pin(fd: number, path: string): number;
  openPinned(path: string): RawPinned | number;
  closeFd(fd: number): number;

  mapLookup(fd: number, key: Uint8Array): Uint8Array | number;
  mapUpdate(fd: number, key: Uint8Array, value: Uint8Array, flags: number): number;
  mapDelete(fd: number, key: Uint8Array): number;
  mapEntries(fd: number): { keys: Uint8Array; values: Uint8Array; count: number } | number;
  mapUpdateBatch(fd: number, keys: Uint8Array, values: Uint8Array, count: number): RawProgress;
  mapDeleteBatch(fd: number, keys: Uint8Array, count: number): RawProgress;
  mapSweep(
    fd: number,
    valueOffset: number,
    threshold: bigint,
    limit: number,
  ): Promise<{ keys: Uint8Array; values: Uint8Array; count: number; scanned: number } | number>;
  possibleCpus(): number;

  testRun(
    fd: number,
    data: Uint8Array,
    repeat: number,
    ctx: Uint8Array | undefined,
    dataOutSize: number,
  ): { retval: number; data: Uint8Array; ctx?: Uint8Array; durationNs: number } | number;
  programInfo(fd: number): ProgramFacts | number;

  attachTcx(programFd: number, ifindex: number, egress: boolean, head: boolean): number;
  queryTcx(ifindex: number, egress: boolean): number[] | number;
  attachXdp(programFd: number, ifindex: number, generic: boolean): number;
  attachCgroup(programFd: number, path: string, attachType: number): number;
  linkInfo(
    fd: number,
  ): { type: number; id: number; programId: number; ifindex: number; attachType: number; cgroupId: number } | number;
  linkUpdate(fd: number, programFd: number): number;
  linkDetach(fd: number): number;

  exchange(netns: string, steps: RawStep[]): Promise<RawAnswer[] | number>;
  exchangeNow(steps: RawStep[]): RawAnswer[];

  openRing(
    fd: number,
    recordSize: number,
    maxQueuedRecords: number,
    maxBatchRecords: number,
    maxDelayMs: number,
    onBatch: (records: Uint8Array, count: number, dropped: number) => void,
  ): { stop(): void; stats(): { received: number; queuedDropped: number; badSize: number } } | number;
  probeMapType(type: number): number;
  probeHelper(programType: number, helper: number): number;
  netnsCookie(): bigint | number;
}

/** Times in ns, sizes in bytes, `xlatedInsns` in instructions after the verifier; run figures need sysctl kernel.bpf_stats_enabled. */
export interface ProgramFacts {
  id: number;
  name: string;
  type: number;
  tag: string;
  runTimeNs: number;
  runCount: number;
  jitedSize: number;
  xlatedInsns: number;
  mapIds: number[];
}

/** In a checkout it is where node-gyp puts it; a bundle has it beside itself. */
function load(): Addon {
  const require = createRequire(import.meta.url);
  const tried: string[] = [];
  for (const place of ['./build/Release/weir_native.node', './weir_native.node']) {
    const path = fileURLToPath(new URL(place, import.meta.url));
    try {
      return require(path) as Addon;
    } catch (error) {
      tried.push(`${path}: ${error instanceof Error ? error.message.split('\n')[0] : String(error)}`);
    }
  }
  throw new Error(`the native addon cannot be loaded; build it with "npm run setup". Tried:\n  ${tried.join('\n  ')}`);
}

export const addon: Addon = load();
