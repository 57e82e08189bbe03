/** Weir itself on a cluster: the image of this checkout and its chart, with the values that a cluster without kube-proxy needs. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { CONTROL_PLANE } from './addresses.ts';
import { withinBounds } from './capabilities.ts';
import { type Cluster, type ClusterOptions, startCluster } from './cluster.ts';
import { buildImage, IMAGE_ARCHIVE } from './image.ts';
import { CHECKOUT } from './paths.ts';

export const CHART = join(CHECKOUT, 'charts/weir');
export const NAMESPACE = 'kube-system';
export type RoutingMode = 'tunnel' | 'native';

export interface WeirOptions {
  readonly routingMode: RoutingMode;
  /** More of `helm --set`: "policyEnforcementMode=always". */
  readonly values?: readonly string[];
  readonly onProgress?: (line: string) => void;
}

/** Once per process, so that all clusters of a test file have the same. */
let built: Promise<string> | undefined;

/** A cluster whose nodes have got Ready by Weir. */
export async function startWeirCluster(options: Omit<ClusterOptions, 'cni'> & WeirOptions): Promise<Cluster> {
  options.onProgress?.('the image of this checkout');
  built ??= buildImage();
  await built;
  const cluster = await startCluster({ ...options, cni: 'none', images: [IMAGE_ARCHIVE, ...(options.images ?? [])] });
  await installWeir(cluster, options);
  options.onProgress?.('waiting for nodes to be Ready');
  await cluster.ready();
  return cluster;
}

/**
 * `helm upgrade --install` of the chart, with the image that buildImage() made last; resolves when the agent is ready on every node. On an
 * error the cluster stays as it is, so that one can look.
 */
export async function installWeir(cluster: Cluster, options: WeirOptions): Promise<void> {
  const { routingMode, values = [], onProgress = () => {} } = options;
  await cluster.loadImage(IMAGE_ARCHIVE);
  onProgress(`helm install weir charts/weir (${routingMode})`);
  const settings = [
    `routingMode=${routingMode}`,
    // Nobody translates the API server's Service for the agent, which is who will translate it.
    `k8sServiceHost=${CONTROL_PLANE.v4}`,
    'k8sServicePort=6443',
    `securityContext.capabilities={${withinBounds(chartCapabilities()).join(',')}}`,
    ...values,
  ];
  await cluster.helm(
    ...['upgrade', '--install', 'weir', CHART, '--namespace', NAMESPACE, '--wait', '--timeout=3m'],
    ...settings.flatMap((setting) => ['--set', setting]),
  );
  // Helm is content with as many pods as a rolling update may take away.
  await cluster.kubectl('-n', NAMESPACE, 'rollout', 'status', 'daemonset/weir', '--timeout=90s');
}

/** The name of a node's agent's pod. */
export async function agentPod(cluster: Cluster, node: string): Promise<string> {
  const ofNode = ['-l', 'k8s-app=weir', `--field-selector=spec.nodeName=${node}`];
  const { items } = await cluster.get<{ items: { metadata: { name: string } }[] }>('pods', '-n', NAMESPACE, ...ofNode);
  const [pod] = items;
  if (pod === undefined || items.length > 1) throw new Error(`${node} has ${items.length} agents, one was expected`);
  return pod.metadata.name;
}

function chartCapabilities(): string[] {
  return parse(readFileSync(join(CHART, 'values.yaml'), 'utf8')).securityContext.capabilities;
}
