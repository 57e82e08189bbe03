/** A population in a real API server and one real agent beside it: what the bench and the test of scale stand on. */
import { fileURLToPath } from 'node:url';
import type { KubernetesClient, KubernetesObject } from '../../agent/kubernetes/client.ts';
import type { NodeUnderTest } from '../kit/node.ts';
import { type Crowd, create, gather, unlimitedClient, writeSurroundings } from './crowd.ts';
import { PeerMap } from './peer-map.ts';
import { applicationName, labelsOf, namespaceOf, PORT, type Scale } from './population.ts';
import { Place, REAL_NODE } from './real-node.ts';

const CRDS = fileURLToPath(new URL('../../crds', import.meta.url));

export interface StageOptions {
  readonly scale: Scale;
  /** Pods wired on the real node, each of another application. */
  readonly localPods: number;
  /** Starts the agent; for what must be loaded into it. */
  readonly start?: (begin: () => Promise<NodeUnderTest>) => Promise<NodeUnderTest>;
}

export interface Stage {
  readonly place: Place;
  readonly client: KubernetesClient;
  readonly crowd: Crowd;
  readonly node: NodeUnderTest;
  readonly map: PeerMap;
}

/** Everything is there but the pods of other nodes: see populate() in crowd.ts. `bed` closes what it opened. */
export async function openStage(part: string, options: StageOptions, closing: AsyncDisposableStack): Promise<Stage> {
  const { scale, localPods, start = (begin) => begin() } = options;
  const place = closing.use(await Place.open(part, CRDS));
  const client = closing.adopt(await unlimitedClient(place.api.kubeconfig), (one) => one.close());
  await create(client, place.nodeObject());
  await writeSurroundings(client, scale);
  const crowd = closing.adopt(await gather(client, scale), (one) => one.stop());
  const node = await start(() => place.startNode());
  for (let i = 0; i < localPods; i++) {
    const pod = localPod(i);
    await create(client, pod);
    await node.addPod(pod.metadata.namespace ?? '', pod.metadata.name);
  }
  return { place, client, crowd, node, map: closing.use(new PeerMap(node.pinFolder)) };
}

function localPod(application: number): KubernetesObject {
  const container = { name: 'app', image: 'app', ports: [{ name: 'http', containerPort: PORT }] };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: `${applicationName(application)}-here`,
      namespace: namespaceOf(application),
      labels: labelsOf(application),
    },
    spec: { nodeName: REAL_NODE, containers: [container] },
  } as KubernetesObject;
}
