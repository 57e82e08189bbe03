/**
 * A node for tests of endpoints: what survives an agent (kernel, namespaces, disk, the source's pods), and agents that
 * come and go on it. The kernel is a fake that refuses what the real one would refuse.
 */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PodWiring, Repair } from '../../agent/datapath/datapath.ts';
import { createEndpoints, type Endpoints } from '../../agent/endpoint/lifecycle.ts';
import type { EndpointsOptions } from '../../agent/endpoint/options.ts';
import { openRecordStore, type RecordStore } from '../../agent/endpoint/record-store.ts';
import type { Restored } from '../../agent/endpoint/restore.ts';
import { WeirError } from '../../agent/errors.ts';
import { createPool, type Pool } from '../../agent/ipam/pool.ts';
import { type Prefix, parsePrefix } from '../../agent/model/address.ts';
import type { Pod } from '../../agent/model/object.ts';
import type { Clock } from '../../agent/run/clock.ts';
import { createLogger } from '../../agent/run/log.ts';

export const prefixes = (...texts: string[]): Prefix[] => texts.map((text) => parsePrefix(text) as Prefix);
/** 5 IPv4 addresses, so that tests reach the end of them. */
export const POD_CIDRS = prefixes('10.7.0.0/29', 'fd07::/64');

/** Keeps Node alive, unlike the agent's own: here nothing else would. */
export const testClock: Clock = {
  nowMs: () => performance.now(),
  after(ms, then) {
    const timer = setTimeout(then, ms);
    return () => clearTimeout(timer);
  },
};

export interface Agent {
  readonly endpoints: Endpoints;
  readonly pool: Pool;
  readonly store: RecordStore;
  readonly restored: Restored;
  readonly log: string[];
}

export interface World {
  readonly folder: string;
  /** Interfaces in the kernel by their name on the node. */
  readonly links: Map<string, PodWiring>;
  /** Endpoint ids the kernel has a row for. */
  readonly rows: Set<number>;
  readonly namespaces: Set<string>;
  readonly pods: Map<string, Pod>;
  /** Starts an agent on what there is, and restores. */
  boot(overrides?: Partial<EndpointsOptions>): Promise<Agent>;
  /** Everything left of endpoints in kernel and on disk, as text; [] is clean. */
  residue(): string[];
  remove(): void;
}

export function createWorld(podCidrs: readonly Prefix[] = POD_CIDRS): World {
  const folder = mkdtempSync(join(tmpdir(), 'wt-endpoint-'));
  const links = new Map<string, PodWiring>();
  const rows = new Set<number>();
  const namespaces = new Set<string>();
  const pods = new Map<string, Pod>();

  const datapath: EndpointsOptions['datapath'] = {
    async wire(pod) {
      const refuse = (why: string): never => {
        throw new WeirError('WIRING_FAILED', 'wire', why);
      };
      if (!namespaces.has(pod.netns)) refuse(`no namespace ${pod.netns}`);
      if (links.has(pod.hostInterface)) refuse(`${pod.hostInterface} exists`);
      for (const other of links.values()) {
        if (other.id === pod.id) refuse(`interface index of endpoint ${pod.id} is in use`);
        if (other.addresses.some((address) => pod.addresses.includes(address))) refuse('an address is in use');
        if (other.netns === pod.netns && other.interfaceName === pod.interfaceName)
          refuse('interface in the pod exists');
      }
      links.set(pod.hostInterface, pod);
      return { hostIfindex: (1 << 20) + pod.id, hostMac: '0a:77:65:69:72:01', mtu: pod.mtu || 1500 };
    },
    async unwire({ hostInterface }) {
      links.delete(hostInterface);
    },
    async check(pod) {
      return links.has(pod.hostInterface) ? [] : [`${pod.hostInterface} is gone`];
    },
    async repair(endpoints) {
      return endpoints.flatMap(({ id, hostInterface }): Repair[] =>
        links.has(hostInterface) ? [] : [{ endpoint: id, what: 'device gone', repaired: false }],
      );
    },
  };

  return {
    folder,
    links,
    rows,
    namespaces,
    pods,
    async boot(overrides = {}) {
      const log: string[] = [];
      const pool = overrides.pool ?? createPool(podCidrs);
      const store = overrides.store ?? (await openRecordStore(folder));
      const endpoints = createEndpoints({
        datapath,
        pool,
        store,
        realize: {
          podOf: async (namespace, name) => pods.get(`${namespace}/${name}`),
          admit: async (record) => void rows.add(record.id),
          withdraw: async (id) => void rows.delete(id),
        },
        log: createLogger({ level: 'debug', format: 'text', write: (line) => log.push(line) }),
        addDeadlineMs: 2000,
        podDeadlineMs: 1000,
        deleteDeadlineMs: 2000,
        netnsExists: async (path) => namespaces.has(path),
        clock: testClock,
        ...overrides,
      });
      const restored = await endpoints.restore();
      // As the realizer does with the first revision: the kernel then has exactly the endpoints there are.
      rows.clear();
      for (const { id } of restored.endpoints) rows.add(id);
      return { endpoints, pool, store, restored, log };
    },
    residue() {
      const files = readdirSync(folder).filter((name) => !name.endsWith('.broken'));
      return [
        ...files.map((name) => `file ${name}`),
        ...[...links.keys()].map((name) => `link ${name}`),
        ...[...rows].map((id) => `row ${id}`),
      ];
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

export function podNamed(name: string, uid = ''): Pod {
  return {
    namespace: 'default',
    name,
    uid,
    labels: { app: name },
    annotations: {},
    serviceAccount: 'default',
    nodeName: 'node',
    hostNetwork: false,
    addresses: [],
    namedPorts: [],
    workload: undefined,
  };
}

/** An ADD of container `name`, whose namespace and pod exist from now on. */
export function container(world: World, name: string) {
  const netns = `/run/netns/${name}`;
  world.namespaces.add(netns);
  world.pods.set(`default/${name}`, podNamed(name));
  const pod = { namespace: 'default', name, uid: '' };
  return { containerId: name, interfaceName: 'eth0', netns, network: 'weir', pod, mtu: 0 };
}
