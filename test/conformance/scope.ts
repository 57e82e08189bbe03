/**
 * Which of Kubernetes' own networking tests are run: all that its suite has, except those named here with the reason. So a
 * test that a later Kubernetes brings is run until somebody says why it cannot be.
 */

/** What is in the names of all networking tests; the packages they stand on bring tests of other parts of Kubernetes along. */
export const SUITE = /\[sig-network\]/;

export interface LeftOut {
  /** Matches a test's full name as ginkgo prints it; ginkgo takes it too, so it is what Go's regexp and JavaScript agree on. */
  readonly tests: RegExp;
  readonly reason: string;
}

export const LEFT_OUT: readonly LeftOut[] = [
  // What Weir does not have yet.
  {
    tests: /\[Feature:SCTPConnectivity\]|SCTP HostPort|basic SCTP service/,
    reason: 'no SCTP: neither Weir nor the kernel this was written on has it',
  },
  { tests: /\[Feature:LoadBalancer\]|Type LoadBalancer/, reason: 'no LoadBalancer Services yet' },
  { tests: /via ExternalIP/, reason: 'no externalIPs yet' },
  {
    tests: /NodePort service|to NodePort|type=NodePort|ealth ?[cC]heck ?[nN]ode ?[pP]ort|externall?TrafficPolicy/,
    reason: 'no NodePort Services yet',
  },
  {
    tests:
      /different Service CIDRs|PublishNotReadyAddresses is|Granular Checks: Services.*(pod-Service|node-Service|endpoint-Service|nodePort|endpoints using hostNetwork)/,
    reason: 'no NodePort Services yet: asks the ClusterIP, and then the same at a node port',
  },
  // What is not about the network of pods, or of somebody else's.
  { tests: /KubeProxy|kube-proxy/, reason: 'asks kube-proxy itself, which is not there' },
  { tests: /iptables rules/, reason: "about kube-proxy's iptables rules" },
  { tests: /Networking-Performance|PerformanceDNS/, reason: 'measures, and only on large clusters' },
  // What the cluster of test/cluster does not have.
  { tests: /\[Feature:OffByDefault\]/, reason: 'of a feature of Kubernetes that is off by default' },
  { tests: /evicted pods/, reason: 'kubelets here do not measure local storage, so they evict nothing for it' },
  { tests: /Internet connection|Forward PTR lookup/, reason: 'no Internet' },
];

/** Parts of the suite, for one at a time: by name, what the full name of a test in it begins with. */
export const AREAS: Readonly<Record<string, RegExp>> = {
  netpol: /\[sig-network\] Netpol/,
  services:
    /\[sig-network\] (Services|Service CIDRs|Conntrack|Traffic Distribution|Topology Hints|NoSNAT|HostPort|Connectivity Pod Lifecycle)/,
  networking: /\[sig-network\] Networking/,
  dns: /\[sig-network\] DNS/,
  'dual-stack': /\[sig-network\] \[Feature:IPv6DualStack\]/,
  api: /\[sig-network\] (EndpointSlice|EndpointSliceMirroring|Ingress|IngressClass|Proxy|ServiceCIDR|Service endpoints)/,
};
