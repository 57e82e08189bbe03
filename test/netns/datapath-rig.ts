/** A node's datapath without the rest of the agent: the test is the agent, pods are namespaces. */
import './own-network.ts';
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { DatapathRows, EndpointRow, PodWiring } from '../../agent/datapath/datapath.ts';
import { createKernelDatapath, type KernelDatapath, type KernelDatapathOptions } from '../../agent/datapath/kernel.ts';
import { EventType, type FlowEvent, flowEvent } from '../../agent/datapath/layout.gen.ts';
import { addressOf, ifindexOf } from '../../agent/datapath/map/addresses.ts';
import { type Address, parseAddress } from '../../agent/model/address.ts';
import type { PolicyRow } from '../../agent/model/verdict.ts';
import { createLogger } from '../../agent/run/log.ts';
import { attachTcx, closeFd, mapEntries, mapUpdate, openPinned } from '../../native/index.ts';
import { tryCommand } from '../kit/command.ts';
import { type Netns, Testbed } from '../kit/netns.ts';
import type { Peer } from '../kit/traffic.ts';
import { until } from '../kit/until.ts';

export { allowAll, CLOSED, denyIngress, OPEN } from './policy-rows.ts';

export interface RigPod {
  readonly wiring: PodWiring;
  readonly netns: Netns;
  readonly ipv4: Address;
  readonly ipv6: Address;
  readonly identity: number;
  readonly peer: Peer;
}

/** Removed at the end, whatever happened. */
const pinDirectories = new Set<string>();
process.once('exit', () => {
  for (const directory of pinDirectories) rmSync(directory, { recursive: true, force: true });
});

/** In the place of a peer nobody asked for. */
const NO_PEER = new Proxy({} as Peer, {
  get: (_, name) => {
    throw new Error(`this pod was made without a peer: ${String(name)}`);
  },
});

/** Flow events as they came, addresses as text. */
export class Events {
  private readonly all: (Omit<FlowEvent, 'destination'> & { destination: Address })[] = [];

  add(records: Uint8Array, count: number): void {
    for (let i = 0; i < count; i++) {
      const event = flowEvent.decode(records, i * flowEvent.size);
      if (event.family === 0) continue; // A frame that is not IP has no addresses.
      this.all.push({ ...event, destination: addressOf(event.destination, event.family) });
    }
  }

  of(type: keyof typeof EventType) {
    return this.all.filter((event) => event.type === EventType[type]);
  }

  async until(type: keyof typeof EventType, count: number): Promise<void> {
    await until(() => this.of(type).length >= count, { what: `${count} events ${type}` });
  }
}

export class Rig {
  readonly bed: Testbed;
  readonly options: KernelDatapathOptions;
  datapath: KernelDatapath;

  private constructor(bed: Testbed, options: KernelDatapathOptions, datapath: KernelDatapath) {
    this.bed = bed;
    this.options = options;
    this.datapath = datapath;
  }

  static async start(
    part: string,
    more: Partial<KernelDatapathOptions['config']> & Pick<KernelDatapathOptions, 'maxEntries'> = {},
  ): Promise<Rig> {
    const bed = await Testbed.open(part);
    const { maxEntries, ...config } = more;
    const options: KernelDatapathOptions = {
      config: {
        pinDirectory: `/sys/fs/bpf/${bed.name('pins')}`,
        attachMode: 'auto',
        newConnectionsPerSecond: 20_000,
        newConnectionsBurst: 65_536,
        ringBufferMiB: 1,
        eventQueueRecords: 4096,
        reportIntervalSeconds: 5,
        ...config,
      },
      log: createLogger({ level: process.env.WEIR_TEST_LOG === '1' ? 'debug' : 'error', format: 'text' }),
      ...(maxEntries && { maxEntries }),
    };
    pinDirectories.add(options.config.pinDirectory);
    return new Rig(bed, options, await createKernelDatapath(options));
  }

  /** The next agent on the same pins: what is wired and in force stays. */
  async restart(more: Pick<KernelDatapathOptions, 'maxEntries'> = {}): Promise<void> {
    await this.datapath.close();
    this.datapath = await createKernelDatapath({ ...this.options, ...more });
  }

  /** What endpoint `id` is wired with: the addresses 10.7.0.<id> and fd07::<id>. */
  wiring(id: number): Omit<PodWiring, 'netns'> {
    const hex = id.toString(16);
    return {
      id,
      interfaceName: 'eth0',
      hostInterface: `weirt${id}`,
      mac: `0a:00:00:00:07:${hex.padStart(2, '0')}`,
      addresses: [`10.7.0.${id}`, `fd07::${hex}`].map((text) => parseAddress(text) as Address),
      mtu: 0,
    };
  }

  /** A new namespace, wired. Nothing points to it yet. Without a peer nothing runs in it. */
  async pod(
    id: number,
    { withPeer = true, ...more }: Partial<PodWiring> & { withPeer?: boolean } = {},
  ): Promise<RigPod> {
    const netns = await this.bed.netns(`pod${id}`);
    const wiring: PodWiring = { ...this.wiring(id), netns: netns.path, ...more };
    await this.datapath.wire(wiring);
    const [ipv4, ipv6] = wiring.addresses as [Address, Address];
    const peer = withPeer ? await this.bed.peer(netns) : NO_PEER;
    return { wiring, netns, ipv4, ipv6, identity: 1000 + id, peer };
  }

  async pingFromNode(address: Address): Promise<boolean> {
    return (await tryCommand(['ping', '-n', '-q', '-c', '1', '-W', '1', address])).code === 0;
  }

  pinnedLinks(): string[] {
    return readdirSync(join(this.options.config.pinDirectory, 'links'));
  }

  pinnedMaps(): string[] {
    return readdirSync(join(this.options.config.pinDirectory, 'maps'));
  }

  linkPin(id: number, direction: 'ingress' | 'egress'): string {
    return join(this.options.config.pinDirectory, 'links', `${id}-${direction}`);
  }

  /** Another program gets ahead of ours on the pod's ingress hook. It stays while this process lives. */
  async overtake(id: number): Promise<void> {
    const stub = openPinned(join(this.options.config.pinDirectory, 'programs/stub_to_pod'));
    if (stub?.kind !== 'program') throw new Error('the stub is not pinned');
    attachTcx(stub, ifindexOf(id), 'ingress', { head: true });
    closeFd(stub);
  }

  /** Makes every connection look as if its time had passed long ago. */
  expireConnections(): void {
    for (const name of ['conntrack4', 'conntrack6']) {
      const map = openPinned(join(this.options.config.pinDirectory, 'maps', name));
      if (map?.kind !== 'map') throw new Error(`${name} is not pinned`);
      const { keys, values, count } = mapEntries(map);
      for (let i = 0; i < count; i++) {
        const value = values.slice(i * map.valueSize, (i + 1) * map.valueSize);
        value.fill(0, 0, 8); // `expires`
        mapUpdate(map, keys.slice(i * map.keySize, (i + 1) * map.keySize), value);
      }
      closeFd(map);
    }
  }

  /** Collects events from now on. */
  events(): Events {
    const events = new Events();
    this.datapath.onEvents((records, count) => events.add(records, count));
    return events;
  }

  /** Everything the tables should hold for these pods, all with one policy. */
  rows(pods: readonly RigPod[], policy: PolicyRow): DatapathRows {
    return {
      policy: {
        policies: [policy],
        verdicts: [],
        identityClasses: [],
        addressClasses: [],
        identities: pods.map(({ identity }) => identity),
        subjects: [],
      },
      endpoints: pods.map((pod) => endpointRow(pod, policy.id)),
      peers: pods.flatMap(({ wiring, identity }) =>
        wiring.addresses.map((address) => ({ address, identity, endpoint: wiring.id, kind: 'pod' as const })),
      ),
      ranges: [],
    };
  }

  async close(): Promise<void> {
    await this.datapath.close();
    await this.bed.close();
    rmSync(this.options.config.pinDirectory, { recursive: true, force: true });
    pinDirectories.delete(this.options.config.pinDirectory);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

export function endpointRow({ wiring, identity }: RigPod, policy: number): EndpointRow {
  return { id: wiring.id, identity, policy, mac: wiring.mac, addresses: wiring.addresses };
}
