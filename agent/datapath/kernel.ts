/**
 * The datapath over the real kernel: the parts of this folder behind the interface of datapath.ts. Changes of the tables
 * are queued one behind the other; wiring of different pods goes on beside them, as each pod has its own devices.
 */
import { features, mapEntries, type RingConsumer, ringConsumer } from '../../native/index.ts';
import type { Config } from '../config/config.ts';
import { type Clock, systemClock } from '../run/clock.ts';
import type { Logger } from '../run/log.ts';
import { createConnections } from './connections.ts';
import { readCounters } from './counters.ts';
import type { Datapath, EventListener, MapFill, NodeAttachment } from './datapath.ts';
import { flowEvent, type MapName } from './layout.gen.ts';
import { kernelTables } from './map/kernel-tables.ts';
import { nodeMaps, policyMaps } from './map/maps.ts';
import { type FirstNumbers, numbersAbove } from './numbers.ts';
import { createApplier } from './plan/apply.ts';
import { changesOf } from './plan/changes.ts';
import { Retired } from './plan/retired.ts';
import { createAttachment } from './program/attach.ts';
import { createDevicePrograms } from './program/device-programs.ts';
import { createGracePeriods } from './program/grace-period.ts';
import { type LoadOptions, load } from './program/loader.ts';
import { openPins } from './program/pins.ts';
import { chooseAttachMode, requireFeatures } from './program/requirements.ts';
import { createSocketPrograms } from './program/socket-programs.ts';
import { countUnreadable } from './unreadable-events.ts';
import { checkPod } from './wiring/check.ts';
import { prepareNode } from './wiring/node.ts';
import { createAttachedNode } from './wiring/node-attachment.ts';
import { repairEndpoints } from './wiring/repair.ts';
import { defaultRouteMtu, unwirePod, wirePod } from './wiring/wiring.ts';

/** How long a row outlives its last pointer: see retired.ts. */
const GRACE_MS = 50;
/** A record waits at most so long for others, and at most so many travel together. */
const EVENT_DELAY_MS = 20;
const EVENT_BATCH_RECORDS = 1024;

type Settings = Pick<
  Config,
  | 'pinDirectory'
  | 'attachMode'
  | 'newConnectionsPerSecond'
  | 'newConnectionsBurst'
  | 'ringBufferMiB'
  | 'eventQueueRecords'
  | 'reportIntervalSeconds'
> &
  Partial<Pick<Config, 'services' | 'flowAggregation' | 'xdpMode'>>;

export interface KernelDatapathOptions {
  readonly config: Settings;
  readonly log: Logger;
  readonly clock?: Clock;
  /** Other sizes than the programs', for tests that fill a table. */
  readonly maxEntries?: LoadOptions['maxEntries'];
}

/** Maps whose fill is counted by reading them; the others are not the agent's to fill, or too large. */
const COUNTED = [
  'policies',
  'verdicts',
  'identity_class',
  'address_class',
  'identities',
  'peers',
  'ranges',
  'services',
  'service_slots',
  'service_members',
] as const;

export interface KernelDatapath extends Datapath {
  /** Numbers above all that the kernel holds: an engine that starts there can write beside what is in force. */
  firstNumbers(): Promise<FirstNumbers>;
  /** Endpoints that the last repair() could not attach. */
  unattached(): readonly number[];
  /** Rows in the maps that mean nothing to this version. */
  readonly unreadableRows: number;
}

/**
 * Loads the programs and prepares the node (forwarding). What an earlier agent pinned stays in force meanwhile.
 * @throws WeirError KERNEL_UNSUPPORTED, CONFIG_INVALID (pin directory), DATAPATH_FAILED
 */
export async function createKernelDatapath(options: KernelDatapathOptions): Promise<KernelDatapath> {
  const { config, log, clock = systemClock } = options;
  requireFeatures(features());
  const mode = chooseAttachMode(config.attachMode, features());
  const pins = openPins(config.pinDirectory);
  await prepareNode();
  const loaded = await load({
    pins,
    reportIntervalSeconds: config.reportIntervalSeconds,
    ...(config.flowAggregation && { aggregation: config.flowAggregation }),
    newConnectionsPerSecond: config.newConnectionsPerSecond,
    newConnectionBurst: config.newConnectionsBurst,
    services: config.services ?? false,
    ringBytes: config.ringBufferMiB << 20,
    ...(options.maxEntries && { maxEntries: options.maxEntries }),
  });
  const maps = policyMaps(loaded.maps);
  const tables = kernelTables(maps);
  const applier = createApplier(tables, new Retired(GRACE_MS), clock);
  const { stubs, programs, slotsAreNew } = loaded;
  const attachment = createAttachment({ mode, stubs, programs, pins, earlierAreStale: slotsAreNew });
  const gracePeriods = createGracePeriods((cause) => {
    log.warn('RCU grace periods cannot be expedited: wiring a pod takes tens of milliseconds longer', { cause });
  });
  const connections = createConnections(loaded.maps, loaded.sampleClock);
  const node = createAttachedNode(
    nodeMaps(loaded.maps),
    createDevicePrograms(pins, mode, config.xdpMode),
    createSocketPrograms(pins, loaded.openSockets),
    loaded.openBeside,
    (because) => tables.write([{ kind: 'epoch.bump', because }]),
  );
  let lastAttachment: NodeAttachment | undefined;
  let nodeMtu = await defaultRouteMtu();
  let unattached: readonly number[] = [];
  let listener: EventListener | undefined;
  let ring: RingConsumer | undefined;
  let cancelCollection = (): void => {};
  let isInForce = loaded.renewed.length === 0;
  if (isInForce) loaded.switchOver();
  else
    log.info('the layout of some maps has changed: the new ones are filled before the programs are switched', {
      maps: loaded.renewed,
    });
  log.debug('programs loaded', { hz: loaded.hz, attach: mode, pins: pins.directory });

  let queue: Promise<unknown> = Promise.resolve();
  /** One change of the tables at a time. */
  function inTurn<T>(work: () => Promise<T> | T): Promise<T> {
    const turn = queue.then(work);
    queue = turn.catch(() => {}); // Whoever asked for it has the error.
    return turn;
  }

  function collectLater(): void {
    cancelCollection();
    const dueMs = applier.dueMs;
    if (dueMs === undefined) return;
    cancelCollection = clock.after(Math.max(0, dueMs - clock.nowMs()), () => {
      inTurn(() => applier.collect()).then(collectLater, (cause: unknown) => {
        log.warn('rows that are not used any more could not be deleted; tried again with the next change', { cause });
      });
    });
  }

  /** Runs a change of the tables and sees to the deletions it leaves behind. */
  async function change<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await inTurn(work);
    } finally {
      collectLater();
    }
  }

  function report(...batch: Parameters<EventListener>): void {
    try {
      listener?.(...batch);
    } catch (cause) {
      // Thrown into the event thread's callback it would vanish.
      log.error('events could not be taken up and are lost', { count: batch[1], cause });
    }
  }

  return {
    read: () => inTurn(() => tables.rows()),
    replace: (desired) =>
      change(async () => {
        const result = await applier.replace(desired);
        if (isInForce) return result;
        loaded.switchOver();
        isInForce = true;
        // What is established was allowed by the old maps. After the switch: old programs must not judge it meanwhile.
        tables.write([{ kind: 'epoch.bump', because: 'the programs look into other maps now' }]);
        if (lastAttachment) await node.attach(lastAttachment);
        return { ...result, epochBumped: true };
      }),
    apply: (delta) => change(() => applier.apply(changesOf(delta))),

    wire: (pod) => gracePeriods.expedited(() => wirePod(pod, attachment, nodeMtu)),
    async unwire(pod) {
      await inTurn(() => tables.clearEndpoint(pod.id));
      await gracePeriods.expedited(() => unwirePod(pod, attachment));
    },
    check: (pod) => checkPod(pod, attachment),
    async repair(endpoints) {
      nodeMtu = await defaultRouteMtu();
      pins.make();
      const missing = loaded.pinAgain();
      if (missing.length > 0) log.error('somebody removed pins; they are back', { missing });
      const found = await repairEndpoints(endpoints, attachment, (endpoint, cause) => {
        log.error(`endpoint ${endpoint} could not be attached again`, { endpoint, cause });
      });
      unattached = [...new Set(found.filter(({ repaired }) => !repaired).map(({ endpoint }) => endpoint))];
      return found;
    },
    unattached: () => unattached,

    attachNode: (attachment) =>
      inTurn(() => {
        lastAttachment = attachment;
        // Until then the devices have the programs of before, and those the maps of before.
        return isInForce ? node.attach(attachment) : [];
      }),
    setDenyCidrs: (prefixes) => inTurn(() => node.setDenied(prefixes)),
    devicePrograms: () => node.programs(),
    detachNode: () =>
      inTurn(() => {
        lastAttachment = undefined;
        return node.detach();
      }),

    onEvents(to) {
      listener = to;
      ring ??= ringConsumer(
        loaded.maps.events,
        {
          recordSize: flowEvent.size,
          maxQueuedRecords: config.eventQueueRecords,
          maxBatchRecords: EVENT_BATCH_RECORDS,
          maxDelayMs: EVENT_DELAY_MS,
        },
        countUnreadable(report, () => ring?.stats().badSize ?? 0),
      );
    },
    counters: () => readCounters(loaded.maps.counters, loaded.maps.drops),
    maps() {
      const fill = (name: MapName, entries: number): MapFill => ({
        name,
        entries,
        capacity: loaded.maps[name].maxEntries,
      });
      return [
        fill('endpoints', [...tables.endpoints()].length),
        ...COUNTED.map((name) => fill(name, mapEntries(loaded.maps[name]).count)),
        fill('conntrack4', connections.counts.conntrack4),
        fill('conntrack6', connections.counts.conntrack6),
      ];
    },
    connections: (limit) => connections.list(limit),
    collectConnections: () => connections.collect(report),
    firstNumbers: async () => numbersAbove(await inTurn(() => tables.rows())),
    get unreadableRows() {
      return tables.unreadable;
    },
    async close() {
      cancelCollection();
      await ring?.stop();
      await queue;
      attachment.close();
      node.close();
      loaded.close();
    },
  };
}
