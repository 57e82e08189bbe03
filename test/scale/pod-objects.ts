/** The Pod objects of a population as an API server has them: what watching all Pods would have to read. */
import type { KubernetesClient, KubernetesObject } from '../../agent/kubernetes/client.ts';
import { collectionPath, objectPath } from '../../agent/kubernetes/path.ts';
import { inParallel } from './crowd.ts';
import { applicationOf, labelsOf, nodeName, nodeRecord, PORT, podOf, podsPerNode, type Scale } from './population.ts';

const PODS = { apiVersion: 'v1', plural: 'pods' };
const ACCOUNT = 'kube-api-access-x7x2k';

/** A small Deployment's pod after scheduling and admission: one container, two probes, three variables, the account's volume. */
function podObject(scale: Scale, node: number, pod: number): KubernetesObject {
  const { namespace, pod: name } = podOf(scale, node, pod);
  const labels = { ...labelsOf(applicationOf(scale, node, pod)), 'pod-template-hash': '6d4b75cb6d' };
  const probe = { httpGet: { path: '/healthz', port: 'http', scheme: 'HTTP' }, timeoutSeconds: 1, periodSeconds: 10 };
  const mount = { name: ACCOUNT, readOnly: true, mountPath: '/var/run/secrets/kubernetes.io/serviceaccount' };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace, labels, annotations: { 'checksum/config': '0b4f4e5c1f8e4d3a9c59'.repeat(3) } },
    spec: {
      nodeName: nodeName(node),
      serviceAccountName: 'default',
      tolerations: ['not-ready', 'unreachable'].map((key) => ({
        ...{ key: `node.kubernetes.io/${key}`, operator: 'Exists', effect: 'NoExecute', tolerationSeconds: 300 },
      })),
      volumes: [{ name: ACCOUNT, projected: { sources: [{ serviceAccountToken: { path: 'token' } }] } }],
      containers: [
        {
          name: 'app',
          image: 'registry.example.com/team/app:v1.23.4',
          ports: [{ name: 'http', containerPort: PORT, protocol: 'TCP' }],
          env: ['POD_NAME', 'POD_NAMESPACE'].map((variable, i) => ({
            name: variable,
            valueFrom: { fieldRef: { fieldPath: i === 0 ? 'metadata.name' : 'metadata.namespace' } },
          })),
          resources: { requests: { cpu: '100m', memory: '128Mi' }, limits: { memory: '256Mi' } },
          volumeMounts: [mount],
          livenessProbe: probe,
          readinessProbe: probe,
        },
      ],
    },
  } as KubernetesObject;
}

/** As the kubelet writes it once the pod is ready; it writes two or three versions before. */
function podStatus(scale: Scale, node: number, pod: number): object {
  const { addresses } = podOf(scale, node, pod);
  const since = '2026-11-23T04:00:00Z';
  const conditions = ['PodReadyToStartContainers', 'Initialized', 'Ready', 'ContainersReady', 'PodScheduled'].map(
    (type) => ({ type, status: 'True', lastProbeTime: null, lastTransitionTime: since }),
  );
  return {
    phase: 'Running',
    conditions,
    hostIP: nodeRecord(node).addresses[0],
    podIP: addresses[0],
    podIPs: addresses.map((ip) => ({ ip })),
    startTime: since,
    qosClass: 'Burstable',
    containerStatuses: [
      {
        name: 'app',
        ready: true,
        started: true,
        restartCount: 0,
        state: { running: { startedAt: since } },
        image: 'registry.example.com/team/app:v1.23.4',
        imageID: `registry.example.com/team/app@sha256:${'0123456789abcdef'.repeat(4)}`,
        containerID: `containerd://${'0123456789abcdef'.repeat(4)}`,
      },
    ],
  };
}

/** Two writes a pod: it is made, and it is ready. A real one has three or four more. */
export async function writePods(client: KubernetesClient, scale: Scale): Promise<void> {
  const all = Array.from({ length: scale.nodes }, (_, i) => i + 1).flatMap((node) =>
    Array.from({ length: podsPerNode(scale) }, (_, pod) => [node, pod] as const),
  );
  await inParallel(all, async ([node, pod]) => {
    const object = podObject(scale, node, pod);
    const { name, namespace = '' } = object.metadata;
    await client.create(collectionPath(PODS, namespace), object);
    const body = { status: podStatus(scale, node, pod) };
    await client.patch(`${objectPath(PODS, namespace, name)}/status`, { type: 'merge', body });
  });
}
