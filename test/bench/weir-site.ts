/** Two pods of a real agent, wired by the CNI binary, with a policy on both sides, conntrack and flows on. */
import { NodeUnderTest } from '../kit/node.ts';
import type { Bench } from './bench.ts';
import type { Site } from './site.ts';

const PODS = ['client', 'server'] as const;
const PORTS = { first: 5000, last: 8000, denied: 9000 };

const MANIFEST = `
apiVersion: v1
kind: Namespace
metadata: { name: bench }
${PODS.map((name) => `---\napiVersion: v1\nkind: Pod\nmetadata: { name: ${name}, namespace: bench, labels: { app: ${name} } }`).join('\n')}
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: server, namespace: bench }
spec:
  endpointSelector: { matchLabels: { app: server } }
  ingress:
    - fromEndpoints: [{ matchLabels: { app: client } }]
      toPorts: [{ ports: [{ port: "${PORTS.first}", endPort: ${PORTS.last}, protocol: TCP }] }]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: client, namespace: bench }
spec:
  endpointSelector: { matchLabels: { app: client } }
  egress:
    - toEndpoints: [{ matchLabels: { app: server } }]
      toPorts: [{ ports: [{ port: "${PORTS.first}", endPort: ${PORTS.last}, protocol: TCP }] }]
`;

/** Proves that the policy is in force: a port outside of it is refused. */
export async function weirSite(bench: Bench): Promise<Site> {
  const node = await NodeUnderTest.start('bench', { manifests: { 'bench.yaml': MANIFEST } });
  bench.onClose(() => node.close());
  const client = await node.addPod('bench', 'client');
  const server = await node.addPod('bench', 'server');
  await server.peer.serveTcp(PORTS.denied);
  await server.peer.serveTcp(PORTS.last);
  for (const [port, expected] of [
    [PORTS.last, 'ok'],
    [PORTS.denied, 'timeout'],
  ] as const) {
    const outcome = await client.peer.tcp({ address: server.ipv4, port });
    if (outcome !== expected)
      throw new Error(`port ${port} of the server pod: ${expected} expected, got ${outcome}\n${node.log()}`);
  }
  await Promise.all([client.peer.close(), server.peer.close()]);
  return { name: 'Weir', client: client.netns, server: server.netns, ipv4: server.ipv4, ipv6: server.ipv6 };
}
