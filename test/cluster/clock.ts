/**
 * Another time for some of a node's containers. The clock is the machine's and namespaces do not virtualise it, so the node's
 * container runtime preloads libfaketime into containers of a given name: dates shift, timers and waits stay right. The
 * program has to be linked to glibc dynamically, as Node is.
 */
import { chmodSync, cpSync, existsSync, globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const LIBRARY = '/usr/lib/*-linux-gnu/faketime/libfaketime.so.1';
/** On the node's disk. */
const FOLDER = '/opt/clock';
const WRAPPER = `${FOLDER}/runc`;

/** What runc is asked to create passes through here; everything else it is asked goes on untouched. */
const WRAPPER_SOURCE = `#!/bin/sh
# runc, but containers that ${FOLDER}/shifts names see another time.
case " $* " in *" create "*) python3 ${FOLDER}/shift.py "$@" ;; esac
exec /usr/sbin/runc "$@"
`;

/** Adds the library, and FAKETIME, to the bundle's config.json (OCI runtime specification, config.md). */
const SHIFT_SOURCE = `import json, os, sys
arguments = sys.argv[1:]
bundle = arguments[arguments.index('--bundle') + 1]
path = os.path.join(bundle, 'config.json')
with open(path) as file: config = json.load(file)
with open('${FOLDER}/shifts') as file: shifts = json.load(file)
name = config.get('annotations', {}).get('io.kubernetes.cri.container-name')
if name in shifts:
    config['mounts'].append({'destination': '/libfaketime.so.1', 'type': 'bind', 'source': '${FOLDER}/libfaketime.so.1', 'options': ['bind', 'ro']})
    config['process']['env'] += ['LD_PRELOAD=/libfaketime.so.1', 'FAKETIME=' + shifts[name], 'FAKETIME_DONT_FAKE_MONOTONIC=1']
    with open(path, 'w') as file: json.dump(config, file)
`;

/** For containerd's configuration, once there is a wrapper: where runc is instead of on PATH. */
export const CLOCK_RUNTIME = WRAPPER;

/** @param shifts container name -> libfaketime's offset, "+10m". None: runc is used as it is. */
export function installClock(disk: string, shifts: Readonly<Record<string, string>>): void {
  const folder = join(disk, FOLDER);
  // What was started through the wrapper is ended through it, so it stays.
  if (Object.keys(shifts).length === 0 && !existsSync(folder)) return;
  const [library] = globSync(LIBRARY);
  if (library === undefined) throw new Error(`${LIBRARY} is needed: apt-get install faketime`);
  mkdirSync(folder, { recursive: true });
  cpSync(library, join(folder, 'libfaketime.so.1'));
  writeFileSync(join(disk, WRAPPER), WRAPPER_SOURCE);
  chmodSync(join(disk, WRAPPER), 0o755);
  writeFileSync(join(folder, 'shift.py'), SHIFT_SOURCE);
  writeFileSync(join(folder, 'shifts'), JSON.stringify(shifts));
}

/** What was installed last. */
export function installedShifts(disk: string): Record<string, string> {
  try {
    return JSON.parse(readFileSync(join(disk, FOLDER, 'shifts'), 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw error;
  }
}
