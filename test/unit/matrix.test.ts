/** Who may talk to whom: parties, ports and families of the matrix, cell by cell. */
import * as assert from 'uvu/assert';
import { matrixTables } from '../../agent/cli/policy/matrix.ts';
import type { MatrixEntry } from '../../agent/model/explanation.ts';
import { matrix, readMatrixQuestion } from '../../agent/policy/matrix.ts';
import { defaultPorts } from '../../agent/policy/matrix-ports.ts';
import { formatPort } from '../../agent/policy/workbench/port.ts';
import type { Workbench } from '../../agent/policy/workbench/workbench.ts';
import { suite } from '../kit/suite.ts';
import { BACKEND_POLICY, bench, CLUSTER, pod } from './questions-cluster.ts';

const test = suite('matrix');
const guide = bench(CLUSTER + BACKEND_POLICY);

function entries(on: Workbench, ports: readonly string[], peers: readonly string[] = []): MatrixEntry[] {
  return [...matrix(on, readMatrixQuestion(on, ports, peers))];
}

/** "egress ingress verdict" of one cell; undefined if there is none. */
function cell(on: Workbench, from: string, to: string, port: string, family = 'IPv4', peers: readonly string[] = []) {
  const found = entries(on, [port], peers).filter((one) => one.from === from && one.to === to && one.family === family);
  assert.ok(found.length <= 1, 'one object per from, to, port and family');
  const [one] = found;
  return one && `${one.egress} ${one.ingress} ${one.verdict}`;
}

test('an entry has the fields that were promised, in their order', () => {
  const [one] = entries(guide, ['8080']).filter(
    ({ from, to }) => from === 'default/frontend' && to === 'default/backend',
  );
  assert.is(
    JSON.stringify(one),
    '{"from":"default/frontend","to":"default/backend","port":8080,"protocol":"TCP","family":"IPv4","ingress":"allowed","egress":"allowed","verdict":"allowed"}',
  );
});

const CELLS: readonly [from: string, to: string, port: string, family: string, expected: string | undefined][] = [
  ['default/frontend', 'default/backend', '8080', 'IPv4', 'allowed allowed allowed'],
  ['default/frontend', 'default/backend', '8080/TCP', 'IPv6', 'allowed allowed allowed'],
  ['default/frontend', 'default/backend', '8080/UDP', 'IPv4', 'allowed denied denied'],
  ['default/frontend', 'default/backend', 'http', 'IPv4', 'allowed allowed allowed'],
  ['default/frontend', 'default/backend', 'http/UDP', 'IPv4', 'n/a n/a denied'],
  ['default/frontend', 'default/backend', 'EchoRequest/ICMP', 'IPv6', 'allowed denied denied'],
  ['default/frontend', 'default/backend', '8/ICMP', 'IPv6', undefined],
  ['default/backend', 'database/postgres', 'sql', 'IPv4', 'allowed allowed allowed'],
  // postgres has no IPv6 address
  ['default/backend', 'database/postgres', '5432', 'IPv6', undefined],
  ['default/backend', 'database/postgres', '5433', 'IPv4', 'denied allowed denied'],
  // a pod to itself is judged like any other pair
  ['default/backend', 'default/backend', '8080', 'IPv4', 'denied denied denied'],
  ['default/frontend', 'default/frontend', '80', 'IPv4', 'allowed allowed allowed'],
  // a pod of its node's network is the node: never matched by labels, no policy of its own
  ['default/proxy', 'default/backend', '9999', 'IPv4', 'n/a allowed allowed'],
  ['default/backend', 'default/proxy', '8080', 'IPv4', 'denied n/a denied'],
  ['default/proxy', 'default/proxy', '80', 'IPv4', 'n/a n/a allowed'],
];
for (const [from, to, port, family, expected] of CELLS) {
  test(`${from} -> ${to} ${port} ${family}: ${expected}`, () => {
    assert.is(cell(guide, from, to, port, family), expected);
  });
}

const PEERS: readonly [peer: string, port: string, family: string, asSource: string | undefined][] = [
  ['ip:203.0.113.7', '8080', 'IPv4', 'n/a denied denied'],
  ['ip:203.0.113.7', '8080', 'IPv6', undefined],
  ['entity:world', '8080', 'IPv6', 'n/a denied denied'],
  ['entity:world-ipv4', '8080', 'IPv6', undefined],
  ['entity:host', '9999', 'IPv4', 'n/a allowed allowed'],
  ['entity:remote-node', '9999', 'IPv4', 'n/a denied denied'],
  ['entity:kube-apiserver', '9999', 'IPv6', 'n/a denied denied'],
  // addresses of nodes: the pod's own one, and another
  ['ip:192.168.0.1', '9999', 'IPv4', 'n/a allowed allowed'],
  ['ip:192.168.0.2', '9999', 'IPv4', 'n/a denied denied'],
  // a pod by its address is that pod, but only asked for as a peer
  ['ip:10.0.0.1', '8080', 'IPv4', 'n/a allowed allowed'],
  ['ip:10.0.0.77', '8080', 'IPv4', 'n/a denied denied'],
];
for (const [peer, port, family, expected] of PEERS) {
  test(`${peer} -> default/backend ${port} ${family}: ${expected}`, () => {
    assert.is(cell(guide, peer, 'default/backend', port, family, [peer]), expected);
  });
}

test('an address with no partner of its family still gets its row, and peers none among themselves', () => {
  const all = entries(guide, ['80'], ['ip:2001:db8::7', 'entity:host']);
  const ofPostgres = all.filter(({ from, to }) => from === 'database/postgres' && to === 'ip:2001:db8::7');
  assert.equal(
    ofPostgres.map(({ family, egress, ingress }) => [family, egress, ingress]),
    [['IPv6', 'allowed', 'n/a']],
  );
  assert.not(all.some(({ from, to }) => /^(ip|entity)/.test(from) && /^(ip|entity)/.test(to)));
});

test('ipBlock matches pods and nodes, toCIDR does not', () => {
  const policy = (spec: string) =>
    `---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec:\n${spec}`;
  const blocks = bench(
    CLUSTER +
      policy(
        '  podSelector: {matchLabels: {app: backend}}\n  ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}}, {ipBlock: {cidr: 192.168.0.2/32}}]}]\n',
      ),
  );
  assert.is(cell(blocks, 'default/frontend', 'default/backend', '80'), 'allowed allowed allowed');
  assert.is(cell(blocks, 'ip:192.168.0.2', 'default/backend', '80', 'IPv4', ['ip:192.168.0.2']), 'n/a allowed allowed');
  assert.is(
    cell(blocks, 'entity:remote-node', 'default/backend', '80', 'IPv4', ['entity:remote-node']),
    'n/a allowed allowed',
  );
  assert.is(cell(blocks, 'entity:world', 'default/backend', '80', 'IPv4', ['entity:world']), 'n/a denied denied');
  const cidr = bench(
    `${CLUSTER}---\napiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: p}\nspec:\n  endpointSelector: {}\n  egress: [{toCIDR: [0.0.0.0/0]}]\n`,
  );
  assert.is(cell(cidr, 'default/frontend', 'default/backend', '80'), 'denied allowed denied');
  assert.is(cell(cidr, 'default/frontend', 'entity:world', '80', 'IPv4', ['entity:world']), 'allowed n/a allowed');
  assert.is(cell(cidr, 'default/frontend', 'entity:host', '80', 'IPv4', ['entity:host']), 'denied n/a denied');
});

test('a namespace is selected by its name, also where no manifest says that it has that label', () => {
  const policy =
    '---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {namespace: default, name: p}\nspec:\n  podSelector: {}\n  ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: database}}}]}]\n';
  const on = bench(CLUSTER + policy);
  assert.is(cell(on, 'database/postgres', 'default/backend', '80'), 'allowed allowed allowed');
  assert.is(cell(on, 'default/frontend', 'default/backend', '80'), 'allowed denied denied');
});

test('a pod without addresses is judged in both families', () => {
  const on = bench(pod('default', 'new', 'app: frontend', []) + CLUSTER + BACKEND_POLICY);
  assert.is(cell(on, 'default/new', 'default/backend', '8080', 'IPv6'), 'allowed allowed allowed');
  assert.is(cell(on, 'default/new', 'database/postgres', '8080', 'IPv6'), undefined);
});

test('a refused document isolates here as it does in the agent', () => {
  const broken = bench(CLUSTER + BACKEND_POLICY.replace('ports: [{port: "8080", protocol: TCP}]', 'port: "8080"'));
  assert.is(cell(broken, 'default/frontend', 'default/backend', '8080'), 'allowed denied denied');
  assert.is(cell(broken, 'default/backend', 'database/postgres', '5432'), 'denied allowed denied');
  assert.equal(
    broken.documents.map(({ status }) => status),
    ['isolating'],
  );
});

test('without --port: named ports of the pods, and what the policies name', () => {
  const ranges = `${BACKEND_POLICY}---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: ranges}
spec:
  podSelector: {}
  ingress: [{ports: [{port: 1000, endPort: 1999}, {port: metrics}, {protocol: UDP}]}]
`;
  assert.equal(defaultPorts(bench(CLUSTER + ranges)).map(formatPort), [
    '1000/TCP',
    '1999/TCP',
    '5432/TCP',
    '8080/TCP',
    'metrics',
  ]);
  assert.equal(defaultPorts(bench(pod('a', 'b', '', []))).map(formatPort), ['80/TCP']);
});

const WRONG: readonly [ports: readonly string[], peers: readonly string[], message: RegExp][] = [
  [['0'], [], /port: expected a number from 1 to 65535, got "0"/],
  [['70000/UDP'], [], /from 1 to 65535/],
  [['80/TPC'], [], /one of TCP, .* behind the "\/".*did you mean TCP\?/],
  [['HTTP!'], [], /expected a port like 8080/],
  [['256/ICMP'], [], /from 0 to 255/],
  [['EchoRequst/ICMP'], [], /a type of ICMP, .*did you mean EchoRequest\?/],
  [['80'], ['default/backend'], /peer: expected ip:ADDRESS or entity:NAME/],
  [['80'], ['ip:10.0.0.256'], /expected an IP address after "ip:"/],
  [['80'], ['entity:all'], /expected entity:NAME with one of host/],
  [['80'], ['entity:hots'], /did you mean host\?/],
];
for (const [ports, peers, message] of WRONG) {
  test(`${[...ports, ...peers].join(' ')} is refused with what was expected`, () => {
    assert.throws(
      () => entries(guide, ports, peers),
      (error: Error & { code?: string }) => {
        return message.test(error.message) && error.code === 'BAD_REQUEST';
      },
    );
  });
}

test('the table for people: families that agree share one', () => {
  const small = bench(
    CLUSTER.slice(0, CLUSTER.indexOf('---\napiVersion: v1\nkind: Pod\nmetadata: {namespace: database')) +
      BACKEND_POLICY,
  );
  assert.is(
    matrixTables(entries(small, ['8080', '9090'], ['entity:host'])),
    `A cell: what the sender's policies say, then the receiver's. + allowed, x denied, . not judged

8080/TCP IPv4 and IPv6
FROM \\ TO          default/backend   default/frontend   entity:host
default/backend    xx                x+                 x.
default/frontend   ++                ++                 +.
entity:host        .+                .+

9090/TCP IPv4 and IPv6
FROM \\ TO          default/backend   default/frontend   entity:host
default/backend    xx                x+                 x.
default/frontend   +x                ++                 +.
entity:host        .+                .+
`,
  );
});

test.run();
