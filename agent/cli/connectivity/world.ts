/** The small world a connectivity test makes for itself: names, labels and manifests. Pure. */

export interface WorldOptions {
  readonly namespace: string;
  /** One node, or two of which the second is "the other node". */
  readonly nodes: readonly string[];
  readonly image: string;
  readonly pullPolicy: string;
}

/** A pod of the test. All serve: what is denied must be denied by policy, not for want of somebody who listens. */
export interface TestPod {
  readonly name: string;
  readonly node: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly hostNetwork: boolean;
  readonly port: number;
}

export const POD_PORT = 8080;
/** On nodes' own addresses: below the usual NodePort and ephemeral ranges. */
const HOST_PORT = 29_480;
export const SERVICE_PORT = 80;
export const CONTAINER = 'agnhost';

export function podsOf({ nodes }: Pick<WorldOptions, 'nodes'>): TestPod[] {
  const [first = '', second] = nodes;
  const pod = (name: string, node: string, kind: string): TestPod => ({
    name,
    node,
    labels: { kind, name },
    hostNetwork: false,
    port: POD_PORT,
  });
  const host = (name: string, node: string): TestPod => ({
    ...pod(name, node, 'host'),
    hostNetwork: true,
    port: HOST_PORT,
  });
  const here = [
    pod('client', first, 'client'),
    pod('client2', first, 'client'),
    pod('echo-same-node', first, 'echo'),
    host('host-same-node', first),
  ];
  if (second === undefined) return here;
  return [...here, pod('echo-other-node', second, 'echo'), host('host-other-node', second)];
}

/** The namespace, then what is in it. */
export function manifestsOf(options: WorldOptions): { readonly path: string; readonly object: object }[] {
  const { namespace } = options;
  const inside = (plural: string) => `/api/v1/namespaces/${namespace}/${plural}`;
  return [
    { path: '/api/v1/namespaces', object: namespaceObject(namespace) },
    ...podsOf(options).flatMap((pod) => [
      { path: inside('pods'), object: podObject(pod, options) },
      ...(pod.hostNetwork ? [] : [{ path: inside('services'), object: serviceObject(pod, namespace) }]),
    ]),
  ];
}

function namespaceObject(name: string): object {
  // Pods of the host network are refused where Pod Security enforces less.
  const labels = { 'app.kubernetes.io/managed-by': 'weir', 'pod-security.kubernetes.io/enforce': 'privileged' };
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } };
}

function podObject(pod: TestPod, { namespace, image, pullPolicy }: WorldOptions): object {
  const { name, node, labels, hostNetwork, port } = pod;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace, labels },
    spec: {
      nodeName: node,
      hostNetwork,
      terminationGracePeriodSeconds: 0,
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      dnsPolicy: hostNetwork ? 'ClusterFirstWithHostNet' : 'ClusterFirst',
      // A name that policy keeps from being resolved is known as such after seconds, not half a minute.
      dnsConfig: {
        options: [
          { name: 'timeout', value: '1' },
          { name: 'attempts', value: '2' },
        ],
      },
      containers: [
        {
          name: CONTAINER,
          image,
          imagePullPolicy: pullPolicy,
          command: ['/agnhost', 'netexec', `--http-port=${port}`, `--udp-port=${port}`],
          ports: [{ name: 'http', containerPort: port }],
          readinessProbe: { httpGet: { path: '/healthz', port }, periodSeconds: 1, failureThreshold: 60 },
        },
      ],
    },
  };
}

function serviceObject({ name, port }: TestPod, namespace: string): object {
  const ports = (['TCP', 'UDP'] as const).map((protocol) => {
    return { name: protocol.toLowerCase(), protocol, port: SERVICE_PORT, targetPort: port };
  });
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace },
    spec: { selector: { name }, ipFamilyPolicy: 'PreferDualStack', ports },
  };
}
