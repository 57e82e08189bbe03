/** Pods wired by hand: what a container runtime would ask of the CNI plugin, without one, and so within milliseconds. */
import { Peer } from '../kit/traffic.ts';
import type { Cluster } from './cluster.ts';
import type { Node } from './node.ts';
import { podManifest } from './pods.ts';
import { joined } from './program.ts';

export interface CniAnswer {
  readonly code: number | null;
  readonly answer: {
    readonly code?: number;
    readonly msg?: string;
    readonly details?: string;
    /** Of a result: "10.244.1.5/32". */
    readonly ips?: readonly { readonly address: string }[];
  };
}

/** `args`: CNI_ARGS. */
export async function cni(
  node: Node,
  verb: 'ADD' | 'DEL' | 'STATUS',
  container: string,
  netns = '',
  args = '',
): Promise<CniAnswer> {
  const words = [
    `CNI_COMMAND=${verb}`,
    `CNI_CONTAINERID=${container}`,
    `CNI_NETNS=${netns}`,
    'CNI_IFNAME=eth0',
    'CNI_PATH=/opt/cni/bin',
    `CNI_ARGS=${args}`,
  ];
  const input = JSON.stringify({ cniVersion: '1.1.0', name: 'weir', type: 'weir-cni' });
  const { code, stdout } = await node.tryRun(['env', ...words, '/opt/cni/bin/weir-cni'], { input, timeoutMs: 120_000 });
  return { code, answer: stdout.trim() === '' ? {} : JSON.parse(stdout) };
}

/** A Pod object of this node, whose kubelet must be stopped, with a namespace in which a peer can send and serve. */
export class HandWiredPod {
  readonly name: string;
  readonly peer: Peer;
  readonly #node: Node;
  readonly #uid: string;
  #times = 0;

  private constructor(node: Node, name: string, uid: string, peer: Peer) {
    this.#node = node;
    this.name = name;
    this.#uid = uid;
    this.peer = peer;
  }

  static async create(
    cluster: Cluster,
    node: Node,
    name: string,
    labels: Readonly<Record<string, string>>,
  ): Promise<HandWiredPod> {
    const { spec, ...manifest } = podManifest({ name, labels });
    await cluster.apply(JSON.stringify({ ...manifest, spec: { ...spec, nodeName: node.name } }));
    const { metadata } = await cluster.get<{ metadata: { uid: string } }>('pod', name);
    // As a runtime does. `ip netns add` would first mount the folder on itself, unseen by an agent that runs already.
    await node.run(['sh', '-c', `mkdir -p /run/netns && touch /run/netns/${name}`]);
    await node.run(['unshare', `--net=/run/netns/${name}`, 'true']);
    const enter = ['nsenter', `--net=${node.path(`/run/netns/${name}`)}`, '--'];
    const peer = await Peer.start(joined(`${node.cgroup}/system`, enter, []));
    return new HandWiredPod(node, name, metadata.uid, peer);
  }

  /** Each time as another container. */
  add(): Promise<CniAnswer> {
    this.#times += 1;
    const pod = `K8S_POD_NAMESPACE=default;K8S_POD_NAME=${this.name};K8S_POD_UID=${this.#uid}`;
    const args = `IgnoreUnknown=1;${pod};K8S_POD_INFRA_CONTAINER_ID=${this.#container}`;
    return cni(this.#node, 'ADD', this.#container, `/run/netns/${this.name}`, args);
  }

  del(): Promise<CniAnswer> {
    return cni(this.#node, 'DEL', this.#container, `/run/netns/${this.name}`);
  }

  get #container(): string {
    return `${this.name}-${this.#times}`;
  }
}
