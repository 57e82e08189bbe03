/** Manifests as text -> a bench to ask questions on, and the cluster most of these tests are about. */
import type { Problem } from '../../agent/model/object.ts';
import { objectsOf } from '../../agent/policy/workbench/objects.ts';
import { createWorkbench, type Workbench, type WorkbenchOptions } from '../../agent/policy/workbench/workbench.ts';
import { Folder } from '../../agent/source/manifests/folder.ts';

export const NOW = Date.parse('2026-06-01T12:00:00Z');

/** Throws if the text cannot be read: a test is to be about policies. */
export function bench(text: string, options: WorkbenchOptions = {}): Workbench {
  const folder = new Folder();
  folder.setFile('cluster.yaml', 'cluster.yaml', text);
  const { changes, problems } = folder.take();
  const errors = [...problems.values()].flat().filter(({ severity }: Problem) => severity === 'error');
  if (errors.length > 0) throw new Error(errors.map(({ message, line }) => `${line}: ${message}`).join('\n'));
  const objects = changes.flatMap((change) => (change.type === 'upsert' ? [change.object] : []));
  return createWorkbench(objectsOf(objects), { now: NOW, ...options });
}

/** `labels`: "app: web". `more`: lines of spec and status, indented by two. */
export function pod(namespace: string, name: string, labels: string, ips: readonly string[], more = ''): string {
  const podIps = ips.map((ip) => `{ip: "${ip}"}`).join(', ');
  return `---
apiVersion: v1
kind: Pod
metadata: {namespace: ${namespace}, name: ${name}, labels: {${labels}}}
spec:
  containers: [{name: main, image: x${more === '' ? '' : `, ports: [${more}]`}}]
status: {podIPs: [${podIps}]}
`;
}

/** The guide's cluster: frontend and backend of two families, a database of one, a pod of the node's network. */
export const CLUSTER = [
  '---\napiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {team: shop}}\n',
  '---\napiVersion: v1\nkind: Node\nmetadata: {name: one}\nstatus: {addresses: [{type: InternalIP, address: 192.168.0.1}, {type: InternalIP, address: "fd01::1"}]}\nspec: {podCIDRs: [10.0.0.0/24]}\n',
  '---\napiVersion: v1\nkind: Node\nmetadata: {name: two}\nstatus: {addresses: [{type: InternalIP, address: 192.168.0.2}]}\n',
  pod('default', 'frontend', 'app: frontend', ['10.0.0.1', 'fd00::1']).replace('spec:', 'spec:\n  nodeName: one'),
  pod('default', 'backend', 'app: backend', ['10.0.0.2', 'fd00::2'], '{name: http, containerPort: 8080}').replace(
    'spec:',
    'spec:\n  nodeName: one',
  ),
  pod('database', 'postgres', 'app: postgres', ['10.0.0.3'], '{name: sql, containerPort: 5432}').replace(
    'spec:',
    'spec:\n  nodeName: two',
  ),
  pod('default', 'proxy', 'app: frontend', ['192.168.0.1']).replace(
    'spec:',
    'spec:\n  nodeName: one\n  hostNetwork: true',
  ),
].join('');

export const BACKEND_POLICY = `---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: backend-policy}
spec:
  endpointSelector: {matchLabels: {app: backend}}
  ingress:
    - fromEndpoints: [{matchLabels: {app: frontend}}]
      toPorts: [{ports: [{port: "8080", protocol: TCP}]}]
  egress:
    - toEndpoints: [{matchLabels: {k8s:io.kubernetes.pod.namespace: database}}]
      toPorts: [{ports: [{port: "5432", protocol: TCP}]}]
`;
