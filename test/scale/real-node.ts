/**
 * The one node whose agent is real, in a namespace of its own, linked with the API server of this test. The agent has its
 * own pins and its own cgroup: nothing of it reaches the machine.
 */
import { mkdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { cgroupDirectory } from '../../agent/datapath/cgroup.ts';
import type { Address } from '../../agent/model/address.ts';
import { type ApiServer, startApiServer } from '../cluster/api-server.ts';
import { Testbed } from '../kit/netns.ts';
import { NodeUnderTest } from '../kit/node.ts';
import { nodeObject, podCidrs } from './population.ts';

export const REAL_NODE = 'real-0';

/** Where this process and the API server are, and the node: 198.19.0.0/16 is for benches (RFC 2544), four addresses a run. */
function link(): { readonly machine: Address; readonly node: Address } {
  const block = process.pid % (1 << 14);
  const address = (n: number) => `198.19.${block >> 6}.${((block & 63) << 2) + n}` as Address;
  return { machine: address(1), node: address(2) };
}

export class Place {
  readonly bed: Testbed;
  readonly api: ApiServer;
  readonly #addresses = link();
  readonly #cgroup: string;
  readonly #closing: (() => Promise<void>)[] = [];

  private constructor(bed: Testbed, api: ApiServer, cgroup: string) {
    this.bed = bed;
    this.api = api;
    this.#cgroup = cgroup;
  }

  /** The API server with our CRDs, reachable from here and from the namespace the node will have. */
  static async open(part: string, crds: string): Promise<Place> {
    const bed = await Testbed.open(part);
    try {
      const cgroup = join(await cgroupDirectory(''), bed.name('cgroup'));
      const { machine, node } = link();
      const netns = await bed.netns('node');
      await bed.veth(
        { name: bed.linkName(), addresses: [`${machine}/30`] },
        { name: 'uplink', netns, addresses: [`${node}/30`] },
      );
      await netns.ip(`route add default via ${machine}`);
      const api = await startApiServer(part, { address: machine });
      const place = new Place(bed, api, cgroup);
      place.#closing.push(async () => api.stop());
      await api.apply(crds);
      place.#netns = netns;
      return place;
    } catch (error) {
      await bed.close();
      throw error;
    }
  }
  #netns: Awaited<ReturnType<Testbed['netns']>> | undefined;

  get netns() {
    if (this.#netns === undefined) throw new Error('the place is not open');
    return this.#netns;
  }

  /** The Node the agent stands for. */
  nodeObject() {
    return nodeObject({ name: REAL_NODE, addresses: [this.#addresses.node], podCidrs: podCidrs(0) });
  }

  /** Starts the agent; it is ready when this resolves. Its Node must be there. */
  async startNode(flags: readonly string[] = []): Promise<NodeUnderTest> {
    mkdirSync(this.#cgroup, { recursive: true });
    const node = await NodeUnderTest.start(this.bed.part, {
      manifests: {},
      flags: [
        '--source=kubernetes',
        `--kubeconfig=${this.api.kubeconfig}`,
        '--routing-mode=tunnel',
        '--masquerade',
        '--services',
        `--cgroup-directory=${this.#cgroup}`,
        ...flags,
      ],
      place: { bed: this.bed, netns: this.netns, world: this.netns, nodeName: REAL_NODE },
    });
    this.#closing.unshift(() => node.close());
    return node;
  }

  /** Bytes that came to the node, over everything. */
  async receivedBytes(): Promise<number> {
    const [uplink] = JSON.parse(await this.netns.ip('-json -statistics link show uplink')) as [
      { stats64: { rx: { bytes: number } } },
    ];
    return uplink.stats64.rx.bytes;
  }

  async close(): Promise<void> {
    for (const close of this.#closing) await close();
    await this.bed.close();
    try {
      rmdirSync(this.#cgroup);
    } catch {
      // The agent was never started.
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
