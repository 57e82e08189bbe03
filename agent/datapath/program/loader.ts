/**
 * Loads the programs, once per start: reuses the pinned maps whose shape is still the same, makes and pins the others,
 * and pins the stubs that pods attach. The programs come into force when {@link Loaded.switchOver} writes the tail-call
 * slots: one write per direction changes every pod, those wired by earlier agents too.
 */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import {
  closeFd,
  KernelError,
  type LoadedObject,
  type MapHandle,
  mapUpdate,
  openObject,
  openPinned,
  type ProgramHandle,
  pin,
  unpin,
} from '../../../native/index.ts';
import { WeirError } from '../../errors.ts';
import type { AggregationLevel } from '../../model/aggregation.ts';
import { RESERVED_IDENTITIES } from '../../model/identity.ts';
import { backend, CONFIG_GLOBALS, type DatapathConfig, MAPS, type MapName, socketPeerKey } from '../layout.gen.ts';
import { AGGREGATION } from '../map/endpoint-rows.ts';
import type { MapHandles } from '../map/maps.ts';
import type { HookPrograms } from './attach.ts';
import { measureHz } from './jiffies.ts';
import type { Pins } from './pins.ts';

const objectPath = (name: string): string =>
  fileURLToPath(new URL(`../../../bpf/build/${name}.bpf.o`, import.meta.url));
export const POD_OBJECT = objectPath('pod');

/** Program of the object -> slot that puts it in force. */
const SLOTS = { from_pod: 'from_pod_slot', to_pod: 'to_pod_slot' } as const satisfies Record<string, MapName>;
const PINNED_PROGRAMS = ['stub_from_pod', 'stub_to_pod', 'sample_clock'] as const;
const FIRST_SLOT = new Uint8Array(4);
const MAP_NAMES = Object.keys(MAPS) as MapName[];
/** Rows of these refer to each other: programs look into all of one version, which one agent filled. */
const AGENT_TABLES: readonly MapName[] = [
  'endpoints',
  'policies',
  'verdicts',
  'identity_class',
  'address_class',
  'identities',
  'peers',
  'ranges',
  'tunnel_nodes',
  'tunnel_sources',
  'services',
  'service_slots',
  'service_members',
];

/** What the socket programs share with those of pods, and their own map. */
const SERVICE_MAPS = ['services', 'service_slots', 'service_members', 'service_affinities'] as const;
const SOCKET_PEERS = 'socket_peers';

export interface LoadOptions {
  readonly pins: Pins;
  readonly reportIntervalSeconds: number;
  /** Of connections whose pods do not ask for another; medium by default. */
  readonly aggregation?: AggregationLevel;
  readonly newConnectionsPerSecond: number;
  readonly newConnectionBurst: number;
  /** Whether virtual addresses are translated; off by default, and then it costs nothing. */
  readonly services?: boolean;
  /** Of the event ring; a power of two. */
  readonly ringBytes: number;
  /** The compiled object; the repository's build by default. */
  readonly object?: string;
  /** Other sizes than the object's, for tests that fill a table. */
  readonly maxEntries?: Partial<Record<MapName, number>>;
}

export interface Loaded {
  readonly maps: MapHandles;
  /** What is attached to a pod's host-side veth. */
  readonly stubs: HookPrograms;
  /** What the stubs call. */
  readonly programs: HookPrograms;
  readonly sampleClock: ProgramHandle;
  readonly hz: number;
  /** Maps that take the place of others of another shape: they must be filled before the programs come into force. */
  readonly renewed: readonly MapName[];
  /** The slots are new: a stub that an earlier agent attached calls programs that nobody can switch any more. */
  readonly slotsAreNew: boolean;
  /** Another object of bpf/ over the same maps, for who needs it; to be closed by the caller. */
  openBeside(name: 'tunnel' | 'uplink'): LoadedObject;
  /** The socket programs, over the maps of Services; to be closed by the caller. `config`: their own globals. */
  openSockets(config: Readonly<Record<string, number | bigint>>): LoadedObject;
  /** Puts the programs in force and removes the pins of maps they replaced. */
  switchOver(): void;
  /** Pins again what somebody wiped; names of what was missing. */
  pinAgain(): string[];
  close(): void;
}

/** @throws WeirError KERNEL_UNSUPPORTED when the verifier refuses (details: what it says), DATAPATH_FAILED otherwise */
export async function load(options: LoadOptions): Promise<Loaded> {
  const { pins, object = POD_OBJECT } = options;
  const maxEntries = { ...options.maxEntries, events: options.ringBytes };
  const chosen = choosePins(pins, maxEntries);
  const reuse = Object.fromEntries(MAP_NAMES.map((name) => [name, pins.map(chosen[name].pin)]));
  const openFor = (hz: number): LoadedObject => open(object, { rodata: rodata(options, hz), reuse, maxEntries });

  // HZ must be written into the programs, and only a program can measure it: at the first start guessed, then checked.
  let hz = await pinnedHz(pins);
  const isGuess = hz === undefined;
  hz ??= USUAL_HZ;
  let loaded = openFor(hz);
  const measured = isGuess
    ? await measureHz(required(loaded.programs.sample_clock, 'program sample_clock', object))
    : hz;
  if (measured !== hz) {
    loaded.close();
    hz = measured;
    loaded = openFor(hz);
  }
  try {
    const program = (name: string): ProgramHandle => required(loaded.programs[name], `program ${name}`, object);
    const maps = Object.fromEntries(
      MAP_NAMES.map((name) => [name, required(loaded.maps[name], `map ${name}`, object)]),
    ) as Record<MapName, MapHandle>;
    const pinAgain = (): string[] => {
      const missing = [
        ...MAP_NAMES.map((name) => ({ handle: maps[name], path: pins.map(chosen[name].pin) })),
        ...PINNED_PROGRAMS.map((name) => ({ handle: program(name), path: pins.program(name) })),
      ].filter(({ path }) => !existsSync(path));
      for (const { handle, path } of missing) pin(handle, path);
      return missing.map(({ path }) => path);
    };
    for (const name of PINNED_PROGRAMS) unpin(pins.program(name));
    pinAgain();
    return {
      maps,
      stubs: { ingress: program('stub_from_pod'), egress: program('stub_to_pod') },
      programs: { ingress: program('from_pod'), egress: program('to_pod') },
      sampleClock: program('sample_clock'),
      hz,
      renewed: MAP_NAMES.filter((name) => chosen[name].replaced.length > 0),
      slotsAreNew: Object.values(SLOTS).some((slot) => chosen[slot].isNew),
      pinAgain,
      openBeside(name) {
        pinAgain();
        return open(objectPath(name), { rodata: rodata(options, hz), reuse, maxEntries });
      },
      openSockets(config) {
        pinAgain();
        const peers = pins.map(SOCKET_PEERS);
        if (existsSync(peers) && !hasPeersShape(peers)) unpin(peers);
        const sockets = open(objectPath('socket'), {
          rodata: { ...rodata(options, hz), ...config },
          reuse: { ...only(reuse, SERVICE_MAPS), [SOCKET_PEERS]: peers },
          maxEntries: only(maxEntries, SERVICE_MAPS),
        });
        if (!existsSync(peers)) pin(required(sockets.maps[SOCKET_PEERS], `map ${SOCKET_PEERS}`, 'socket'), peers);
        return sockets;
      },
      switchOver() {
        for (const [name, slot] of Object.entries(SLOTS)) {
          mapUpdate(maps[slot], FIRST_SLOT, new Uint8Array(Uint32Array.of(program(name).fd).buffer));
        }
        for (const name of MAP_NAMES) for (const old of chosen[name].replaced) unpin(pins.map(old));
      },
      close: () => loaded.close(),
    };
  } catch (error) {
    loaded.close();
    throw error;
  }
}

/** The programs' configuration, by the names their globals have in the object. */
function rodata(options: LoadOptions, hz: number): Record<string, number> {
  const config: DatapathConfig = {
    aggregation: AGGREGATION[options.aggregation ?? 'medium'],
    hz,
    newConnectionBurst: options.newConnectionBurst,
    newConnectionsPerSecond: options.newConnectionsPerSecond,
    reportIntervalSeconds: options.reportIntervalSeconds,
    services: options.services ? 1 : 0,
    worldIpv4: RESERVED_IDENTITIES['world-ipv4'],
    worldIpv6: RESERVED_IDENTITIES['world-ipv6'],
  };
  const names = Object.keys(config) as (keyof DatapathConfig)[];
  return Object.fromEntries(names.map((name) => [CONFIG_GLOBALS[name].global, config[name]]));
}

/** Pin of one map: which name it has, and which other versions of it lie about. */
interface ChosenPin {
  readonly pin: string;
  readonly isNew: boolean;
  readonly replaced: readonly string[];
}

/**
 * A map of another shape is never reinterpreted: the new one is pinned under the next free version, "peers_v2". The
 * agent's tables go together: when one cannot be used, or is not there, all are new.
 */
function choosePins(pins: Pins, maxEntries: Partial<Record<MapName, number>>): Record<MapName, ChosenPin> {
  const pinned = new Set(pins.mapNames());
  const chosen = {} as Record<MapName, ChosenPin>;
  const alone = MAP_NAMES.filter((name) => !AGENT_TABLES.includes(name)).map((name) => [name]);
  for (const group of [AGENT_TABLES, ...alone]) {
    const version = chooseVersion(group, pinned, (name, pin) => hasShape(pins.map(pin), name, maxEntries[name]));
    for (const name of group) {
      const pin = pinName(name, version);
      const isVersion = new RegExp(`^${name}(_v\\d+)?$`);
      const replaced = [...pinned].filter((file) => file !== pin && isVersion.test(file));
      chosen[name] = { pin, isNew: !pinned.has(pin), replaced };
    }
  }
  return chosen;
}

/** The first version of which all maps are there in their shape, or none is. */
function chooseVersion(
  group: readonly MapName[],
  pinned: ReadonlySet<string>,
  isUsable: (name: MapName, pin: string) => boolean,
): number {
  for (let version = 1; ; version++) {
    const there = group.filter((name) => pinned.has(pinName(name, version)));
    if (there.length === 0) return version;
    if (there.length === group.length && group.every((name) => isUsable(name, pinName(name, version)))) return version;
  }
}

function pinName(name: MapName, version: number): string {
  return version === 1 ? name : `${name}_v${version}`;
}

function hasShape(path: string, name: MapName, maxEntries: number | undefined): boolean {
  const found = openPinned(path);
  if (found === undefined) return false;
  try {
    const wanted = { ...MAPS[name], ...(maxEntries !== undefined && { maxEntries }) };
    const sameFields = (['type', 'keySize', 'valueSize', 'maxEntries'] as const).every(
      (field) => found.kind === 'map' && found[field] === wanted[field],
    );
    return sameFields;
  } finally {
    closeFd(found);
  }
}

function hasPeersShape(path: string): boolean {
  const found = openPinned(path);
  if (found === undefined) return false;
  closeFd(found);
  return found.kind === 'map' && found.keySize === socketPeerKey.size && found.valueSize === backend.size;
}

function only<T>(of: Readonly<Record<string, T>>, names: readonly string[]): Record<string, T> {
  return Object.fromEntries(Object.entries(of).filter(([name]) => names.includes(name)));
}

/** What Debian and Ubuntu build their kernels with. */
const USUAL_HZ = 250;

/** Jiffies per second by the program an earlier start pinned; undefined at the first start since the machine booted. */
async function pinnedHz(pins: Pins): Promise<number | undefined> {
  const program = openPinned(pins.program('sample_clock'));
  if (program === undefined) return undefined;
  try {
    return program.kind === 'program' ? await measureHz(program) : undefined;
  } finally {
    closeFd(program);
  }
}

function open(object: string, options: Parameters<typeof openObject>[1]): LoadedObject {
  try {
    return openObject(object, options);
  } catch (cause) {
    if (!(cause instanceof KernelError)) throw cause;
    if (cause.code === 'ENOENT') {
      throw new WeirError('DATAPATH_FAILED', 'load programs', `${object} is not there: run "npm run setup"`, { cause });
    }
    const code = cause.log === undefined ? 'DATAPATH_FAILED' : 'KERNEL_UNSUPPORTED';
    const details = { cause, ...(cause.log !== undefined && { details: cause.log }) };
    throw new WeirError(code, 'load programs', `the kernel does not take the programs: ${cause.message}`, details);
  }
}

function required<T>(value: T | undefined, what: string, object: string): T {
  if (value !== undefined) return value;
  throw new WeirError(
    'DATAPATH_FAILED',
    'load programs',
    `${object} has no ${what}: it was built from another version`,
  );
}
