/** A node's kubelet: its credentials, its configuration and the words that start it. */
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { stockProgram } from '../kit/stock.ts';
import { DNS_SERVICE, families, nodeAddresses } from './addresses.ts';
import { CONTAINERD_SOCKET } from './containerd.ts';
import type { ControlPlane } from './control-plane.ts';
import type { ClusterRecord, NodeRecord } from './record.ts';

export async function configureKubelet(
  disk: string,
  node: NodeRecord,
  record: ClusterRecord,
  controlPlane: ControlPlane,
): Promise<string[]> {
  const folder = join(disk, 'etc/kubernetes');
  mkdirSync(folder, { recursive: true });
  const pair = await controlPlane.authority.issue({
    file: node.name,
    user: `system:node:${node.name}`,
    group: 'system:nodes',
  });
  cpSync(controlPlane.writeKubeconfig(node.name, pair), join(folder, 'kubelet.kubeconfig'));
  cpSync(controlPlane.authority.certificate, join(folder, 'ca.crt'));
  writeFileSync(join(folder, 'kubelet.yaml'), stringify(configuration(record.dualStack)));
  return [
    stockProgram('kubelet'),
    '--config=/etc/kubernetes/kubelet.yaml',
    '--kubeconfig=/etc/kubernetes/kubelet.kubeconfig',
    `--hostname-override=${node.name}`,
    `--node-ip=${families(nodeAddresses(node.number), record.dualStack).join(',')}`,
    ...(record.taints.length === 0 ? [] : [`--register-with-taints=${record.taints.join(',')}`]),
  ];
}

function configuration(dualStack: boolean): Record<string, unknown> {
  return {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    authentication: { x509: { clientCAFile: '/etc/kubernetes/ca.crt' }, anonymous: { enabled: false } },
    authorization: { mode: 'Webhook' },
    containerRuntimeEndpoint: `unix://${CONTAINERD_SOCKET}`,
    clusterDomain: 'cluster.local',
    clusterDNS: families(DNS_SERVICE, dualStack),
    // /usr, where it would be, is the machine's.
    volumePluginDir: '/var/lib/kubelet/volume-plugins',
    cgroupDriver: 'cgroupfs',
    enforceNodeAllocatable: [],
    failSwapOn: false,
    failCgroupV1: false,
    makeIPTablesUtilChains: false,
    localStorageCapacityIsolation: false,
    maxPods: 250,
    registryPullQPS: 0,
    // The disk and the memory are the machine's, and no reason to evict or to collect images here.
    evictionHard: Object.fromEntries(
      ['memory.available', 'nodefs.available', 'nodefs.inodesFree', 'imagefs.available', 'imagefs.inodesFree'].map(
        (name) => [name, '0%'],
      ),
    ),
    imageGCHighThresholdPercent: 100,
    imageGCLowThresholdPercent: 99,
    nodeStatusUpdateFrequency: '2s',
    // Answers to changes of the runtime's network state within a second or so.
    syncFrequency: '10s',
  };
}
