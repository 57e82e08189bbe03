/**
 * The pod programs, freshly loaded and pinned nowhere, with verbs to fill their maps and run packets through them:
 *
 *     using datapath = DatapathFixture.open();
 *     const pod = datapath.pod({ identity: 1001, policy: 16, ipv4: '10.9.0.2', ipv6: 'fd09::2' });
 *     const run = await datapath.fromPod(pod, tcp({ from: pod.ipv4, to: '10.9.0.3' }).syn());
 *     run.verdict // 'stack' | 'redirect' | 'consumed' | 'drop'; run.reason, run.events
 *
 * A program looks a pod up by the device it runs on, and BPF_PROG_TEST_RUN takes only devices that exist: each pod has a
 * veth pair of which one end has its index, removed with the fixture or when the process exits.
 */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import {
  CONFIG_GLOBALS,
  type Codec,
  type ConntrackEntry,
  type ConntrackKey4,
  type ConntrackKey6,
  conntrackEntry,
  conntrackKey4,
  conntrackKey6,
  type DatapathConfig,
  Direction,
  DropReason,
  dropReasonName,
  type Endpoint,
  EventType,
  type FlowEvent,
  flowEvent,
  GATEWAY_MAC,
  MAPS,
  type MapName,
  MetricsLimits,
  trafficCounter,
} from '../../agent/datapath/layout.gen.ts';
import { familyOf, parsePrefix, prefixAddress, prefixLength } from '../../agent/model/address.ts';
import {
  type LoadedObject,
  mapDelete,
  mapEntries,
  mapLookup,
  mapUpdate,
  openObject,
  type ProgramHandle,
  type RingConsumer,
  ringConsumer,
  testRun,
} from '../../native/index.ts';
import { decodeWith, encodeWith, type KeyOf, paddedAddress, rawAddress, type ValueOf } from './datapath-rows.ts';
import { makeEndpointLink, removeEndpointLink } from './endpoint-link.ts';
import { jiffiesPerSecond, type KernelTime, kernelTime } from './jiffies.ts';
import { type Frame, macBytes, macText, Packet } from './packet.ts';

const BPF_FOLDER = fileURLToPath(new URL('../../bpf', import.meta.url));
const OBJECT = `${BPF_FOLDER}/build/pod.bpf.o`;
/** struct __sk_buff of <linux/bpf.h>: two fields of it are set. */
const SKB = { size: 192, ingressIfindex: 36, ifindex: 40 };
const GATEWAY = macText(GATEWAY_MAC);
/** A device no program has an endpoint for. */
export const OUTSIDE_IFINDEX = 1;
const TC = { next: -1, drop: 2, redirect: 7 };
/** More than a thread needs to hand one record over, however loaded the machine. */
const EVENT_WAIT_MS = 10_000;
const MARK_AGAIN_MS = 100;
const SMALLEST_FRAME = 60;

export type Verdict = 'stack' | 'redirect' | 'consumed' | 'drop';

export interface Run {
  readonly verdict: Verdict;
  /** Name without DROP_, for 'drop'. */
  readonly reason: string | undefined;
  /** In order, of this packet only. */
  readonly events: readonly FlowEvent[];
  /** The packet as the program left it. */
  readonly data: Uint8Array;
}

export interface TestPod {
  /** Index of the endpoint. */
  readonly id: number;
  readonly ifindex: number;
  /** The veth end with that index, and the other one, which a test may move into a namespace. */
  readonly link: string;
  readonly innerLink: string;
  readonly mac: string;
  readonly ipv4: string;
  readonly ipv6: string;
}

export interface Connection {
  readonly key: ConntrackKey4 | ConntrackKey6;
  readonly entry: ConntrackEntry;
}

export type { KeyOf, ValueOf } from './datapath-rows.ts';

export interface FixtureOptions {
  /** Over the defaults of bpf/config.h; hz is always this kernel's. */
  readonly config?: Partial<DatapathConfig>;
  readonly maxEntries?: Partial<Record<MapName, number>>;
}

/** So that a test's load takes milliseconds: full-sized LRU maps are preallocated. */
const SMALL_MAPS = { conntrack4: 1024, conntrack6: 1024, fragments: 256 };

export class DatapathFixture implements Disposable {
  readonly object: LoadedObject;
  /** Jiffies per second. */
  readonly hz: number;
  readonly #links: string[] = [];
  readonly #ring: RingConsumer;
  readonly #arrived: FlowEvent[] = [];
  readonly #onExit = (): void => this.#removeLinks();
  #waiting: (() => void) | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #marks = 0;

  private constructor(object: LoadedObject, hz: number) {
    this.object = object;
    this.hz = hz;
    const options = { recordSize: flowEvent.size, maxQueuedRecords: 1 << 16, maxBatchRecords: 64, maxDelayMs: 0 };
    this.#ring = ringConsumer(this.map('events'), options, (records, count) => {
      for (let i = 0; i < count; i++) this.#arrived.push(flowEvent.decode(records, i * flowEvent.size));
      this.#waiting?.();
    });
    process.on('exit', this.#onExit);
  }

  /** Builds the programs if needed, and loads them. */
  static open(options: FixtureOptions = {}): DatapathFixture {
    execFileSync('make', ['-s', '-C', BPF_FOLDER]);
    const config: Partial<DatapathConfig> = { ...options.config };
    config.hz ??= jiffiesPerSecond(OBJECT, SMALL_MAPS);
    const rodata = Object.fromEntries(
      Object.entries(config).map(([name, value]) => [CONFIG_GLOBALS[name as keyof DatapathConfig].global, value]),
    );
    const object = openObject(OBJECT, { rodata, maxEntries: { ...SMALL_MAPS, ...options.maxEntries } });
    return new DatapathFixture(object, config.hz);
  }

  map(name: MapName): LoadedObject['maps'][string] {
    const map = this.object.maps[name];
    if (!map) throw new Error(`the object has no map ${name}`);
    return map;
  }

  /** Writes one row, with the codecs of the layout. */
  put<N extends MapName>(name: N, key: KeyOf<N>, value: ValueOf<N>): void {
    mapUpdate(this.map(name), encodeWith(MAPS[name].key, key), encodeWith(MAPS[name].value, value));
  }

  get<N extends MapName>(name: N, key: KeyOf<N>): ValueOf<N> | undefined {
    const value = mapLookup(this.map(name), encodeWith(MAPS[name].key, key));
    return value && (decodeWith(MAPS[name].value, value) as ValueOf<N>);
  }

  delete<N extends MapName>(name: N, key: KeyOf<N>): boolean {
    return mapDelete(this.map(name), encodeWith(MAPS[name].key, key));
  }

  /** A pod on this node: device, endpoint row, and peer rows of both addresses. */
  pod(pod: { identity: number; policy: number; ipv4?: string; ipv6?: string }): TestPod {
    const { id, ifindex, name: link } = makeEndpointLink(GATEWAY);
    this.#links.push(link);
    const mac = `0a:58:00:00:${(id >> 8).toString(16).padStart(2, '0')}:${(id & 255).toString(16).padStart(2, '0')}`;
    const { identity, policy, ipv4 = '', ipv6 = '' } = pod;
    const made = { id, ifindex, link, innerLink: `${link}p`, mac, ipv4, ipv6 };
    this.setEndpoint(made, { identity, policy });
    for (const address of [ipv4, ipv6]) if (address) this.peer(address, { identity, endpoint: id, kind: 'pod' });
    return made;
  }

  /** Changes some of the endpoint row; what is left out stays as pod() made it. */
  setEndpoint(pod: TestPod, change: Partial<Endpoint>): void {
    const now = this.get('endpoints', pod.id);
    const made = {
      ifindex: pod.ifindex,
      aggregation: 0,
      mac: macBytes(pod.mac),
      ipv4: pod.ipv4 ? new DataView(rawAddress(pod.ipv4).buffer).getUint32(0) : 0,
      ipv6: pod.ipv6 ? rawAddress(pod.ipv6) : new Uint8Array(16),
    };
    const pointer = { identity: now?.identity ?? 0, policy: now?.policy ?? 0 };
    this.put('endpoints', pod.id, { ...pointer, ...made, ...change });
  }

  /** Who is at an address: identity, endpoint index (0: elsewhere), kind. */
  peer(address: string, peer: { identity: number; endpoint?: number; kind: 'outside' | 'node' | 'pod' }): void {
    this.put('peers', { family: family(address), address: paddedAddress(address) }, peerValue(peer));
  }

  /** Who is in a prefix, unless a peer has the address. */
  range(prefix: string, peer: { identity: number; kind: 'outside' | 'node' | 'pod' }): void {
    const parsed = parsePrefix(prefix);
    if (parsed === undefined) throw new TypeError(`not a prefix: ${prefix}`);
    const address = paddedAddress(prefixAddress(parsed));
    this.put('ranges', { prefixLen: 32 + prefixLength(parsed), family: familyOf(parsed), address }, peerValue(peer));
  }

  get epoch(): number {
    return this.get('epoch', 0) ?? 0;
  }

  /** As the agent does after a change that may take something away. */
  bumpEpoch(): void {
    this.put('epoch', 0, this.epoch + 1);
  }

  /** The pod sends. Missing MAC addresses become the pod's and the gateway's. */
  fromPod(pod: TestPod, packet: Packet | Frame | Uint8Array): Promise<Run> {
    return this.#run('from_pod', frame(packet, pod.mac, GATEWAY), pod.ifindex, 0);
  }

  /** The stack sends to the pod what came in by a device (default: one that is no pod's), or from a local socket: 'host'. */
  toPod(
    pod: TestPod,
    packet: Packet | Frame | Uint8Array,
    from: TestPod | 'host' | 'outside' = 'outside',
  ): Promise<Run> {
    const ingress = from === 'host' ? 0 : from === 'outside' ? OUTSIDE_IFINDEX : from.ifindex;
    return this.#run('to_pod', frame(packet, GATEWAY, pod.mac), pod.ifindex, ingress);
  }

  /** Events of packets that were not run by this fixture but came over a device. */
  async eventsOfTraffic(): Promise<readonly FlowEvent[]> {
    const events = this.#last.then(() => this.#eventsSoFar());
    this.#last = events.catch(() => undefined);
    return events;
  }

  /** One run without waiting for its events, which are left to the next run that does. `ns`: mean of `repeat` runs. */
  runOnly(
    program: 'from_pod' | 'to_pod',
    pod: TestPod,
    data: Uint8Array,
    repeat = 1,
    ingressIfindex = 0,
  ): { retval: number; ns: number } {
    const { retval, durationNs } = this.#test(program, data, pod.ifindex, ingressIfindex, repeat);
    return { retval, ns: durationNs };
  }

  connections(): Connection[] {
    const read = <K extends ConntrackKey4 | ConntrackKey6>(
      name: 'conntrack4' | 'conntrack6',
      codec: Codec<K>,
    ): Connection[] => {
      const { keys, values, count } = mapEntries(this.map(name));
      return Array.from({ length: count }, (_, i) => ({
        key: codec.decode(keys, i * codec.size),
        entry: conntrackEntry.decode(values, i * conntrackEntry.size),
      }));
    };
    return [...read('conntrack4', conntrackKey4), ...read('conntrack6', conntrackKey6)];
  }

  /** Changes an entry in place, e.g. its `expires`. */
  setConnection({ key, entry }: Connection, change: Partial<ConntrackEntry>): void {
    const value = { ...entry, ...change };
    if (typeof key.lowAddress === 'number') this.put('conntrack4', key as ConntrackKey4, value);
    else this.put('conntrack6', key as ConntrackKey6, value);
  }

  /** Packets dropped so far (the fixture's own left out), by reason and direction as "POLICY_DENIED/egress"; zeros left out. */
  drops(): Record<string, number> {
    const found: Record<string, number> = {};
    for (let slot = 0; slot < MetricsLimits.DROP_COUNTERS; slot++) {
      const packets = this.#perCpu('drops', slot, trafficCounter.size).reduce(
        (sum, bytes) => sum + trafficCounter.decode(bytes).packets,
        0n,
      );
      const direction = slot % Direction.DIRECTION_COUNT === Direction.DIRECTION_EGRESS ? 'egress' : 'ingress';
      const name = `${reasonName(Math.floor(slot / Direction.DIRECTION_COUNT))}/${direction}`;
      const count = Number(packets) - (name === 'UNKNOWN_ENDPOINT/egress' ? this.#marks : 0);
      if (count > 0) found[name] = count;
    }
    return found;
  }

  counter(index: number): number {
    return Number(
      this.#perCpu('counters', index, 8).reduce(
        (sum, bytes) => sum + new DataView(bytes.buffer).getBigUint64(0, true),
        0n,
      ),
    );
  }

  /** Events read from the ring buffer so far, the fixture's own included. */
  get eventsReceived(): number {
    return this.#ring.stats().received;
  }

  /** This kernel's jiffies and CLOCK_MONOTONIC, by the program the agent uses. */
  clock(): KernelTime {
    return kernelTime(this.#program('sample_clock'));
  }

  [Symbol.dispose](): void {
    void this.#ring.stop();
    this.object.close();
    this.#removeLinks();
    process.off('exit', this.#onExit);
  }

  /** One after the other, so that each packet has its own events. */
  #run(program: 'from_pod' | 'to_pod', data: Uint8Array, ifindex: number, ingress: number): Promise<Run> {
    const run = this.#last.then(() => this.#runAlone(program, data, ifindex, ingress));
    this.#last = run.catch(() => undefined);
    return run;
  }

  async #runAlone(program: 'from_pod' | 'to_pod', data: Uint8Array, ifindex: number, ingress: number): Promise<Run> {
    const result = this.#test(program, data, ifindex, ingress, 1);
    const events = await this.#eventsSoFar();
    const dropped = events.find((event) => event.type === EventType.EVENT_DROP);
    const verdict =
      result.retval === TC.next ? 'stack' : result.retval === TC.redirect ? 'redirect' : dropped ? 'drop' : 'consumed';
    return { verdict, reason: dropped && reasonName(dropped.reason), events, data: result.data };
  }

  #test(
    program: string,
    data: Uint8Array,
    ifindex: number,
    ingress: number,
    repeat: number,
  ): ReturnType<typeof testRun> {
    const ctx = new Uint8Array(SKB.size);
    const view = new DataView(ctx.buffer);
    view.setUint32(SKB.ingressIfindex, ingress, true);
    view.setUint32(SKB.ifindex, ifindex, true);
    return testRun(this.#program(program), { data, repeat, ctx });
  }

  #program(name: string): ProgramHandle {
    const program = this.object.programs[name];
    if (!program) throw new Error(`the object has no program ${name}`);
    return program;
  }

  /**
   * Everything in the ring buffer. Records come in order, so one more of a length of its own (a frame on a device that is
   * nobody's) marks the end.
   */
  async #eventsSoFar(): Promise<FlowEvent[]> {
    const length = SMALLEST_FRAME + (this.#marks % 1000);
    const isMark = (event: FlowEvent): boolean =>
      event.ifindex === OUTSIDE_IFINDEX && event.reason === DropReason.DROP_UNKNOWN_ENDPOINT;
    const deadline = Date.now() + EVENT_WAIT_MS;
    while (Date.now() < deadline) {
      this.#test('from_pod', new Uint8Array(length), OUTSIDE_IFINDEX, 0, 1);
      this.#marks += 1;
      await this.#arrival();
      const end = this.#arrived.findIndex((event) => isMark(event) && event.length === length);
      if (end >= 0) return this.#arrived.splice(0, end + 1).filter((event) => !isMark(event));
    }
    throw new Error(`no event arrived within ${EVENT_WAIT_MS} ms`);
  }

  /** The next batch of events; after a while also without one, for the mark may have met a full ring. */
  #arrival(): Promise<void> {
    return new Promise((resolve) => {
      /* the ring's thread does not keep Node running; a timer does */
      const again = setTimeout(resolve, MARK_AGAIN_MS);
      this.#waiting = () => {
        clearTimeout(again);
        resolve();
      };
    });
  }

  #perCpu(name: 'drops' | 'counters', index: number, size: number): Uint8Array[] {
    const value = mapLookup(this.map(name), encodeWith('__u32', index)) ?? new Uint8Array(0);
    const stride = Math.ceil(size / 8) * 8;
    return Array.from({ length: value.length / stride }, (_, cpu) => value.slice(cpu * stride, cpu * stride + size));
  }

  #removeLinks(): void {
    for (const name of this.#links.splice(0)) removeEndpointLink(name);
  }
}

function frame(packet: Packet | Frame | Uint8Array, fromMac: string, toMac: string): Uint8Array {
  if (packet instanceof Uint8Array) return packet;
  return packet instanceof Packet ? packet.between(fromMac, toMac).bytes() : packet.bytes();
}

function reasonName(reason: number): string {
  return (dropReasonName[reason] ?? `DROP_${reason}`).slice('DROP_'.length);
}

function peerValue(peer: { identity: number; endpoint?: number; kind: 'outside' | 'node' | 'pod' }): ValueOf<'peers'> {
  return {
    identity: peer.identity,
    endpoint: peer.endpoint ?? 0,
    kind: ['outside', 'node', 'pod'].indexOf(peer.kind),
    node: 0,
  };
}

function family(address: string): number {
  return address.includes(':') ? 6 : 4;
}
