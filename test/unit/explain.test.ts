/** Explanations: what decided, what would be next, and the smallest edit, language by language. */
import * as assert from 'uvu/assert';
import { explanationTexts } from '../../agent/cli/policy/explain.ts';
import type { ExplainedSide, Explanation } from '../../agent/model/explanation.ts';
import { explain } from '../../agent/policy/explain/explain.ts';
import { readPort } from '../../agent/policy/workbench/port.ts';
import type { Workbench, WorkbenchOptions } from '../../agent/policy/workbench/workbench.ts';
import { suite } from '../kit/suite.ts';
import { BACKEND_POLICY, bench, CLUSTER, NOW, pod } from './questions-cluster.ts';

const test = suite('explain');

function ask(on: Workbench, from: string, to: string, port: string): Explanation[] {
  return explain(on, { from: on.party(from), to: on.party(to), port: readPort(port) });
}
function ingress(on: Workbench, from: string, to: string, port: string): ExplainedSide {
  return (ask(on, from, to, port)[0] as Explanation).ingress;
}
function egress(on: Workbench, from: string, to: string, port: string): ExplainedSide {
  return (ask(on, from, to, port)[0] as Explanation).egress;
}
function policies(text: string, options: WorkbenchOptions = {}): Workbench {
  return bench(CLUSTER + text, options);
}

const guide = policies(BACKEND_POLICY);

test('the text for people', () => {
  assert.is(
    explanationTexts(ask(guide, 'default/frontend', 'default/backend', 'http'), false),
    `default/frontend -> default/backend http/TCP (8080)
  default/frontend: pod at 10.0.0.1 k8s:app=frontend
  default/backend: pod at 10.0.0.2 k8s:app=backend

IPv4 and IPv6: allowed
  egress of default/frontend: allowed by default: no rule matches and nothing isolates the pod
  ingress of default/backend: allowed by ingress[0] of CiliumNetworkPolicy default/backend-policy (cluster.yaml:56)
    peers: any:app="frontend",k8s:io.kubernetes.pod.namespace="default"
    ports: 8080/TCP
    isolated by CiliumNetworkPolicy default/backend-policy (cluster.yaml:50)
    next: without that rule denied by default: CiliumNetworkPolicy default/backend-policy isolates the pod, and no rule allows this
`,
  );
  assert.is(
    explanationTexts(ask(guide, 'ip:203.0.113.7', 'default/backend', '8080'), false),
    `ip:203.0.113.7 -> default/backend 8080/TCP
  ip:203.0.113.7: outside reserved:world reserved:world-ipv4
  default/backend: pod at 10.0.0.2 k8s:app=backend

IPv4: denied
  egress of ip:203.0.113.7: not judged: ip:203.0.113.7 is no pod
  ingress of default/backend: denied by default: CiliumNetworkPolicy default/backend-policy isolates the pod, and no rule allows this
    isolated by CiliumNetworkPolicy default/backend-policy (cluster.yaml:50)
    next: without the isolation allowed by default: no rule matches and nothing isolates the pod
    to allow it (tried): add a rule to CiliumNetworkPolicy default/backend-policy; cluster.yaml:55, under spec.ingress:
      - fromCIDR:
          - 203.0.113.7/32
        toPorts:
          - ports:
              - port: "8080"
                protocol: TCP
`,
  );
});

test('the rule that decided, with place, line, peers and ports', () => {
  const { rule, next, isolatedBy } = ingress(guide, 'default/frontend', 'default/backend', '8080');
  assert.equal(rule, {
    document: {
      kind: 'CiliumNetworkPolicy',
      namespace: 'default',
      name: 'backend-policy',
      place: 'cluster.yaml',
      line: 50,
    },
    direction: 'ingress',
    tier: 'normal',
    action: 'allow',
    path: 'spec.ingress[0]',
    line: 56,
    description: 'ingress[0] of CiliumNetworkPolicy default/backend-policy',
    peers: ['any:app="frontend",k8s:io.kubernetes.pod.namespace="default"'],
    ports: ['8080/TCP'],
  });
  assert.is(next?.reason, 'default-deny');
  assert.equal(
    isolatedBy.map(({ name }) => name),
    ['backend-policy'],
  );
});

test('the node reaches its own pods by a rule of the agent; another node does not', () => {
  const own = ingress(guide, 'entity:host', 'default/backend', '1');
  assert.match(own.sentence, /^allowed by the node may reach its own pods$/);
  assert.is(ingress(guide, 'entity:remote-node', 'default/backend', '1').verdict, 'denied');
  assert.is(ingress(guide, 'default/proxy', 'default/backend', '1').verdict, 'allowed');
});

const DENY_FRONTEND = `---
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: deny-frontend}
spec:
  endpointSelector: {}
  enableDefaultDeny: {ingress: false, egress: false}
  ingressDeny:
    - fromEndpoints: [{matchLabels: {app: frontend}}, {matchLabels: {app: other}}]
`;

test('a deny rule hides the allow behind it, which is what would be next', () => {
  const side = ingress(policies(BACKEND_POLICY + DENY_FRONTEND), 'default/frontend', 'default/backend', '8080');
  assert.match(side.sentence, /denied by ingressDeny\[0\] of CiliumClusterwideNetworkPolicy deny-frontend/);
  assert.match(side.next?.sentence ?? '', /allowed by ingress\[0\] of CiliumNetworkPolicy default\/backend-policy/);
});

const NETWORK_POLICY = `---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: default, name: np}
spec:
  podSelector: {matchLabels: {app: backend}}
  ingress:
    - from: [{podSelector: {matchLabels: {app: frontend}}}]
      ports: [{port: 8080}]
`;
const ADMIN = `---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: admin}
spec:
  tier: Admin
  priority: 10
  subject: {namespaces: {}}
  ingress:
    - {name: keep-out, action: Deny, from: [{namespaces: {}}]}
`;

interface Fix {
  readonly name: string;
  readonly policies: string;
  readonly from: string;
  readonly to: string;
  readonly port: string;
  readonly side?: 'egress';
  /** "operation path: one line of the snippet" each. */
  readonly edits: readonly string[];
}
const FIXES: readonly Fix[] = [
  {
    name: 'the port alone is missing: one more item in the list of ports',
    policies: BACKEND_POLICY,
    from: 'default/frontend',
    to: 'default/backend',
    port: '9090/UDP',
    edits: ['add spec.ingress[0].toPorts[0].ports: - port: "9090" protocol: UDP'],
  },
  {
    name: 'the peer alone is missing: one more item in the list of peers, with its namespace',
    policies: BACKEND_POLICY,
    from: 'database/postgres',
    to: 'default/backend',
    port: '8080',
    edits: [
      'add spec.ingress[0].fromEndpoints: - matchLabels: app: postgres k8s:io.kubernetes.pod.namespace: database',
    ],
  },
  {
    name: 'both are missing: a rule',
    policies: BACKEND_POLICY,
    from: 'entity:remote-node',
    to: 'default/backend',
    port: '8/ICMP',
    edits: ['add spec.ingress: - fromEntities: - remote-node icmps: - fields: - family: IPv4 type: 8'],
  },
  {
    name: 'egress',
    policies: BACKEND_POLICY,
    from: 'default/backend',
    to: 'ip:2001:db8::53',
    port: '53/UDP',
    side: 'egress',
    edits: ['add spec.egress: - toCIDR: - 2001:db8::53/128 toPorts: - ports: - port: "53" protocol: UDP'],
  },
  {
    name: 'NetworkPolicy: the port',
    policies: NETWORK_POLICY,
    from: 'default/frontend',
    to: 'default/backend',
    port: '8081',
    edits: ['add spec.ingress[0].ports: - protocol: TCP port: 8081'],
  },
  {
    name: 'NetworkPolicy: a peer of another namespace',
    policies: NETWORK_POLICY,
    from: 'database/postgres',
    to: 'default/backend',
    port: '8080',
    edits: [
      'add spec.ingress[0].from: - namespaceSelector: matchLabels: kubernetes.io/metadata.name: database podSelector: matchLabels: app: postgres',
    ],
  },
  {
    name: 'NetworkPolicy has no word for ICMP: a document of its own that isolates nobody',
    policies: NETWORK_POLICY,
    from: 'default/frontend',
    to: 'default/backend',
    port: '8/ICMP',
    edits: [
      'new-document : apiVersion: cilium.io/v2 kind: CiliumNetworkPolicy metadata: name: allow-ingress-default-backend-default-frontend-8 namespace: default spec: endpointSelector: matchLabels: app: backend enableDefaultDeny: ingress: false ingress: - fromEndpoints: - matchLabels: app: frontend icmps: - fields: - family: IPv4 type: 8',
    ],
  },
  {
    name: 'a deny rule for several: one peer less',
    policies: BACKEND_POLICY + DENY_FRONTEND,
    from: 'default/frontend',
    to: 'default/backend',
    port: '8080',
    edits: ['remove spec.ingressDeny[0].fromEndpoints[0]: - matchLabels: app: frontend'],
  },
  {
    name: 'behind the deny rule waits the isolation: two edits',
    policies: BACKEND_POLICY + DENY_FRONTEND,
    from: 'default/frontend',
    to: 'default/backend',
    port: '9090',
    edits: [
      'remove spec.ingressDeny[0].fromEndpoints[0]: - matchLabels: app: frontend',
      'add spec.ingress[0].toPorts[0].ports: - port: "9090" protocol: TCP',
    ],
  },
  {
    name: 'a denied block: an exception',
    policies: `---\napiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: p}\nspec:\n  endpointSelector: {matchLabels: {app: backend}}\n  ingress: [{fromEntities: [world]}]\n  ingressDeny: [{fromCIDRSet: [{cidr: 203.0.113.0/24}]}]\n`,
    from: 'ip:203.0.113.7',
    to: 'default/backend',
    port: '80',
    edits: ['add spec.ingressDeny[0].fromCIDRSet[0]: except: - 203.0.113.7/32'],
  },
  {
    name: 'two denied blocks, only one has the address, and isolation behind them',
    policies: `---\napiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: p}\nspec:\n  endpointSelector: {matchLabels: {app: backend}}\n  ingress: [{fromEntities: [host]}]\n  ingressDeny: [{fromCIDRSet: [{cidr: 198.51.100.0/24}, {cidr: 203.0.113.0/24}]}]\n`,
    from: 'ip:203.0.113.7',
    to: 'default/backend',
    port: '80',
    edits: [
      'add spec.ingressDeny[0].fromCIDRSet[1]: except: - 203.0.113.7/32',
      'add spec.ingress: - fromCIDR: - 203.0.113.7/32 toPorts: - ports: - port: "80" protocol: TCP',
    ],
  },
  {
    name: 'ordered rules: Pass leaves it to the namespaces, where they allow it',
    policies: BACKEND_POLICY + ADMIN,
    from: 'default/frontend',
    to: 'default/backend',
    port: '8080',
    edits: [
      'insert spec.ingress[0]: - action: Pass from: - pods: namespaceSelector: matchLabels: kubernetes.io/metadata.name: default podSelector: matchLabels: app: frontend protocols: - tcp: destinationPort: number: 8080',
    ],
  },
  {
    name: 'ordered rules: else Accept',
    policies: BACKEND_POLICY + ADMIN,
    from: 'default/frontend',
    to: 'default/backend',
    port: '9090',
    edits: [
      'insert spec.ingress[0]: - action: Accept from: - pods: namespaceSelector: matchLabels: kubernetes.io/metadata.name: default podSelector: matchLabels: app: frontend protocols: - tcp: destinationPort: number: 9090',
    ],
  },
  {
    name: 'an expired policy: its annotation',
    policies: BACKEND_POLICY.replace(
      '{name: backend-policy}',
      '{name: p, annotations: {weir.dev/expires-at: "2026-01-01T00:00:00Z"}}',
    ),
    from: 'default/frontend',
    to: 'default/backend',
    port: '8080',
    edits: ['remove metadata.annotations.weir.dev/expires-at: weir.dev/expires-at: 2026-01-01T00:00:00Z'],
  },
  {
    name: 'isolated by a document that is refused: a document of its own',
    policies: BACKEND_POLICY.replace('protocol: TCP}', 'protocol: TPC}'),
    from: 'default/frontend',
    to: 'default/backend',
    port: '8080',
    edits: [
      'new-document : apiVersion: cilium.io/v2 kind: CiliumNetworkPolicy metadata: name: allow-ingress-default-backend-default-frontend-8080 namespace: default spec: endpointSelector: matchLabels: app: backend enableDefaultDeny: ingress: false ingress: - fromEndpoints: - matchLabels: app: frontend toPorts: - ports: - port: "8080" protocol: TCP',
    ],
  },
];
for (const { name, policies: text, from, to, port, side = 'ingress', edits } of FIXES) {
  test(`smallest edit: ${name}`, () => {
    const explanation = ask(policies(text), from, to, port)[0] as Explanation;
    const { verdict, fix } = explanation[side];
    assert.is(verdict, 'denied');
    assert.equal(
      fix?.map(({ operation, path, snippet }) => `${operation} ${path}: ${snippet.trim().replace(/\s+/g, ' ')}`),
      edits,
    );
  });
}

test('audited rules do not decide, but are named', () => {
  const audited = BACKEND_POLICY.replace('{name: backend-policy}', '{name: p, annotations: {weir.dev/audit: "true"}}');
  const side = ingress(policies(audited), 'default/frontend', 'default/backend', '8080');
  assert.equal([side.verdict, side.reason, side.isolatedBy], ['allowed', 'default-allow', []]);
  assert.equal(
    side.idle.map(({ why, path }) => [why, path]),
    [['audited', 'spec.ingress[0]']],
  );
  const expired = audited.replace('weir.dev/audit: "true"', 'weir.dev/expires-at: "2026-01-01T00:00:00Z"');
  const ended = ingress(policies(expired), 'default/frontend', 'default/backend', '8080');
  assert.equal([ended.verdict, ended.idle.map(({ why }) => why)], ['denied', ['expired']]);
  const alive = policies(expired, { now: Date.parse('2025-01-01T00:00:00Z') });
  assert.is(ingress(alive, 'default/frontend', 'default/backend', '8080').verdict, 'allowed');
});

test('an excepted address, a group, a node and a Service are matched as the tables match them', () => {
  const rules = `---
apiVersion: cilium.io/v2
kind: CiliumCIDRGroup
metadata: {name: partners}
spec: {externalCIDRs: [198.51.100.0/24]}
---
apiVersion: v1
kind: Service
metadata: {namespace: database, name: sql}
spec: {selector: {app: postgres}, ports: [{port: 1}]}
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: p}
spec:
  endpointSelector: {matchLabels: {app: backend}}
  egress:
    - toCIDRSet: [{cidr: 203.0.113.0/24, except: [203.0.113.0/28]}]
    - toCIDRSet: [{cidrGroupRef: partners}]
    - toNodes: [{}]
    - toServices: [{k8sService: {serviceName: sql}}]
`;
  const on = policies(rules);
  const peers = (to: string) => egress(on, 'default/backend', to, '80').rule?.peers ?? 'denied';
  assert.equal(peers('ip:203.0.113.16'), ['203.0.113.0/24']);
  assert.equal(peers('ip:203.0.113.7'), 'denied');
  assert.equal(peers('ip:198.51.100.1'), ['198.51.100.0/24 of CiliumCIDRGroup partners']);
  assert.equal(peers('ip:192.168.0.2'), ['nodes everybody']);
  assert.equal(peers('database/postgres'), ['k8s:app="postgres",k8s:io.kubernetes.pod.namespace="database"']);
  assert.equal(peers('default/frontend'), 'denied');
});

test('the last valid version is explained where the present one is refused', () => {
  const good = policies(BACKEND_POLICY);
  const lastValid = good.objects.documents;
  const broken = policies(BACKEND_POLICY.replace('port: "8080"', 'prot: "8080"'), { lastValid, now: NOW });
  assert.equal(
    broken.documents.map(({ status }) => status),
    ['kept-previous'],
  );
  assert.is(ingress(broken, 'default/frontend', 'default/backend', '8080').verdict, 'allowed');
});

test('parties by labels: a pod that has them, else one that could', () => {
  const [found] = ask(guide, 'app=frontend', 'default/backend', '8080');
  assert.equal([found?.from.name, found?.verdict], ['default/frontend', 'allowed']);
  const [imagined] = ask(guide, 'app=frontend,k8s:io.kubernetes.pod.namespace=staging', 'default/backend', '8080');
  assert.is(imagined?.from.kind, 'pod');
  assert.ok(imagined?.from.labels.includes('k8s:io.kubernetes.pod.namespace=staging'));
  assert.is(imagined?.verdict, 'denied');
  assert.is(egress(guide, 'app=backend', 'entity:kube-apiserver', '443').verdict, 'denied');
});

const WRONG: readonly [from: string, to: string, port: string, message: RegExp, code?: string][] = [
  [
    'default/fronted',
    'default/backend',
    '80',
    /no pod default\/fronted; did you mean default\/frontend\?/,
    'NOT_FOUND',
  ],
  ['backend', 'a/b', '80', /there is no pod a\/b/, 'NOT_FOUND'],
  ['host', 'default/backend', '80', /did you mean entity:host\?/],
  ['a/b/c', 'default/backend', '80', /expected NAMESPACE\/POD, ip:ADDRESS/],
  ['=x', 'default/backend', '80', /expected KEY=VALUE, got "=x"/],
  ['ip:1.2.3.4', 'entity:host', '80', /no policy is about ip:1.2.3.4 or entity:host/],
  ['ip:fd00::9', 'ip:10.0.0.2', '80', /no addresses of the same family/],
  ['default/frontend', 'default/backend', 'https', /default\/backend has no port named https/],
  ['default/frontend', 'ip:10.0.0.2', '128/ICMPv6', /does not exist in the family/],
];
for (const [from, to, port, message, code = 'BAD_REQUEST'] of WRONG) {
  test(`${from} -> ${to} ${port} is refused with what was expected`, () => {
    assert.throws(
      () => ask(guide, from, to, port),
      (error: Error & { code?: string }) => {
        return message.test(error.message) && error.code === code;
      },
    );
  });
}

test('the router address of a pod CIDR is its node: the own one host, another one remote-node', () => {
  const node = (name: string, address: string, podCidrs: string) =>
    `---\napiVersion: v1\nkind: Node\nmetadata: {name: ${name}}\nspec: {podCIDRs: [${podCidrs}]}\nstatus: {addresses: [{type: InternalIP, address: ${address}}]}\n`;
  const on = bench(
    [
      node('one', '192.168.0.1', '10.1.1.0/24, "fd01::/64"'),
      node('two', '192.168.0.2', '10.1.2.0/24, "fd02::/64"'),
      pod('default', 'web', 'app: web', ['10.1.1.9', 'fd01::9']).replace('spec:', 'spec:\n  nodeName: one'),
      `---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: p}
spec:
  endpointSelector: {matchLabels: {app: web}}
  ingress:
    - fromEntities: [host]
      toPorts: [{ports: [{port: "1", protocol: TCP}]}]
    - fromEntities: [remote-node]
      toPorts: [{ports: [{port: "2", protocol: TCP}]}]
    - fromNodes: [{}]
      toPorts: [{ports: [{port: "3", protocol: TCP}]}]
`,
    ].join(''),
    { allowLocalHost: false },
  );
  const open = (from: string) => ['1', '2', '3', '4'].filter((port) => ingress(on, from, 'default/web', port).rule);
  assert.equal(open('ip:10.1.1.1'), ['1', '3'], 'its own node');
  assert.equal(open('ip:fd01::1'), ['1', '3']);
  assert.equal(open('ip:10.1.2.1'), ['2', '3'], 'another node');
  assert.equal(open('ip:fd02::1'), ['2', '3']);
  assert.equal(open('ip:10.1.2.7'), [], 'of no pod that is known');
});

test.run();
