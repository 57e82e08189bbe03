/** A population in a real API server and one real agent beside it: what the bench and the test of scale stand on. */
import type { KubernetesClient, KubernetesObject } from '../../agent/kubernetes/client.ts';
import type { ApiServer } from '../cluster/api-server.ts';
import { BareNodes } from '../cluster/bare-nodes.ts';
import type { NodeUnderTest } from '../kit/node.ts';
import type { TestNode } from '../kit/node-network.ts';
import { type Crowd, create, gather, unlimitedClient, writeSurroundings } from './crowd.ts';
import { PeerMap } from './peer-map.ts';
import { applicationName, labelsOf, namespaceOf, PORT, type Scale } from './population.ts';

const FLAGS = ['--routing-mode=tunnel', '--masquerade'];

export interface StageOptions {
  readonly scale: Scale;
  /** Pods wired on the real node, each of another application. */
  readonly localPods: number;
  /** Starts the agent; for what must be loaded into it. */
  readonly start?: (begin: () => Promise<NodeUnderTest>) => Promise<NodeUnderTest>;
}

export interface Stage {
  readonly api: ApiServer;
  readonly client: KubernetesClient;
  readonly crowd: Crowd;
  readonly node: NodeUnderTest;
  readonly map: PeerMap;
  /** Bytes that came to the node, over everything. */
  receivedBytes(): Promise<number>;
}

/** Everything is there but the pods of other nodes: see populate() in crowd.ts. `closing` closes all of it. */
export async function openStage(part: string, options: StageOptions, closing: AsyncDisposableStack): Promise<Stage> {
  const { scale, localPods, start = (begin) => begin() } = options;
  const nodes = closing.use(await BareNodes.open(part, 1));
  const { api, network } = nodes;
  const [real] = network.nodes as [TestNode];
  const client = closing.adopt(await unlimitedClient(api.kubeconfig), (one) => one.close());
  await writeSurroundings(client, scale);
  const crowd = closing.adopt(await gather(client, scale), (one) => one.stop());
  const node = await start(() => nodes.startAgent(real, FLAGS));
  for (let i = 0; i < localPods; i++) {
    const pod = localPod(i, real.name);
    await create(client, pod);
    await node.addPod(pod.metadata.namespace ?? '', pod.metadata.name);
  }
  const receivedBytes = async (): Promise<number> => {
    const [uplink] = JSON.parse(await real.netns.ip('-json -statistics link show eth0')) as [Statistics];
    return uplink.stats64.rx.bytes;
  };
  return { api, client, crowd, node, map: closing.use(new PeerMap(node.pinFolder)), receivedBytes };
}

/** Of `ip -statistics`. */
interface Statistics {
  readonly stats64: { readonly rx: { readonly bytes: number } };
}

function localPod(application: number, nodeName: string): KubernetesObject {
  const container = { name: 'app', image: 'app', ports: [{ name: 'http', containerPort: PORT }] };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: `${applicationName(application)}-here`,
      namespace: namespaceOf(application),
      labels: labelsOf(application),
    },
    spec: { nodeName, containers: [container] },
  } as KubernetesObject;
}
