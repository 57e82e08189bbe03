/** Lint: the guide's own documents, every trap with a document that has it and one that does not, and SARIF. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { formatPath, type Problem } from '../../agent/model/object.ts';
import { lint } from '../../agent/policy/lint/lint.ts';
import { sarif } from '../../agent/policy/lint/sarif.ts';
import { Folder } from '../../agent/source/manifests/folder.ts';
import { parseManifest } from '../../agent/source/manifests/parse.ts';
import { suite } from '../kit/suite.ts';
import { BACKEND_POLICY, CLUSTER } from './questions-cluster.ts';

const test = suite('lint');
const SEED = fileURLToPath(new URL('../fixtures/seed', import.meta.url));

/** As `weir policy lint` does: every file for itself, all of them together. */
function lintTexts(files: Readonly<Record<string, string>>): Problem[] {
  const all = Object.entries(files).map(([name, text]) => {
    const folder = new Folder();
    folder.setFile(name, name, text);
    const { changes, problems } = folder.take();
    const objects = changes.flatMap((change) => (change.type === 'upsert' ? [change.object] : []));
    return { written: parseManifest(text, name).objects, objects, problems: [...problems.values()].flat() };
  });
  return lint({
    written: all.flatMap(({ written }) => written),
    objects: all.flatMap(({ objects }) => objects),
    problems: all.flatMap(({ problems }) => problems),
  });
}

/** "error unknown-field 14 spec.ingress[0].toPorts[0].port". */
function short({ severity, code, line, path }: Problem): string {
  return `${severity} ${code} ${line} ${formatPath(path)}`;
}
function found(...texts: readonly string[]): string[] {
  return lintTexts(Object.fromEntries(texts.map((text, i) => [`${i}.yaml`, text]))).map(short);
}
function seed(...names: readonly string[]): Problem[] {
  return lintTexts(Object.fromEntries(names.map((name) => [name, readFileSync(join(SEED, name), 'utf8')])));
}

const SEEDS: Readonly<Record<string, readonly string[]>> = {
  'cilium-backend-policy.fixed.yaml': ['warning no-dns-egress 17 spec.egress'],
  'cilium-backend-policy.yaml': [
    'error unknown-field 14 spec.ingress[0].toPorts[0].port',
    'error unknown-field 15 spec.ingress[0].toPorts[0].protocol',
    'warning no-dns-egress 16 spec.egress',
    'error unknown-field 21 spec.egress[0].toPorts[0].port',
    'error unknown-field 22 spec.egress[0].toPorts[0].protocol',
  ],
  'istio-api-canary.yaml': [
    'warning missing-subset 12 spec.http[0].route[0].destination.subset',
    'warning missing-subset 16 spec.http[0].route[1].destination.subset',
  ],
  'istio-api-circuit-breaker.yaml': [],
  'istio-authorizationpolicy.yaml': ['warning or-trap 9 spec.rules'],
  'istio-peerauthentication.yaml': [],
  'istio-reviews-destinationrule.yaml': ['warning single-subset 21 spec.subsets'],
  'istio-servicemonitor.yaml': ['warning monitor-matches-nothing 7 spec.selector.matchLabels'],
  'linkerd-serviceprofile.yaml': [
    'error unknown-field 13 spec.routes[0].responseClasses[0].condition.statusCodeRange',
    'error unknown-field 14 spec.routes[0].responseClasses[0].isSuccess',
    'error unknown-field 15 spec.routes[0].responseClasses[0].weight',
    'error unknown-field 16 spec.routes[0].responseClasses[1].isSuccess',
    'error unknown-field 17 spec.routes[0].responseClasses[1].weight',
  ],
  'linkerd-trafficsplit.yaml': ['error unknown-api-group 1 apiVersion'],
};
for (const [name, expected] of Object.entries(SEEDS)) {
  test(`the guide's ${name}`, () => assert.equal(seed(name).map(short), expected));
}

test('the guide`s route and its DestinationRule together: the subset that is missing', () => {
  const problems = seed('istio-reviews-virtualservice.yaml', 'istio-reviews-destinationrule.yaml');
  assert.equal(problems.map(short), ['error missing-subset 16 spec.http[0].route[0].destination.subset']);
  assert.match(
    problems[0]?.message ?? '',
    /subset v2 of reviews; istio-reviews-destinationrule\.yaml:\d+ has only v1$/,
  );
});

test('each mistake of the guide says what was probably meant', () => {
  const said = (name: string): string =>
    seed(name)
      .map(({ message }) => message)
      .join('\n');
  assert.match(said('cilium-backend-policy.yaml'), /did you mean toPorts\[0\]\.ports\[\]\.port\?/);
  assert.match(said('cilium-backend-policy.fixed.yaml'), /nothing allows port 53/);
  assert.match(
    said('istio-authorizationpolicy.yaml'),
    /alternatives \(OR\).*ingress-gateway may do anything, or anybody may use ports 8080/,
  );
  assert.match(said('istio-servicemonitor.yaml'), /matches nothing in a stock Istio.*istio=pilot.*http-monitoring/);
  assert.match(said('linkerd-trafficsplit.yaml'), /did you mean split\.smi-spec\.io\/v1alpha2\?/);
  assert.match(said('linkerd-serviceprofile.yaml'), /did you mean status, with min and max\?/);
  assert.match(said('linkerd-serviceprofile.yaml'), /did you mean isFailure, with the opposite value\?/);
});

const DNS_RULE = `    - toEndpoints: [{matchLabels: {k8s:io.kubernetes.pod.namespace: kube-system, k8s-app: kube-dns}}]
      toPorts: [{ports: [{port: "53"}]}]
`;
const netpol = (name: string, spec: string) =>
  `---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: ${name}}\nspec: ${spec}\n`;
const DNS: readonly [name: string, texts: readonly string[], warns: boolean][] = [
  ['a rule for the DNS pods', [BACKEND_POLICY + DNS_RULE], false],
  ['a rule for port 53 to whomever', [BACKEND_POLICY.replace('"5432"', '"53"')], false],
  [
    'a range that has 53 in it',
    [netpol('p', '{podSelector: {}, egress: [{ports: [{port: 50, endPort: 60, protocol: UDP}]}]}')],
    false,
  ],
  ['every port to everybody', [netpol('p', '{podSelector: {}, egress: [{}]}')], false],
  [
    'every port to the cluster`s DNS',
    [netpol('p', '{podSelector: {}, egress: [{to: [{namespaceSelector: {}}]}]}')],
    false,
  ],
  [
    'every port to a database is no DNS',
    [netpol('p', '{podSelector: {}, egress: [{to: [{podSelector: {matchLabels: {app: db}}}]}]}')],
    true,
  ],
  ['SCTP is no DNS', [netpol('p', '{podSelector: {}, egress: [{ports: [{port: 53, protocol: SCTP}]}]}')], true],
  ['egress closed altogether', [netpol('p', '{podSelector: {}, policyTypes: [Egress]}')], true],
  ['ingress alone', [netpol('p', '{podSelector: {}, policyTypes: [Ingress]}')], false],
  [
    'another document opens it for all',
    [
      netpol('p', '{podSelector: {matchLabels: {app: a}}, policyTypes: [Egress]}'),
      netpol('dns', '{podSelector: {}, egress: [{ports: [{port: 53, protocol: UDP}]}]}'),
    ],
    false,
  ],
  [
    'another document opens it for others',
    [
      netpol('p', '{podSelector: {}, policyTypes: [Egress]}'),
      netpol('dns', '{podSelector: {matchLabels: {app: a}}, egress: [{ports: [{port: 53, protocol: UDP}]}]}'),
    ],
    true,
  ],
];
for (const [name, texts, warns] of DNS) {
  test(`no-dns-egress: ${name}: ${warns ? 'warns' : 'silent'}`, () => {
    assert.is(
      found(...texts).some((one) => one.includes('no-dns-egress')),
      warns,
    );
  });
}

const deny = (spec: string, kind = 'CiliumClusterwideNetworkPolicy') =>
  `---\napiVersion: cilium.io/v2\nkind: ${kind}\nmetadata: {name: deny}\nspec: ${spec}\n`;
const SHADOWED: readonly [name: string, deny: string, warns: boolean][] = [
  ['everybody', '{endpointSelector: {}, ingressDeny: [{fromEntities: [all]}]}', true],
  [
    'the same peer on every port',
    '{endpointSelector: {}, ingressDeny: [{fromEndpoints: [{matchLabels: {app: frontend}}]}]}',
    true,
  ],
  [
    'a wider range of ports',
    '{endpointSelector: {}, ingressDeny: [{toPorts: [{ports: [{port: "8000", endPort: 9000}]}]}]}',
    true,
  ],
  ['another port', '{endpointSelector: {}, ingressDeny: [{toPorts: [{ports: [{port: "8081"}]}]}]}', false],
  ['another peer', '{endpointSelector: {}, ingressDeny: [{fromEndpoints: [{matchLabels: {app: other}}]}]}', false],
  [
    'a narrower peer',
    '{endpointSelector: {}, ingressDeny: [{fromEndpoints: [{matchLabels: {app: frontend, env: test}}]}]}',
    false,
  ],
  [
    'everybody but that peer',
    '{endpointSelector: {}, ingressDeny: [{fromEndpoints: [{matchExpressions: [{key: app, operator: NotIn, values: [frontend]}]}]}]}',
    false,
  ],
  ['other subjects', '{endpointSelector: {matchLabels: {app: other}}, ingressDeny: [{fromEntities: [all]}]}', false],
  ['the other direction', '{endpointSelector: {}, egressDeny: [{toPorts: [{ports: [{port: "8080"}]}]}]}', false],
];
for (const [name, spec, warns] of SHADOWED) {
  test(`shadowed-by-deny: ${name}: ${warns ? 'warns' : 'silent'}`, () => {
    const problems = lintTexts({ 'a.yaml': BACKEND_POLICY + DNS_RULE, 'b.yaml': deny(spec) });
    const [one] = problems.filter(({ code }) => code === 'shadowed-by-deny');
    assert.is(one !== undefined, warns);
    if (one)
      assert.match(
        one.message,
        /spec\.ingress\[0\]: never allows anything: CiliumClusterwideNetworkPolicy deny .*\(b\.yaml:5\)/,
      );
  });
}

test('selectors that match nothing, where there are pods to match', () => {
  const typo = (BACKEND_POLICY + DNS_RULE).replace('app: backend}', 'app: bakend}');
  assert.equal(found(typo), []);
  assert.equal(
    found(CLUSTER, typo).filter((one) => one.includes('nothing')),
    ['warning selects-nothing 6 spec.endpointSelector', 'warning peer-matches-nothing 13 spec.egress[1]'],
  );
  const peer = BACKEND_POLICY.replace('app: frontend', 'app: fronted');
  assert.ok(found(CLUSTER, peer).includes('warning peer-matches-nothing 8 spec.ingress[0]'));
});

test('what the engine refuses is an error, with field and line; a policy kind with a typo too', () => {
  assert.ok(
    found(BACKEND_POLICY.replace('protocol: TCP', 'protocol: TPC')).includes(
      'error unknown-value 9 spec.ingress[0].toPorts[0].ports[0].protocol',
    ),
  );
  assert.equal(found(BACKEND_POLICY.replace('CiliumNetworkPolicy', 'CiliumNetworkPolcy')), [
    'error unknown-kind 3 kind',
  ]);
  assert.equal(
    found('a: [\n').map((one) => one.split(' ').slice(0, 2).join(' ')),
    ['error yaml-syntax'],
  );
});

test('a document of another system that is right is right', () => {
  const istio = (kind: string, spec: string) =>
    `---\napiVersion: networking.istio.io/v1beta1\nkind: ${kind}\nmetadata: {name: x}\nspec: ${spec}\n`;
  const route = istio('VirtualService', '{http: [{route: [{destination: {host: api, subset: v1}}]}]}');
  const rule = istio('DestinationRule', '{host: api.default.svc.cluster.local, subsets: [{name: v1}]}');
  assert.equal(found(route + rule), []);
  const policy = (rules: string) =>
    `---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: x}\nspec: {rules: ${rules}}\n`;
  assert.equal(found(policy('[{from: [{source: {principals: [a]}}], to: [{operation: {ports: ["1"]}}]}]')), []);
  const split = '---\napiVersion: split.smi-spec.io/v1alpha2\nkind: TrafficSplit\nmetadata: {name: x}\nspec: {}\n';
  assert.equal(found(split), []);
});

test('SARIF: every finding with its rule, its level and where it is', () => {
  const problems = seed('cilium-backend-policy.yaml');
  const log = sarif(problems, '1.2.3') as {
    version: string;
    runs: [
      {
        tool: { driver: { version: string; rules: { id: string }[] } };
        results: {
          ruleId: string;
          ruleIndex: number;
          level: string;
          message: { text: string };
          locations: [{ physicalLocation: { artifactLocation: { uri: string }; region: { startLine: number } } }];
        }[];
      },
    ];
  };
  assert.is(log.version, '2.1.0');
  const [{ tool, results }] = log.runs;
  assert.is(tool.driver.version, '1.2.3');
  assert.is(results.length, problems.length);
  for (const [i, result] of results.entries()) {
    assert.is(tool.driver.rules[result.ruleIndex]?.id, result.ruleId);
    assert.is(result.level, problems[i]?.severity);
    assert.is(result.message.text, problems[i]?.message);
    const { artifactLocation, region } = result.locations[0].physicalLocation;
    assert.is(artifactLocation.uri, 'cilium-backend-policy.yaml');
    assert.is(region.startLine, problems[i]?.line);
  }
  const odd = sarif([{ ...(problems[0] as Problem), place: '/a b/c.yaml', line: undefined }], '') as typeof log;
  assert.equal(odd.runs[0].results[0]?.locations[0].physicalLocation as unknown, {
    artifactLocation: { uri: 'file:///a%20b/c.yaml' },
  });
});

test.run();
