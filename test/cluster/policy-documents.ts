/** What the tests of policies on a cluster apply: the guide's intent in three languages, and documents that say one thing. */
import { repositoryFile } from '../kit/node.ts';

const GUIDE_PORT = [{ port: '8080', protocol: 'TCP' }];
const DATABASE_PORT = [{ port: '5432', protocol: 'TCP' }];
const NAMESPACE = 'k8s:io.kubernetes.pod.namespace';
const KUBE_DNS = { matchLabels: { [NAMESPACE]: 'kube-system', 'k8s-app': 'kube-dns' } };

export function cilium(name: string, spec: object): string {
  const metadata = { name, namespace: 'default' };
  return JSON.stringify({ apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata, spec });
}

/** Names resolve; nothing else. */
export const DNS_ALLOWED = cilium('dns', {
  endpointSelector: { matchLabels: { app: 'backend' } },
  egress: [{ toEndpoints: [KUBE_DNS], toPorts: [{ ports: [{ port: '53', protocol: 'ANY' }] }] }],
});

/** Each by the words that delete it: kubectl's kind and the name. */
export async function guidePolicies(): Promise<
  Record<'CiliumNetworkPolicy' | 'NetworkPolicy' | 'CiliumClusterwideNetworkPolicy', string>
> {
  return {
    CiliumNetworkPolicy: await repositoryFile('test/fixtures/seed/cilium-backend-policy.fixed.yaml'),
    NetworkPolicy: JSON.stringify({
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name: 'backend-policy', namespace: 'default' },
      spec: {
        podSelector: { matchLabels: { app: 'backend' } },
        policyTypes: ['Ingress', 'Egress'],
        ingress: [
          { from: [{ podSelector: { matchLabels: { app: 'frontend' } } }], ports: [{ port: 8080, protocol: 'TCP' }] },
        ],
        egress: [
          {
            to: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'database' } } }],
            ports: [{ port: 5432, protocol: 'TCP' }],
          },
        ],
      },
    }),
    CiliumClusterwideNetworkPolicy: JSON.stringify({
      apiVersion: 'cilium.io/v2',
      kind: 'CiliumClusterwideNetworkPolicy',
      metadata: { name: 'backend-policy' },
      spec: {
        endpointSelector: { matchLabels: { app: 'backend', [NAMESPACE]: 'default' } },
        ingress: [
          {
            fromEndpoints: [{ matchLabels: { app: 'frontend', [NAMESPACE]: 'default' } }],
            toPorts: [{ ports: GUIDE_PORT }],
          },
        ],
        egress: [{ toEndpoints: [{ matchLabels: { [NAMESPACE]: 'database' } }], toPorts: [{ ports: DATABASE_PORT }] }],
      },
    }),
  };
}
