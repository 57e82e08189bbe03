/**
 * Nodes that have our agent and nothing else of Kubernetes, and the API server their agents talk to: namespaces of one
 * network (test/kit/node-network.ts), without kubelets, controllers or containers. Each agent has pins and a cgroup of its
 * own, so that nothing of it reaches the machine.
 *
 *     await using nodes = await BareNodes.open('scale', 2);
 *     const agent = await nodes.startAgent(nodes.network.nodes[0], ['--routing-mode=native']);
 */
import { mkdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cgroupDirectory } from '../../agent/datapath/program/cgroup.ts';
import type { KubernetesObject } from '../../agent/kubernetes/client.ts';
import type { NodeRecord } from '../../agent/model/object.ts';
import { Testbed } from '../kit/netns.ts';
import { NodeUnderTest } from '../kit/node.ts';
import { NodeNetwork, type TestNode } from '../kit/node-network.ts';
import { until } from '../kit/until.ts';
import { type ApiServer, startApiServer } from './api-server.ts';

const CRDS = fileURLToPath(new URL('../../crds', import.meta.url));

export class BareNodes {
  readonly bed: Testbed;
  readonly network: NodeNetwork;
  readonly api: ApiServer;
  readonly #agents: NodeUnderTest[] = [];
  readonly #cgroups: string[] = [];

  private constructor(bed: Testbed, network: NodeNetwork, api: ApiServer) {
    this.bed = bed;
    this.network = network;
    this.api = api;
  }

  /** The API server with our CRDs and the Nodes; no agent yet. `part` names what is made. */
  static async open(part: string, count: number): Promise<BareNodes> {
    const bed = await Testbed.open(part);
    try {
      const network = await NodeNetwork.open(bed, count);
      const { machine, router } = link();
      await bed.veth(
        { name: bed.linkName(), addresses: [`${machine}/30`] },
        { name: 'machine', netns: network.router, addresses: [`${router}/30`] },
      );
      const api = await startApiServer(part, { netns: network.router, address: router });
      const nodes = new BareNodes(bed, network, api);
      try {
        await api.apply(CRDS);
        for (const { record } of network.nodes) await api.request('POST', '/api/v1/nodes', nodeObject(record));
        return nodes;
      } catch (error) {
        api.stop();
        throw error;
      }
    } catch (error) {
      await bed.close();
      throw error;
    }
  }

  /** Starts the node's agent; it is ready when this resolves. */
  async startAgent(node: TestNode, flags: readonly string[] = []): Promise<NodeUnderTest> {
    const cgroup = join(await cgroupDirectory(''), this.bed.name('cgroup'));
    mkdirSync(cgroup);
    this.#cgroups.push(cgroup);
    const agent = await NodeUnderTest.start(this.bed.part, {
      manifests: {},
      flags: [
        '--source=kubernetes',
        `--kubeconfig=${this.api.kubeconfig}`,
        '--services',
        `--cgroup-directory=${cgroup}`,
        ...flags,
      ],
      place: { bed: this.bed, netns: node.netns, world: this.network.world, nodeName: node.name },
    });
    this.#agents.push(agent);
    return agent;
  }

  async close(): Promise<void> {
    for (const agent of this.#agents) await agent.close();
    this.api.stop();
    await this.bed.close();
    // The socket programs in it go some time after their pins.
    for (const cgroup of this.#cgroups) await until(() => removed(cgroup), { what: `${cgroup} to be empty` });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** The Node object as the kubelet and the controller manager would have made it. */
export function nodeObject({ name, addresses, podCidrs }: Omit<NodeRecord, 'routerAddresses'>): KubernetesObject {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: {
      name,
      labels: { 'kubernetes.io/hostname': name, 'kubernetes.io/os': 'linux', 'topology.kubernetes.io/zone': 'a' },
    },
    spec: { podCIDR: podCidrs[0], podCIDRs: podCidrs },
    status: { addresses: addresses.map((address) => ({ type: 'InternalIP', address })) },
  } as KubernetesObject;
}

/** Between this process and the router, where the API server is: 198.19.0.0/16 is for benches (RFC 2544), four addresses a run. */
function link(): { readonly machine: string; readonly router: string } {
  const block = process.pid % (1 << 14);
  const address = (n: number) => `198.19.${block >> 6}.${((block & 63) << 2) + n}`;
  return { machine: address(1), router: address(2) };
}

function removed(directory: string): boolean {
  try {
    rmdirSync(directory);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EBUSY') return false;
    throw error;
  }
}
