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

/** Names we give: `wt-<part>-<pid>-...` and `wt<pid>x<n>` in tests, `weir...` by the product. */
const OURS = /(^|\/)(wt-|wt\d+x|weir)/;

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
      .filter((name) => !known.has(name) && (kind === 'process' || (OURS.test(name) && !belongsToOthers(name))))
      .map((name) => `${kind} ${name}`);
  });
}

/** True when the name carries the id of a process that runs and is not of this run: somebody else's test, still at work. */
export function othersAtWork(run: string): (name: string) => boolean {
  return (name) => {
    const pid = ownerOf(name);
    return pid !== undefined && Number(pid) !== process.pid && existsSync(`/proc/${pid}`) && !isOurs(pid, run);
  };
}

/** The process id in a name of a test's: the largest number of it, the others being counters. */
function ownerOf(name: string): string | undefined {
  const numbers = name.match(/\d+/g) ?? [];
  return numbers.reduce<string | undefined>(
    (most, number) => (Number(number) > Number(most ?? 0) ? number : most),
    undefined,
  );
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
