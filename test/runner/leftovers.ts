/** What tests may leave behind on a machine: looked at before and after a run; what is new, and ours, is named. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';

/** Things by kind, each with a name a person can go and look at. */
export type Belongings = Readonly<Record<string, readonly string[]>>;

const FOLDERS: Readonly<Record<string, string>> = {
  'network namespace': '/run/netns',
  link: '/sys/class/net',
  'BPF pin': '/sys/fs/bpf',
  socket: '/run/weir',
  cluster: '/var/lib/weir-clusters',
  'control group': '/sys/fs/cgroup/unified',
};

/** Names we give: `wt-<part>-<pid>-...` and `wt<pid>x<n>` in tests, also to a folder in which something is; `weir...` by the product. */
const OURS = /(^|\/)(wt-|wt\d+x|weir[^/]*$)/;
/** Whatever is in its folder is ours. */
const ALL_OURS = new Set(['process', 'socket']);

/** Everything there is now. `run` marks our processes: they have WEIR_TEST_RUN=run in their environment. */
export function belongings(run: string): Belongings {
  const listed = Object.entries(FOLDERS).map(([kind, folder]) => [kind, list(folder)] as const);
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((path) => OURS.test(path) && !path.startsWith('/run/netns/') && !path.startsWith('/var/run/netns/'));
  return { ...Object.fromEntries(listed), mount: mounts, process: processes(run) };
}

/** What is in `after`, not in `before`, and made by tests: "link wt123x1". */
export function leftovers(before: Belongings, after: Belongings, belongsToOthers: (name: string) => boolean): string[] {
  return Object.entries(after).flatMap(([kind, names]) => {
    const known = new Set(before[kind]);
    return names
      .filter((name) => !known.has(name) && (ALL_OURS.has(kind) || (OURS.test(name) && !belongsToOthers(name))))
      .map((name) => `${kind} ${name}`);
  });
}

/**
 * True for the name of a test's that carries the process id of none of the files in `ran`: another checkout's tests, at work
 * or killed. A name without an id, such as the product's own, is nobody else's.
 */
export function madeByOthers(ran: ReadonlySet<number>): (name: string) => boolean {
  return (name) => {
    const numbers = /(^|\/)(wt-|wt\d+x)/.test(name) ? (name.match(/\d+/g) ?? []) : [];
    return numbers.length > 0 && !numbers.some((number) => ran.has(Number(number)));
  };
}

function list(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder).map((name) => `${folder}/${name}`);
}

function processes(run: string): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid && isOurs(name, run))
    .map((pid) => `${pid} ${readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim()}`)
    .filter((line) => !/^\d+ $/.test(line));
}

function isOurs(pid: string, run: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').includes(`WEIR_TEST_RUN=${run}`);
  } catch {
    return false; // Ended while we were looking, or not ours to read.
  }
}
