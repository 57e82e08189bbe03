/** Manifests as text: every mistake gets one precise message with its line; hostile files cost no more than they should. */
import * as assert from 'uvu/assert';
import { formatPath, type Problem, type SourceObject } from '../../agent/model/object.ts';
import { LARGEST_FILE, parseManifest } from '../../agent/source/manifests/parse.ts';
import { readObject } from '../../agent/source/object/read-object.ts';
import { collectGarbage } from '../kit/memory.ts';
import { suite } from '../kit/suite.ts';

const test = suite('source parse');

function read(text: string): { objects: SourceObject[]; problems: string[] } {
  const parsed = parseManifest(text, 'f.yaml');
  const readings = parsed.objects.map(({ raw, origin }) => readObject(raw, origin));
  const problems = [...parsed.problems, ...readings.flatMap((reading) => reading.problems)];
  return { objects: readings.flatMap((reading) => reading.object ?? []), problems: problems.map(show) };
}

function show(problem: Problem): string {
  const path = formatPath(problem.path);
  return `${problem.severity} ${problem.code} f.yaml:${problem.line}: ${path === '' ? '' : `${path}: `}${problem.message}`;
}

const pod = (more: string): string => `apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n${more}`;

test('a typed list says once what its items are', () => {
  const pods = 'items:\n- metadata: {name: a}\n- {apiVersion: v1, kind: Namespace, metadata: {name: n}}\n';
  for (const head of ['apiVersion: v1\nkind: PodList\n', 'apiVersion: v1\nkind: List\n']) {
    const { objects, problems } = read(head + pods);
    const typed = head.includes('PodList');
    assert.equal(
      objects.map(({ kind, ref }) => `${kind} ${ref.name}`),
      typed ? ['Pod a', 'Namespace n'] : ['Namespace n'],
    );
    assert.is(problems.length, typed ? 0 : 2);
  }
});

const mistakes: readonly [string, string, string[]][] = [
  // What YAML itself refuses.
  [
    'an unclosed list',
    'a: [1,\n',
    ['error yaml-syntax f.yaml:2: Flow sequence in block collection must be sufficiently indented and end with a ]'],
  ],
  ['a tab', 'a:\n\tb: 2', ['error yaml-syntax f.yaml:2: Tabs are not allowed as indentation']],
  [
    'a key twice',
    'a:\n  b: 1\n  c: 1\n  b: 2',
    ['error duplicate-key f.yaml:4: this key stands twice in the same mapping'],
  ],
  [
    'a key twice in JSON',
    '{"a": 1,\n"a": 2}',
    ['error duplicate-key f.yaml:2: this key stands twice in the same mapping'],
  ],
  ['an alias without anchor', 'a: 1\nb: *nope', ['error yaml-syntax f.yaml:2: no &nope before *nope']],
  ['an alias inside itself', 'a: &a\n  - *a', ['error yaml-syntax f.yaml:2: *a is inside what it stands for']],
  ['a tag of another language', 'a: !ruby/object x', ['error yaml-syntax f.yaml:1: Unresolved tag: !ruby/object']],
  // What is no Kubernetes object.
  [
    'a bare value',
    '5',
    ['error wrong-type f.yaml:1: expected an object with apiVersion, kind and metadata, found the number 5'],
  ],
  ['a list', '- a', ['error wrong-type f.yaml:1: expected an object with apiVersion, kind and metadata, found a list']],
  [
    'no kind',
    'a: 1',
    [
      'error missing-field f.yaml:1: kind: kind is required',
      'error missing-field f.yaml:1: apiVersion: apiVersion is required',
    ],
  ],
  [
    'no name',
    'apiVersion: v1\nkind: Pod\nmetadata:\n  labels: {}',
    ['error missing-field f.yaml:3: metadata.name: metadata.name is required'],
  ],
  [
    'no metadata',
    'apiVersion: v1\nkind: Pod',
    ['error missing-field f.yaml:1: metadata.name: metadata.name is required'],
  ],
  // Kinds.
  [
    'a kind of others',
    'apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}',
    ['warning unknown-kind f.yaml:2: kind: kind Deployment of apps/v1 is not used by Weir and was left out'],
  ],
  [
    'a kind mistyped',
    'apiVersion: cilium.io/v2\nkind: CiliumNetworkPolcy\nmetadata: {name: x}',
    [
      'error unknown-kind f.yaml:2: kind: unknown kind CiliumNetworkPolcy of cilium.io/v2; did you mean CiliumNetworkPolicy?',
    ],
  ],
  [
    'a group mistyped',
    'apiVersion: networking.k8s/v1\nkind: NetworkPolicy\nmetadata: {name: x}',
    [
      'error wrong-type f.yaml:1: apiVersion: expected networking.k8s.io/v1 for kind NetworkPolicy, found "networking.k8s/v1"',
    ],
  ],
  [
    'a policy of Calico',
    'apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {name: x}',
    [
      'error wrong-type f.yaml:1: apiVersion: expected networking.k8s.io/v1 for kind NetworkPolicy, found "projectcalico.org/v3"',
    ],
  ],
  [
    'a version of Pod that is none',
    'apiVersion: v2\nkind: Pod\nmetadata: {name: x}',
    ['error wrong-type f.yaml:1: apiVersion: expected v1 for kind Pod, found "v2"'],
  ],
  [
    'a namespace on what has none',
    'apiVersion: v1\nkind: Namespace\nmetadata: {name: x, namespace: y}',
    ['warning ignored-field f.yaml:3: metadata.namespace: a Namespace belongs to no namespace: this one is ignored'],
  ],
  // Fields.
  [
    'a name that is a number',
    'apiVersion: v1\nkind: Pod\nmetadata:\n  name: 7',
    [
      'error wrong-type f.yaml:4: metadata.name: expected lower-case letters, digits, "-" and ".", at most 253, found the number 7: put it in quotes',
    ],
  ],
  [
    'a name in capitals',
    'apiVersion: v1\nkind: Pod\nmetadata:\n  name: Web',
    [
      'error wrong-type f.yaml:4: metadata.name: expected lower-case letters, digits, "-" and ".", at most 253, found "Web"',
    ],
  ],
  [
    'a label that is a number',
    pod('  labels:\n    app: web\n    version: 1'),
    [
      'error wrong-type f.yaml:7: metadata.labels.version: expected a label value: letters, digits, "-", "_" and ".", at most 63, found the number 1: put it in quotes',
    ],
  ],
  [
    'labels as a list',
    pod('  labels: [app=web]'),
    ['error wrong-type f.yaml:5: metadata.labels: expected a mapping of names to values, found a list'],
  ],
  [
    'a label key that pretends to be reserved',
    pod('  labels: {"reserved:host": ""}'),
    [
      'error wrong-type f.yaml:5: metadata.labels.reserved:host: expected a label key: [prefix/]name, found "reserved:host"',
    ],
  ],
  [
    'a label value that pretends to be two',
    pod('  labels: {app: "a,k8s:b=c"}'),
    [
      'error wrong-type f.yaml:5: metadata.labels.app: expected a label value: letters, digits, "-", "_" and ".", at most 63, found "a,k8s:b=c"',
    ],
  ],
  [
    'hostNetwork in quotes',
    pod('spec:\n  hostNetwork: "true"'),
    ['error wrong-type f.yaml:6: spec.hostNetwork: expected true or false, found "true"'],
  ],
  [
    'a port out of range',
    pod('spec:\n  containers:\n  - ports:\n    - containerPort: 80800\n'),
    [
      'error wrong-type f.yaml:8: spec.containers[0].ports[0].containerPort: expected a whole number from 1 to 65535, found the number 80800',
    ],
  ],
  [
    'a protocol mistyped',
    pod('spec:\n  containers:\n  - ports:\n    - {containerPort: 80, protocol: tcp}\n'),
    [
      'error wrong-type f.yaml:8: spec.containers[0].ports[0].protocol: expected one of TCP, UDP, SCTP, found "tcp"; did you mean TCP?',
    ],
  ],
  [
    'containers as a mapping',
    pod('spec:\n  containers:\n    web: {}'),
    ['error wrong-type f.yaml:6: spec.containers: expected a list, found a mapping'],
  ],
  [
    'an address that is none',
    pod('status:\n  podIPs:\n  - ip: 10.0.0.256'),
    ['error wrong-type f.yaml:7: status.podIPs[0].ip: expected an IP address, found "10.0.0.256"'],
  ],
  [
    'several mistakes at once',
    pod('  labels: {a: 1}\nspec:\n  hostNetwork: 1'),
    [
      'error wrong-type f.yaml:5: metadata.labels.a: expected a label value: letters, digits, "-", "_" and ".", at most 63, found the number 1: put it in quotes',
      'error wrong-type f.yaml:7: spec.hostNetwork: expected true or false, found the number 1',
    ],
  ],
  [
    'a mistake in the second item of a List',
    'apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Namespace\n  metadata: {name: a}\n- apiVersion: v1\n  kind: Namespace\n  metadata:\n    name: B',
    ['error wrong-type f.yaml:10: metadata.name: expected lower-case letters, digits and "-", at most 63, found "B"'],
  ],
  [
    'a Service port without a number',
    'apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec:\n  ports:\n  - name: http',
    ['error wrong-type f.yaml:6: spec.ports[0].port: expected a port number, found nothing'],
  ],
  [
    'a prefix that is none',
    'apiVersion: v1\nkind: Node\nmetadata: {name: x}\nspec: {podCIDRs: [10.0.0.0/33]}',
    ['error wrong-type f.yaml:4: spec.podCIDRs[0]: expected a prefix such as 10.244.1.0/24, found "10.0.0.0/33"'],
  ],
];
for (const [name, text, problems] of mistakes) {
  test(`reports ${name}`, () => assert.equal(read(text).problems, problems));
}

test('unknown fields of pods, nodes and services are nobody here`s business', () => {
  assert.equal(
    read(pod('  generateName: x\nspec: {dnsPolicy: None, tolerations: [{}]}\nstatus: {phase: Running}')).problems,
    [],
  );
});

test('a pod, as the rest of the agent sees it', () => {
  const text = pod(`  namespace: shop
  uid: u-1
  labels: {app: web, pod-template-hash: 5d}
  annotations: {weir.dev/note: "a: b"}
  ownerReferences:
  - {kind: ReplicaSet, name: web-5d, controller: true}
spec:
  serviceAccountName: web-account
  nodeName: node-1
  containers:
  - ports:
    - {name: http, containerPort: 8080}
    - {containerPort: 9090}
  - ports:
    - {name: dns, containerPort: 53, protocol: UDP}
  initContainers:
  - restartPolicy: Always
    ports: [{name: sidecar, containerPort: 1}]
  - ports: [{name: gone, containerPort: 2}]
status:
  podIP: 10.0.0.1
  podIPs: [{ip: 10.0.0.1}, {ip: "FD00:0::1"}]
`);
  const [object] = read(text).objects;
  assert.equal(object, {
    kind: 'Pod',
    ref: { apiVersion: 'v1', kind: 'Pod', namespace: 'shop', name: 'web', uid: 'u-1' },
    value: {
      namespace: 'shop',
      name: 'web',
      uid: 'u-1',
      labels: { app: 'web', 'pod-template-hash': '5d' },
      annotations: { 'weir.dev/note': 'a: b' },
      serviceAccount: 'web-account',
      nodeName: 'node-1',
      hostNetwork: false,
      addresses: ['10.0.0.1', 'fd00::1'],
      namedPorts: [
        { name: 'http', protocol: 'TCP', port: 8080 },
        { name: 'dns', protocol: 'UDP', port: 53 },
        { name: 'sidecar', protocol: 'TCP', port: 1 },
      ],
      workload: { kind: 'Deployment', name: 'web' },
    },
  });
});

test("an annotation's key may have capitals in its prefix too, a label's may not", () => {
  const key = 'Prometheus.io/Scrape';
  const [object] = read(pod(`  annotations: {${key}: "true"}`)).objects;
  assert.ok(object?.kind === 'Pod');
  assert.equal(object.value.annotations, { [key]: 'true' });
  assert.match(read(pod(`  labels: {${key}: "true"}`)).problems.join(), /label key/);
  assert.match(read(pod('  annotations: {a b: "true"}')).problems.join(), /an annotation's key/);
});

test('of the addresses of a node those come first by which nodes reach each other, in whatever order a cloud lists them', () => {
  const [object] = read(`apiVersion: v1
kind: Node
metadata: {name: n1}
status:
  addresses:
  - {type: Hostname, address: n1}
  - {type: ExternalIP, address: 198.51.100.1}
  - {type: InternalIP, address: 10.0.0.1}
  - {type: InternalIP, address: "fd00::1"}
  - {type: ExternalIP, address: 10.0.0.1}
`).objects;
  assert.ok(object?.kind === 'Node');
  assert.equal(object.value.addresses, ['10.0.0.1', 'fd00::1', '198.51.100.1']);
});

const NODE_OF = (addresses: string) => `apiVersion: v1
kind: Node
metadata: {name: n1}
status:
  addresses: ${addresses}
`;
test('an ExternalIP that is none is told and left out, where an InternalIP is known', () => {
  const { objects, problems } = read(
    NODE_OF('[{type: ExternalIP, address: gateway.example}, {type: InternalIP, address: 10.0.0.1}]'),
  );
  const [object] = objects;
  assert.ok(object?.kind === 'Node');
  assert.equal(object.value.addresses, ['10.0.0.1']);
  assert.equal(problems, [
    'warning node-address f.yaml:5: status.addresses[0].address: expected an IP address, found "gateway.example"; this ExternalIP is left out',
  ]);
});
test('an address of a node that is none is an error, where it is the only one or an InternalIP', () => {
  for (const text of [
    '[{type: ExternalIP, address: gateway.example}]',
    '[{type: InternalIP, address: gateway.example}, {type: ExternalIP, address: 198.51.100.1}]',
  ]) {
    const { objects, problems } = read(NODE_OF(text));
    assert.is(objects.length, 0, text);
    assert.match(problems.join('\n'), /^error .*expected an IP address, found "gateway.example"$/);
  }
});

test('what a pod leaves out has Kubernetes` defaults', () => {
  const [object] = read(pod('')).objects;
  assert.ok(object?.kind === 'Pod');
  assert.is(object.value.namespace, 'default');
  assert.is(object.value.serviceAccount, 'default');
  assert.is(object.value.workload, undefined);
  assert.equal(object.value.addresses, []);
});

test('a node and a service', () => {
  const { objects, problems } = read(`apiVersion: v1
kind: Node
metadata: {name: n1, labels: {zone: a}}
spec: {podCIDR: 10.1.0.0/24, podCIDRs: [10.1.0.0/24, "fd00:1::/64"]}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}, {type: Hostname, address: n1}]}
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec:
  selector: {app: db}
  clusterIPs: [10.96.0.7]
  ports: [{port: 5432}, {name: metrics, port: 80, targetPort: http, protocol: UDP}]
---
{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "outside"}, "spec": {"clusterIP": "None"}}
`);
  assert.equal(problems, []);
  assert.equal(
    objects.map((object) => object.value),
    [
      { name: 'n1', labels: { zone: 'a' }, addresses: ['192.0.2.1'], podCidrs: ['10.1.0.0/24', 'fd00:1::/64'] },
      {
        namespace: 'default',
        name: 'db',
        labels: {},
        selector: { app: 'db' },
        clusterIps: ['10.96.0.7'],
        affinitySeconds: 0,
        localOnly: false,
        ports: [
          { name: '', protocol: 'TCP', port: 5432, targetPort: 5432 },
          { name: 'metrics', protocol: 'UDP', port: 80, targetPort: 'http' },
        ],
      },
      {
        namespace: 'default',
        name: 'outside',
        labels: {},
        selector: undefined,
        clusterIps: [],
        ports: [],
        affinitySeconds: 0,
        localOnly: false,
      },
    ],
  );
});

const policy = `# a comment
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata:
  name: p
spec:
  endpointSelector: {}
  ingress:
    - fromEndpoints:
        - matchLabels: {app: web}
      toPorts:
        - ports:
            - port: "80"
`;

test('a policy comes as it was written and knows its lines', () => {
  const [object] = read(policy).objects;
  assert.ok(object?.kind === 'Document');
  const { raw, origin } = object.value;
  assert.equal(raw, {
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumNetworkPolicy',
    metadata: { name: 'p' },
    spec: {
      endpointSelector: {},
      ingress: [{ fromEndpoints: [{ matchLabels: { app: 'web' } }], toPorts: [{ ports: [{ port: '80' }] }] }],
    },
  });
  assert.is(origin.place, 'f.yaml');
  const lines: readonly [(string | number)[], number][] = [
    [[], 3],
    [['kind'], 4],
    [['spec', 'ingress'], 9],
    [['spec', 'ingress', 0], 10],
    [['spec', 'ingress', 0, 'toPorts', 0, 'ports', 0, 'port'], 14],
    [['spec', 'ingress', 0, 'toPorts', 0, 'ports', 0, 'endPort'], 14],
    [['spec', 'egress'], 7],
    [['nothing', 'here'], 3],
  ];
  for (const [path, line] of lines) assert.is(origin.line(path), line, formatPath(path));
});

test('lines are right also after the syntax tree was collected', async () => {
  const parsed = parseManifest(`${'# padding\n'.repeat(100)}a: 1\n${policy}`, 'f.yaml');
  const origin = parsed.objects[1]?.origin;
  await new Promise((resolve) => setImmediate(resolve)); // a WeakRef holds until the end of its turn
  collectGarbage();
  assert.is(origin?.line(['spec', 'ingress', 0, 'toPorts', 0, 'ports', 0, 'port']), 101 + 14);
  assert.is(origin?.line(['kind']), 101 + 4);
});

test('merge keys and aliases mean what kubectl takes them for', () => {
  const { objects, problems } = read(pod('  labels: &l {app: web}\n  annotations: {<<: *l, more: "1"}'));
  assert.equal(problems, []);
  assert.ok(objects[0]?.kind === 'Pod');
  assert.equal(objects[0].value.annotations, { app: 'web', more: '1' });
});

test('a key __proto__ is only a key', () => {
  const { problems } = read('{"apiVersion": "v1", "kind": "Pod", "metadata": {"__proto__": {"name": "x"}}}');
  assert.equal(problems, ['error missing-field f.yaml:1: metadata.name: metadata.name is required']);
});

test('empty documents and comments are nothing', () => {
  for (const text of ['', '\n', '# x\n', '---\n---\n', 'null\n', '\ufeff'])
    assert.equal(read(text), { objects: [], problems: [] });
});

const levels = 'abcdefghij'.split('');
const bomb = levels
  .map((name, i) => `${name}: &${name} [${Array(10).fill(i === 0 ? 'x' : `*${levels[i - 1]}`)}]`)
  .join('\n');
const hostile: readonly [string, string, string][] = [
  ['brackets', '['.repeat(1_000_000), 'too-deep'],
  ['dashes', '- '.repeat(500_000), 'too-deep'],
  ['braces', '{a: '.repeat(200_000), 'too-deep'],
  ['question marks', '? '.repeat(500_000), 'too-deep'],
  ['indentation', Array.from({ length: 2000 }, (_, i) => `${' '.repeat(i)}a:`).join('\n'), 'too-deep'],
  ['ten billion laughs', bomb, 'too-many-aliases'],
  ['a huge file', ' '.repeat(LARGEST_FILE + 1), 'too-large'],
];
for (const [name, text, code] of hostile) {
  test(`hostile: ${name}`, () => {
    const before = performance.now();
    const { objects, problems } = parseManifest(text, 'f.yaml');
    assert.equal(objects, []);
    assert.is(problems[0]?.code, code);
    assert.ok(performance.now() - before < 20_000, 'in bounded time');
  });
}

test.run();
