/**
 * The table of tests: which policies, and what of the world's connections must still work with them. Names are cilium
 * connectivity test's where it has such a test. Pure.
 */
import type { Action, Probe } from './probe.ts';
import { POD_PORT } from './world.ts';

export interface Scenario {
  readonly name: string;
  readonly sentence: string;
  /** Manifests without a namespace, which is the test's. */
  readonly policies: readonly object[];
  /** What is tried; all by default. */
  readonly actions?: readonly Action[];
  allows(probe: Probe): boolean;
}

const network = (name: string, spec: object) => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name },
  spec,
});
const cilium = (name: string, spec: object) => ({
  apiVersion: 'cilium.io/v2',
  kind: 'CiliumNetworkPolicy',
  metadata: { name },
  spec,
});
const labels = (matchLabels: Readonly<Record<string, string>>) => ({ matchLabels });

/** To the cluster's DNS, whoever serves it. */
const TO_DNS = {
  to: [{ namespaceSelector: {}, podSelector: labels({ 'k8s-app': 'kube-dns' }) }],
  ports: [
    { protocol: 'UDP', port: 53 },
    { protocol: 'TCP', port: 53 },
  ],
};

const isEcho = (name: string) => name.startsWith('echo-');
/** The node may always reach its own pods: the kubelet's probes come from there. Other nodes may not. */
const isOwnNode = ({ action, sameNode }: Probe) => action === 'host-to-pod' && sameNode;
const TO_PODS: readonly Action[] = ['pod-to-pod', 'pod-to-service', 'dns', 'host-to-pod'];

export const SCENARIOS: readonly Scenario[] = [
  { name: 'no-policies', sentence: 'everybody reaches everybody', policies: [], allows: () => true },
  {
    name: 'all-ingress-deny',
    sentence: 'nobody but its own node reaches a pod',
    policies: [network('all-ingress-deny', { podSelector: {}, policyTypes: ['Ingress'] })],
    allows: (probe) => probe.action === 'pod-to-host' || probe.action === 'pod-to-world' || isOwnNode(probe),
  },
  {
    name: 'all-egress-deny',
    sentence: 'no pod reaches anything, not even names',
    policies: [network('all-egress-deny', { podSelector: {}, policyTypes: ['Egress'] })],
    allows: ({ action }) => action === 'host-to-pod',
  },
  {
    name: 'client-ingress',
    sentence: 'only one client reaches the echo pods',
    policies: [
      network('client-ingress', {
        podSelector: labels({ kind: 'echo' }),
        ingress: [{ from: [{ podSelector: labels({ name: 'client' }) }] }],
      }),
    ],
    actions: TO_PODS,
    allows: (probe) => !isEcho(probe.to) || probe.from === 'client' || isOwnNode(probe),
  },
  {
    name: 'client-egress',
    sentence: 'clients reach the echo pods by TCP, names, and nothing else',
    policies: [
      network('client-egress', {
        podSelector: labels({ kind: 'client' }),
        policyTypes: ['Egress'],
        egress: [
          { to: [{ podSelector: labels({ kind: 'echo' }) }], ports: [{ protocol: 'TCP', port: POD_PORT }] },
          TO_DNS,
        ],
      }),
    ],
    allows: ({ action, to, protocol }) => action === 'host-to-pod' || (isEcho(to) && protocol === 'tcp'),
  },
  {
    name: 'echo-ingress-port',
    sentence: 'a rule for another port does not open this one',
    policies: [
      cilium('echo-ingress-port', {
        endpointSelector: labels({ kind: 'echo' }),
        ingress: [{ toPorts: [{ ports: [{ port: String(POD_PORT + 1), protocol: 'TCP' }] }] }],
      }),
    ],
    actions: TO_PODS,
    allows: (probe) => !isEcho(probe.to) || isOwnNode(probe),
  },
  {
    name: 'client-egress-deny',
    sentence: 'a deny counts more than an allow, also through a Service',
    policies: [
      cilium('client-egress-deny', {
        endpointSelector: labels({ name: 'client2' }),
        egress: [{ toEntities: ['all'] }],
        egressDeny: [{ toEndpoints: [labels({ kind: 'echo' })] }],
      }),
    ],
    actions: ['pod-to-pod', 'pod-to-service', 'dns', 'pod-to-host'],
    allows: ({ from, to }) => from !== 'client2' || !isEcho(to),
  },
  {
    name: 'to-entities-host',
    sentence: 'host is the own node, and no other',
    policies: [
      cilium('to-entities-host', { endpointSelector: labels({ kind: 'client' }), egress: [{ toEntities: ['host'] }] }),
    ],
    actions: ['pod-to-pod', 'pod-to-service', 'pod-to-host'],
    allows: ({ action, sameNode }) => action === 'pod-to-host' && sameNode,
  },
  {
    name: 'to-entities-cluster',
    sentence: 'the cluster with all its nodes, and not the world',
    policies: [
      cilium('to-entities-cluster', {
        endpointSelector: labels({ kind: 'client' }),
        egress: [{ toEntities: ['cluster'] }],
      }),
    ],
    allows: ({ action }) => action !== 'pod-to-world',
  },
];

/**
 * The scenarios that --test asks for, with their probes. A pattern is a regular expression for a name or for
 * "name/action"; one that begins with "!" takes away. No pattern: all.
 */
export function chosen(patterns: readonly string[], name: string, action: Action): boolean {
  const matches = (pattern: string) => new RegExp(pattern).test(pattern.includes('/') ? `${name}/${action}` : name);
  const wanted = patterns.filter((pattern) => !pattern.startsWith('!'));
  const unwanted = patterns.filter((pattern) => pattern.startsWith('!')).map((pattern) => pattern.slice(1));
  return (wanted.length === 0 || wanted.some(matches)) && !unwanted.some(matches);
}
