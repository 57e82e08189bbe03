/** The cases of reference/policy-language.md, B7: each has burnt somebody. Numbers are the table's. */
import * as assert from 'uvu/assert';
import { suite } from '../kit/suite.ts';
import { bed, ccnp, cnp, host, netpol, outside, remoteNode } from './policy-documents.ts';

const test = suite('policy: the cases of B7');
const app = (name: string) => ({ matchLabels: { app: name } });
const tcp = (port: string) => ({ toPorts: [{ ports: [{ port, protocol: 'TCP' }] }] });

test('1: fromEndpoints [{}] means the pods of the own namespace only', () => {
  const world = bed();
  const [web, near, far] = [world.pod('web'), world.pod('near'), world.pod('other/far')];
  world.apply(cnp({ endpointSelector: app('web'), ingress: [{ fromEndpoints: [{}] }] }));
  assert.is(world.receives(web, near, '80/TCP'), 'allowed');
  assert.is(world.receives(web, far, '80/TCP'), 'denied');
  assert.is(world.receives(web, outside('203.0.113.1'), '80/TCP'), 'denied');
  assert.is(world.receives(web, remoteNode, '80/TCP'), 'denied');
});

test('2: in a clusterwide policy it means the pods of all namespaces', () => {
  const world = bed();
  const [web, near, far] = [world.pod('web'), world.pod('near'), world.pod('other/far')];
  world.apply(ccnp({ endpointSelector: app('web'), ingress: [{ fromEndpoints: [{}] }] }));
  assert.is(world.receives(web, near, '80/TCP'), 'allowed');
  assert.is(world.receives(web, far, '80/TCP'), 'allowed');
  assert.is(world.receives(web, outside('203.0.113.1'), '80/TCP'), 'denied');
  assert.is(world.receives(web, remoteNode, '80/TCP'), 'denied');
});

test('3: an empty fromEndpoints selects nobody, an absent one everybody', () => {
  for (const [peers, expected] of [
    [{ fromEndpoints: [] }, 'denied'],
    [{ fromCIDR: [] }, 'denied'],
    [{}, 'allowed'],
  ] as const) {
    const world = bed();
    const [web, near] = [world.pod('web'), world.pod('near')];
    world.apply(cnp({ endpointSelector: app('web'), ingress: [{ ...peers, ...tcp('80') }] }));
    assert.is(world.receives(web, near, '80/TCP'), expected, JSON.stringify(peers));
    assert.is(world.receives(web, outside('2001:db8::1'), '80/TCP'), expected, JSON.stringify(peers));
  }
});

test('4 and 5: toCIDR 0.0.0.0/0 matches neither pods nor nodes', () => {
  const world = bed();
  const [web, db] = [world.pod('web'), world.pod('db')];
  world.apply(cnp({ endpointSelector: app('web'), egress: [{ toCIDR: ['0.0.0.0/0', '192.168.0.2/32'] }] }));
  assert.is(world.sends(web, outside('203.0.113.1'), '80/TCP'), 'allowed');
  assert.is(world.sends(web, db, '80/TCP'), 'denied');
  assert.is(world.sends(web, remoteNode, '80/TCP'), 'denied');
});

test('5: with policyCIDRMatchMode nodes it matches nodes', () => {
  const world = bed({ cidrMatchesNodes: true });
  const web = world.pod('web');
  world.apply(cnp({ endpointSelector: app('web'), egress: [{ toCIDR: ['192.168.0.2/32'] }] }));
  assert.is(world.sends(web, remoteNode, '80/TCP'), 'allowed');
});

test('6: toServices with toPorts means the port of the backend, not the Service', () => {
  const world = bed();
  const [web, db] = [world.pod('web'), world.pod('db')];
  const ports = [{ name: '', protocol: 'TCP' as const, port: 80, targetPort: 5432 }];
  world.engine.upsertService({
    namespace: 'default',
    name: 'db',
    labels: {},
    selector: { app: 'db' },
    clusterIps: [],
    affinitySeconds: 0,
    localOnly: false,
    ports,
  });
  const toServices = [{ k8sService: { serviceName: 'db', namespace: 'default' } }];
  world.apply(cnp({ endpointSelector: app('web'), egress: [{ toServices, ...tcp('5432') }] }));
  assert.is(world.sends(web, db, '5432/TCP'), 'allowed');
  assert.is(world.sends(web, db, '80/TCP'), 'denied');
});

test('toServices of a Service without a selector means its endpoints, but no pods among them', () => {
  const world = bed();
  const [web, db] = [world.pod('web'), world.pod('db')];
  const service = { namespace: 'default', name: 'out', labels: {}, selector: undefined, clusterIps: [], ports: [] };
  world.engine.upsertService({ ...service, affinitySeconds: 0, localOnly: false });
  const toServices = [{ k8sService: { serviceName: 'out', namespace: 'default' } }];
  world.apply(cnp({ endpointSelector: app('web'), egress: [{ toServices }] }));
  assert.is(world.sends(web, remoteNode, '443/TCP'), 'denied');
  const [pod] = [db.address];
  world.engine.setServiceAddresses('default', 'out', [remoteNode.address, outside('203.0.113.9').address, pod]);
  assert.is(world.sends(web, remoteNode, '443/TCP'), 'allowed');
  assert.is(world.sends(web, outside('203.0.113.9'), '443/TCP'), 'allowed');
  assert.is(world.sends(web, db, '443/TCP'), 'denied');
  world.engine.setServiceAddresses('default', 'out', []);
  assert.is(world.sends(web, remoteNode, '443/TCP'), 'denied');
});

test('7, 9, 10, 17: what needs a proxy is refused by name and isolates', () => {
  for (const [field, direction, rule] of [
    [
      'rules',
      'ingress',
      { toPorts: [{ ports: [{ port: '80', protocol: 'TCP' }], rules: { http: [{ path: '/public' }] } }] },
    ],
    ['toFQDNs', 'egress', { toFQDNs: [{ matchPattern: '*.example.com' }] }],
    ['rules', 'egress', { toPorts: [{ ports: [{ port: '53' }], rules: { dns: [{}] } }] }],
  ] as const) {
    const world = bed();
    const [web, near] = [world.pod('web'), world.pod('near')];
    const { status, problems } = world.engine.upsertDocument(
      cnp({ endpointSelector: app('web'), [direction]: [rule] }),
    );
    assert.is(status, 'isolating');
    assert.match(problems[0]?.message ?? '', new RegExp(`${field} is not supported yet$`));
    assert.is(
      direction === 'ingress' ? world.receives(web, near, '80/TCP') : world.sends(web, near, '80/TCP'),
      'denied',
    );
  }
});

test('8: a deny wins over an allow, whatever the specificity and the kind of policy', () => {
  const world = bed();
  const web = world.pod('web');
  const far = outside('10.1.2.3');
  world.apply(
    cnp({
      endpointSelector: app('web'),
      egress: [{ toCIDR: ['10.1.2.3/32'] }],
      egressDeny: [{ toCIDR: ['10.0.0.0/8'] }],
    }),
  );
  world.apply(
    netpol({ podSelector: {}, policyTypes: ['Egress'], egress: [{ to: [{ ipBlock: { cidr: '10.1.2.0/24' } }] }] }),
  );
  assert.is(world.sends(web, far, '80/TCP'), 'denied');
  const { rule = 0 } = world.answer(web.subject, 'egress', far, '80/TCP');
  assert.is(world.engine.rule(rule)?.description, 'egressDeny[0] of CiliumNetworkPolicy default/policy');
});

test('11: default deny on egress without a DNS rule stops DNS', () => {
  const world = bed();
  const [web, dns] = [world.pod('web'), world.pod('kube-system/dns')];
  world.apply(cnp({ endpointSelector: app('web'), egress: [{ toEndpoints: [app('db')] }] }));
  assert.is(world.sends(web, dns, '53/UDP'), 'denied');
});

test('12: a rule with ports does not let ICMP through, one without does', () => {
  const world = bed();
  const [web, near] = [world.pod('web'), world.pod('near')];
  world.apply(cnp({ endpointSelector: app('web'), ingress: [{ fromEndpoints: [{}], ...tcp('0') }] }));
  assert.is(world.receives(web, near, '65535/TCP'), 'allowed');
  assert.is(world.receives(web, near, 'EchoRequest'), 'denied');
  world.apply(cnp({ endpointSelector: app('web'), ingress: [{ fromEndpoints: [{}] }] }));
  assert.is(world.receives(web, near, 'EchoRequest'), 'allowed');
});

test('13 and 14: nodes are entities, never pod labels; the own node reaches its pods without a rule', () => {
  const world = bed();
  const web = world.pod('web');
  world.apply(
    cnp({ endpointSelector: app('web'), ingress: [{ fromEndpoints: [{}] }], egress: [{ toEntities: ['host'] }] }),
  );
  assert.is(world.receives(web, remoteNode, '80/TCP'), 'denied');
  assert.is(world.receives(web, host, '80/TCP'), 'allowed');
  assert.is(world.sends(web, host, '80/TCP'), 'allowed');
  assert.is(world.sends(web, remoteNode, '80/TCP'), 'denied');
  world.apply(cnp({ endpointSelector: app('web'), ingressDeny: [{ fromEntities: ['host'] }] }));
  assert.is(world.receives(web, host, '80/TCP'), 'denied');
});

test('15: a port name the pod does not have adds nothing and is no error', () => {
  const world = bed();
  const http = { name: 'http', protocol: 'TCP', port: 8080 } as const;
  const [web, bare] = [world.pod('web', {}, [http]), world.pod('bare')];
  world.apply(cnp({ endpointSelector: {}, ingress: [tcp('http')], egress: [tcp('http')] }));
  assert.is(world.receives(web, bare, '8080/TCP'), 'allowed');
  assert.is(world.receives(web, bare, '8081/TCP'), 'denied');
  assert.is(world.receives(bare, web, '8080/TCP'), 'denied');
  assert.is(world.sends(bare, web, '8080/TCP'), 'allowed');
  assert.is(world.sends(web, bare, '8080/TCP'), 'denied');
});

test('16 and 21: what changes is a new policy, so that running connections can be judged again', () => {
  const world = bed();
  const [web, near] = [world.pod('web'), world.pod('near')];
  world.apply(cnp({ endpointSelector: app('web'), ingress: [{ fromEndpoints: [app('near')] }] }));
  assert.is(world.receives(web, near, '80/TCP'), 'allowed');
  const before = world.engine.policyOf(web.subject);
  world.apply(cnp({ endpointSelector: app('web'), ingress: [{ fromEndpoints: [app('far')] }] }));
  assert.is(world.receives(web, near, '80/TCP'), 'denied');
  assert.is.not(world.engine.policyOf(web.subject), before);
});

test('18: NetworkPolicy with policyTypes Egress and no rules denies all egress and leaves ingress alone', () => {
  const world = bed();
  const [web, near] = [world.pod('web'), world.pod('near')];
  world.apply(netpol({ podSelector: {}, policyTypes: ['Egress'] }));
  assert.is(world.sends(web, near, '80/TCP'), 'denied');
  assert.is(world.receives(web, near, '80/TCP'), 'allowed');
});

test('19: without a protocol a NetworkPolicy port is TCP, a Cilium port TCP, UDP and SCTP', () => {
  for (const [document, expected] of [
    [netpol({ podSelector: {}, ingress: [{ ports: [{ port: 80 }] }] }), ['allowed', 'denied', 'denied']],
    [
      cnp({ endpointSelector: {}, ingress: [{ toPorts: [{ ports: [{ port: '80' }] }] }] }),
      ['allowed', 'allowed', 'allowed'],
    ],
  ] as const) {
    const world = bed();
    const [web, near] = [world.pod('web'), world.pod('near')];
    world.apply(document);
    assert.equal(
      ['80/TCP', '80/UDP', '80/SCTP'].map((what) => world.receives(web, near, what)),
      expected,
    );
    assert.is(world.receives(web, near, 'GRE'), 'denied');
  }
});

test('20: toServices that names no existing Service selects nobody, and everybody is not nobody', () => {
  const world = bed();
  const [web, db] = [world.pod('web'), world.pod('db')];
  const toServices = [{ k8sService: { serviceName: 'gone', namespace: 'default' } }];
  world.apply(
    cnp({ endpointSelector: app('web'), egress: [{ toServices, ...tcp('80') }], egressDeny: [{ toServices }] }),
  );
  assert.is(world.sends(web, db, '80/TCP'), 'denied');
  assert.is(world.answer(web.subject, 'egress', db, '80/TCP').reason, 'default-deny');
  assert.is(world.sends(web, outside('203.0.113.1'), '80/TCP'), 'denied');
});

test.run();
