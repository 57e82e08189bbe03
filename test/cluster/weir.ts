/** Weir itself on a cluster: the image of this checkout and its chart, with the values that a cluster without kube-proxy needs. */
import { join } from 'node:path';
import { CONTROL_PLANE } from './addresses.ts';
import type { Cluster } from './cluster.ts';
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

/** `helm upgrade --install`; resolves when Helm has, which waits for the DaemonSet to be ready on every node. */
export async function installWeir(cluster: Cluster, options: WeirOptions): Promise<void> {
  const { routingMode, values = [], onProgress = () => {} } = options;
  onProgress('the image of this checkout');
  await buildImage();
  await cluster.loadImage(IMAGE_ARCHIVE);
  onProgress(`helm install weir charts/weir (${routingMode})`);
  const settings = [
    `routingMode=${routingMode}`,
    // Nobody translates the API server's Service for the agent, which is who will translate it.
    `k8sServiceHost=${CONTROL_PLANE.v4}`,
    'k8sServicePort=6443',
    ...values,
  ];
  await cluster.helm(
    ...['upgrade', '--install', 'weir', CHART, '--namespace', NAMESPACE, '--wait', '--timeout=3m'],
    ...settings.flatMap((setting) => ['--set', setting]),
  );
}
