/** The engine's own promises: what a refused document does, what time does, and what a change may touch. */
import * as assert from 'uvu/assert';
import { NAMESPACE_LABEL } from '../../agent/model/labels.ts';
import { podLabels } from '../../agent/model/pod-labels.ts';
import type { PolicyDelta } from '../../agent/model/verdict.ts';
import { createEngine } from '../../agent/policy/engine.ts';
import { judge } from '../../agent/policy/evaluate.ts';
import { suite } from '../kit/suite.ts';
import { bed, ccnp, cidrGroup, clusterPolicy, cnp, host, netpol, outside, remoteNode } from './policy-documents.ts';

const test = suite('policy: engine');
const app = (name: string) => ({ matchLabels: { app: name } });
const REFUSED = {
  endpointSelector: app('web'),
  ingress: [{ fromEndpoints: [{}], authentication: { mode: 'required' } }],
};

function size(rows: PolicyDelta['set']): Record<string, number> {
  return Object.fromEntries(
    Object.entries(rows).flatMap(([name, list]) => (list.length > 0 ? [[name, list.length]] : [])),
  );
}

test('a refused document without a valid version isolates in the direction it names, and only there', () => {
  const world = bed();
  const [web, near] = [world.pod('web'), world.pod('near')];
  assert.is(world.engine.upsertDocument(cnp(REFUSED)).status, 'isolating');
  assert.is(world.receives(web, near, '80/TCP'), 'denied');
  assert.is(world.sends(web, near, '80/TCP'), 'allowed');
  assert.is(world.receives(near, web, '80/TCP'), 'allowed');
  assert.is(world.receives(web, host, '80/TCP'), 'allowed');
  const policy = world.engine.policyOf(web.subject) ?? 0;
  assert.equal(
    world.engine.policyInfo(policy)?.ingressIsolatedBy.map(({ name }) => name),
    ['policy'],
  );
});

test('a misspelt direction isolates too', () => {
  const world = bed();
  const [web, near] = [world.pod('web'), world.pod('near')];
  assert.is(world.engine.upsertDocument(cnp({ endpointSelector: app('web'), egres: [] })).status, 'isolating');
  assert.is(world.sends(web, near, '80/TCP'), 'denied');
  assert.is(world.receives(web, near, '80/TCP'), 'allowed');
});

test('a refused new version keeps the last valid one in force, also after a restart', () => {
  const world = bed();
  const [web, near, far] = [world.pod('web'), world.pod('near'), world.pod('far')];
  world.apply(cnp({ endpointSelector: app('web'), ingress: [{ fromEndpoints: [app('near')] }] }));
  const { status, problems } = world.engine.upsertDocument(cnp(REFUSED));
  assert.is(status, 'kept-previous');
  assert.is(problems.length, 1);
  assert.is(world.receives(web, near, '80/TCP'), 'allowed');
  assert.is(world.receives(web, far, '80/TCP'), 'denied');

  const after = bed();
  const [web2, near2, far2] = [after.pod('web'), after.pod('near'), after.pod('far')];
  for (const document of world.engine.lastValid()) after.engine.upsertDocument(document);
  assert.is(after.engine.upsertDocument(cnp(REFUSED)).status, 'kept-previous');
  assert.is(after.receives(web2, near2, '80/TCP'), 'allowed');
  assert.is(after.receives(web2, far2, '80/TCP'), 'denied');
  assert.equal(
    after.engine.rows().verdicts.map((row) => row.enforced),
    world.engine.rows().verdicts.map((row) => row.enforced),
  );
});

test('a document whose selector cannot be read is only reported', () => {
  const world = bed();
  const [web, near] = [world.pod('web'), world.pod('near')];
  const { status } = world.engine.upsertDocument(cnp({ endpointSelector: { app: 'web' }, ingress: [] }));
  assert.is(status, 'unreadable');
  assert.is(world.receives(web, near, '80/TCP'), 'allowed');
  assert.equal(world.engine.lastValid(), []);
});

test('refused documents of the other languages isolate as well', () => {
  for (const document of [
    netpol({ podSelector: app('web'), policyTypes: ['Ingress'], ingress: [{ from: [{}] }] }),
    clusterPolicy({ tier: 'Admin', priority: 5000, subject: { pods: { podSelector: app('web') } }, ingress: [] }),
    ccnp({ endpointSelector: app('web'), ingressDeny: [{ fromEntities: ['nobody'] }] }),
  ]) {
    const world = bed();
    const [web, near] = [world.pod('web'), world.pod('near')];
    assert.is(world.engine.upsertDocument(document).status, 'isolating');
    assert.is(world.receives(web, near, '80/TCP'), 'denied', document.ref.kind);
    assert.is(world.sends(web, near, '80/TCP'), 'allowed', document.ref.kind);
  }
});

test('a NetworkPolicy with unreadable policyTypes isolates both ways', () => {
  const world = bed();
  const [web, near] = [world.pod('web'), world.pod('near')];
  assert.is(world.engine.upsertDocument(netpol({ podSelector: {}, policyTypes: ['egress'] })).status, 'isolating');
  assert.is(world.sends(web, near, '80/TCP'), 'denied');
  assert.is(world.receives(web, near, '80/TCP'), 'denied');
});

test('status of documents: problems, the policies that carry them, and since which revision', () => {
  const { engine, pod } = bed();
  const web = pod('web');
  engine.take();
  const before = engine.revision();
  engine.upsertDocument(cnp({ endpointSelector: app('web'), ingress: [] }));
  engine.upsertDocument(cnp(REFUSED, { name: 'other' }));
  assert.equal(
    engine.documents().map(({ revision }) => revision),
    [0, 0],
  );
  engine.take();
  const [valid, refused] = engine.documents();
  assert.is(valid?.revision, before + 1);
  assert.is(engine.revision(), before + 1);
  assert.equal(refused?.policies, [engine.policyOf(web.subject)]);
  assert.is(refused?.status, 'isolating');
  assert.is(refused?.problems[0]?.code, 'unsupported-field');
});

test('nothing asked for, nothing to take, and no new revision', () => {
  const { engine } = bed();
  engine.take();
  const revision = engine.revision();
  assert.is(engine.pending(), false);
  assert.equal(size(engine.take().set), {});
  assert.is(engine.revision(), revision);
});

test('the same document again changes nothing', () => {
  const { engine, pod } = bed();
  const web = pod('web');
  const spec = { endpointSelector: {}, ingress: [{ fromEndpoints: [{}], toPorts: [{ ports: [{ port: '80' }] }] }] };
  engine.upsertDocument(cnp(spec));
  engine.take();
  const policy = engine.policyOf(web.subject);
  engine.upsertDocument(cnp(structuredClone(spec)));
  const { set, remove } = engine.take();
  assert.equal([size(set), size(remove)], [{}, {}]);
  assert.is(engine.policyOf(web.subject), policy);
});

test('a change compiles only the subjects it selects', () => {
  const { engine, pod } = bed();
  const [web, db] = [pod('web'), pod('db')];
  engine.upsertDocument(cnp({ endpointSelector: {}, ingress: [{ fromEndpoints: [{}] }] }, { name: 'all' }));
  engine.take();
  const before = [web, db].map(({ subject }) => engine.policyOf(subject));
  engine.upsertDocument(cnp({ endpointSelector: app('db'), egress: [{ toEndpoints: [{}] }] }, { name: 'db' }));
  const { set, remove } = engine.take();
  assert.is(engine.policyOf(web.subject), before[0]);
  assert.is.not(engine.policyOf(db.subject), before[1]);
  assert.equal(
    set.policies.map(({ id }) => id),
    [engine.policyOf(db.subject)],
  );
  assert.equal(
    remove.policies.map(({ id }) => id),
    [before[1]],
  );
});

test('a new identity is one row per set it is in, and its own', () => {
  const { engine, pod } = bed();
  pod('web');
  const ports = Array.from({ length: 30 }, (_, i) => ({ port: String(1000 + 7 * i) }));
  engine.upsertDocument(
    cnp({ endpointSelector: {}, ingress: [{ fromEndpoints: [app('near')], toPorts: [{ ports }] }] }),
  );
  engine.upsertIdentity(
    900,
    new Map([
      [NAMESPACE_LABEL, 'default'],
      ['k8s:app', 'near'],
    ]),
  );
  engine.take();
  engine.upsertIdentity(
    901,
    new Map([
      [NAMESPACE_LABEL, 'default'],
      ['k8s:app', 'near'],
    ]),
  );
  const { set, remove } = engine.take();
  assert.equal([size(set), size(remove)], [{ identityClasses: 1, identities: 1 }, {}]);
  engine.removeIdentity(901);
  const gone = engine.take();
  assert.equal([size(gone.set), size(gone.remove)], [{}, { identityClasses: 1, identities: 1 }]);
});

test('the first identity of a class brings the class’s verdicts in the same delta, the last one takes them away', () => {
  const { engine, pod } = bed();
  pod('web');
  const toPorts = [{ ports: [{ port: '80', protocol: 'TCP' }] }];
  engine.upsertDocument(cnp({ endpointSelector: app('web'), ingress: [{ fromEndpoints: [app('near')], toPorts }] }));
  engine.take();
  engine.upsertIdentity(
    901,
    new Map([
      [NAMESPACE_LABEL, 'default'],
      ['k8s:app', 'near'],
    ]),
  );
  const come = engine.take();
  assert.equal(size(come.set), { verdicts: 1, identityClasses: 1, identities: 1 });
  assert.is(come.set.verdicts[0]?.classId, come.set.identityClasses[0]?.classId);
  engine.removeIdentity(901);
  assert.equal(size(engine.take().remove), { verdicts: 1, identityClasses: 1, identities: 1 });
});

test('subjects with the same identity and named ports share a policy; others do not; the last one leaves nothing', () => {
  const engine = createEngine();
  const labels = new Map([[NAMESPACE_LABEL, 'default']]);
  const http = { name: 'http', protocol: 'TCP', port: 80 } as const;
  const dns = { name: 'dns', protocol: 'UDP', port: 53 } as const;
  engine.upsertDocument(
    cnp({ endpointSelector: {}, ingress: [{ fromCIDR: ['10.0.0.0/8'], toPorts: [{ ports: [{ port: 'http' }] }] }] }),
  );
  const a = engine.addSubject({ identity: 300, labels, namedPorts: [http, dns] });
  const b = engine.addSubject({ identity: 300, labels, namedPorts: [dns, http] });
  const c = engine.addSubject({ identity: 300, labels, namedPorts: [dns] });
  engine.take();
  assert.is(a, b);
  assert.is.not(engine.policyOf(a), engine.policyOf(c));
  engine.removeSubject(a);
  engine.removeSubject(c);
  engine.take();
  assert.is.not(engine.policyOf(b), undefined);
  engine.removeSubject(b);
  engine.take();
  const { identities, ...rest } = engine.rows();
  assert.equal(size({ ...rest, identities: [] }), {});
  assert.ok(identities.length > 0);
});

test('policies and sets that share selectors or CIDR lists share their tables', () => {
  const { engine, pod } = bed();
  for (const name of ['a', 'b', 'c']) pod(name);
  engine.upsertDocument(cnp({ endpointSelector: {}, egress: [{ toCIDR: ['10.0.0.0/8'] }, { toEndpoints: [{}] }] }));
  engine.take();
  const rows = engine.rows();
  assert.is(new Set(rows.policies.map(({ egress }) => egress.selectorSet)).size, 1);
  assert.is(new Set(rows.policies.map(({ egress }) => egress.addressSet)).size, 1);
  assert.is(rows.addressClasses.length, 1);
});

test('numbers start where they are told to, and are not used twice', () => {
  const engine = createEngine({ firstPolicy: 1000, firstSet: 50 });
  const key = engine.addSubject({ identity: 300, labels: new Map([[NAMESPACE_LABEL, 'default']]), namedPorts: [] });
  const seen = new Set<number>();
  for (let i = 0; i < 5; i++) {
    engine.upsertDocument(cnp({ endpointSelector: {}, ingress: [{ fromEndpoints: [app(`web${i}`)] }] }));
    engine.take();
    const policy = engine.policyOf(key) ?? 0;
    assert.ok(policy >= 1000 && !seen.has(policy));
    seen.add(policy);
    const set = engine.rows().policies[0]?.ingress.selectorSet ?? 0;
    assert.ok(set >= 50 && !seen.has(set));
    seen.add(set);
  }
});

test('an identity the engine does not know is dropped where it could matter, not where nothing isolates', () => {
  const world = bed();
  const [web, near] = [world.pod('web'), world.pod('near')];
  world.apply(cnp({ endpointSelector: app('web'), ingress: [{ fromEndpoints: [{}] }] }));
  const stranger = { ...near, identity: 4000 };
  assert.is(world.answer(web.subject, 'ingress', stranger, '80/TCP').reason, 'identity-unknown');
  assert.is(world.answer(web.subject, 'egress', stranger, '80/TCP').reason, 'default-allow');
  world.apply(
    cnp({
      endpointSelector: app('web'),
      ingressDeny: [{ fromEndpoints: [app('evil')] }],
      enableDefaultDeny: { ingress: false },
    }),
  );
  assert.is(world.answer(web.subject, 'ingress', stranger, '80/TCP').reason, 'identity-unknown');
});

test('no policy and the lockdown policy deny everything', () => {
  const rows = createEngine().rows();
  const peer = { ...host };
  for (const policy of [0, 1, 4711]) {
    assert.is(judge(rows, { policy, direction: 'ingress', peer, protocol: 6, port: 80 }).reason, 'no-policy');
  }
});

test('enforcement modes: always isolates everybody but for the own node, never opens everything', () => {
  const always = bed({ enforcement: 'always' });
  const [web, near] = [always.pod('web'), always.pod('near')];
  assert.is(always.receives(web, near, '80/TCP'), 'denied');
  assert.is(always.receives(web, host, '80/TCP'), 'allowed');
  assert.is(always.sends(web, near, '80/TCP'), 'denied');
  const never = bed({ enforcement: 'never' });
  const [web2, near2] = [never.pod('web'), never.pod('near')];
  never.apply(cnp({ endpointSelector: {}, ingress: [{}], egressDeny: [{ toEntities: ['all'] }] }));
  assert.is(never.receives(web2, near2, '80/TCP'), 'allowed');
  assert.is(never.sends(web2, near2, '80/TCP'), 'allowed');
});

test('an endpoint whose labels are not known yet (init) is isolated, but can be allowed for by a clusterwide policy', () => {
  const world = bed();
  const near = world.pod('near');
  const init = {
    subject: world.engine.addSubject({ identity: 5, labels: new Map([['reserved:init', '']]), namedPorts: [] }),
  };
  assert.is(world.receives(init, near, '80/TCP'), 'denied');
  assert.is(world.sends(init, near, '80/TCP'), 'denied');
  assert.is(world.receives(init, host, '80/TCP'), 'allowed');
  world.apply(ccnp({ endpointSelector: { matchLabels: { 'reserved:init': '' } }, egress: [{ toEntities: ['all'] }] }));
  assert.is(world.sends(init, near, '80/TCP'), 'allowed');
});

test('enableDefaultDeny false adds without isolating, and leaves other policies’ isolation', () => {
  const world = bed();
  const [web, near, far] = [world.pod('web'), world.pod('near'), world.pod('far')];
  const ingress = [{ fromEndpoints: [app('near')] }];
  world.apply(cnp({ endpointSelector: {}, ingress, enableDefaultDeny: { ingress: false } }, { name: 'adds' }));
  assert.is(world.receives(web, far, '80/TCP'), 'allowed');
  world.apply(cnp({ endpointSelector: {}, ingress: [{}] }, { name: 'isolates' }));
  assert.is(world.receives(web, far, '80/TCP'), 'denied');
  assert.is(world.receives(web, near, '80/TCP'), 'allowed');
});

test('audited policies change no verdict and show what they would change, both ways', () => {
  const world = bed();
  const [web, near, far] = [world.pod('web'), world.pod('near'), world.pod('far')];
  const audit = { annotations: { 'weir.dev/audit': 'true' } };
  world.apply(cnp({ endpointSelector: app('web'), ingress: [{ fromEndpoints: [app('near')] }] }));
  world.apply(
    cnp(
      {
        endpointSelector: app('web'),
        ingress: [{ fromEndpoints: [app('far')] }],
        ingressDeny: [{ fromEndpoints: [app('near')] }],
      },
      { ...audit, name: 'try' },
    ),
  );
  const verdicts = (peer: typeof near, audited: boolean): string =>
    world.answer(web.subject, 'ingress', peer, '80/TCP', audited).verdict;
  assert.equal([verdicts(near, false), verdicts(near, true)], ['allowed', 'denied']);
  assert.equal([verdicts(far, false), verdicts(far, true)], ['denied', 'allowed']);
  assert.is(
    world.engine.rows().policies.find(({ id }) => id === world.engine.policyOf(web.subject))?.ingress.hasAudit,
    true,
  );
  const { rule = 0 } = world.answer(web.subject, 'ingress', near, '80/TCP', true);
  assert.is(world.engine.rule(rule)?.audit, true);
});

test('audit-until and expires-at take effect when the time is given, and nextDeadline says when that is', () => {
  const noon = Date.parse('2026-06-01T12:00:00Z');
  const world = bed({ now: noon });
  const [web, near] = [world.pod('web'), world.pod('near')];
  const until = { 'weir.dev/audit': 'true', 'weir.dev/audit-until': '2026-06-01T13:00:00Z' };
  const expires = { 'weir.dev/expires-at': '2026-06-01T14:00:00Z' };
  world.apply(cnp({ endpointSelector: app('web'), ingress: [{}] }, { name: 'audit', annotations: until }));
  world.apply(
    cnp(
      { endpointSelector: app('web'), ingress: [{ fromEndpoints: [{}] }], egressDeny: [{ toEntities: ['all'] }] },
      { name: 'expires', annotations: expires },
    ),
  );
  const isolatedBy = (): string[] | undefined =>
    world.engine.policyInfo(world.engine.policyOf(web.subject) ?? 0)?.ingressIsolatedBy.map(({ name }) => name);
  assert.is(world.receives(web, near, '80/TCP'), 'allowed');
  assert.equal(isolatedBy(), ['expires']);
  assert.is(world.engine.nextDeadline(), noon + 3_600_000);
  assert.equal(
    world.engine.documents().map(({ rules }) => rules[0]?.audit),
    [true, false],
  );
  world.engine.setNow(noon + 3_600_000);
  assert.is(world.receives(web, near, '80/TCP'), 'allowed');
  assert.equal(isolatedBy()?.sort(), ['audit', 'expires']);
  assert.is(world.engine.nextDeadline(), noon + 7_200_000);
  assert.equal(
    world.engine.documents().map(({ rules }) => rules[0]?.audit),
    [false, false],
  );
  world.engine.setNow(noon + 7_200_000);
  assert.is(world.receives(web, near, '80/TCP'), 'denied');
  assert.is(world.sends(web, near, '80/TCP'), 'denied');
  assert.equal(
    world.engine.documents().map(({ audited, expired }) => [audited, expired]),
    [
      [false, false],
      [false, true],
    ],
  );
  assert.is(world.engine.nextDeadline(), undefined);
});

test('tiers: Admin before Normal before Baseline; Pass leaves the tier; lower priority and earlier rule go first', () => {
  const world = bed();
  const [web, a, b, c, d] = ['web', 'a', 'b', 'c', 'd'].map((name) => world.pod(name));
  if (!web || !a || !b || !c || !d) throw new Error('five pods were made');
  const subject = { pods: { namespaceSelector: {}, podSelector: app('web') } };
  const from = (name: string) => [{ pods: { podSelector: app(name) } }];
  const admin = (priority: number, ingress: unknown[]) => ({ tier: 'Admin', priority, subject, ingress });
  world.apply(
    clusterPolicy(
      admin(5, [
        { action: 'Deny', from: from('a') },
        { action: 'Accept', from: from('a') },
        { action: 'Pass', from: from('b') },
      ]),
      'first',
    ),
  );
  world.apply(
    clusterPolicy(
      admin(6, [
        { action: 'Accept', from: from('a') },
        { action: 'Deny', from: from('b') },
        { action: 'Accept', from: from('c') },
      ]),
      'second',
    ),
  );
  world.apply(
    clusterPolicy(
      { tier: 'Baseline', priority: 1, subject, ingress: [{ action: 'Deny', from: [{ namespaces: {} }] }] },
      'third',
    ),
  );
  const outcome = () => [a, b, c, d].map((peer) => world.receives(web, peer, '80/TCP'));
  assert.equal(outcome(), ['denied', 'denied', 'allowed', 'denied']);
  assert.is(world.answer(web.subject, 'ingress', b, '80/TCP').tier, 'baseline');
  // A NetworkPolicy closes the Normal tier: the baseline is not asked any more.
  world.apply(netpol({ podSelector: app('web'), ingress: [{ from: [{ podSelector: app('b') }] }] }));
  assert.equal(outcome(), ['denied', 'allowed', 'allowed', 'denied']);
  assert.is(world.answer(web.subject, 'ingress', d, '80/TCP').reason, 'default-deny');
});

test('kube-probes survive a baseline that denies everything', () => {
  const world = bed();
  const web = world.pod('web');
  world.apply(cnp({ endpointSelector: {}, ingress: [{}] }));
  world.apply(
    clusterPolicy({
      tier: 'Baseline',
      priority: 1,
      subject: { namespaces: {} },
      ingress: [{ action: 'Deny', from: [{ namespaces: {} }] }],
    }),
  );
  assert.is(world.receives(web, host, '80/TCP'), 'allowed');
  const strict = bed({ allowLocalHost: false });
  const alone = strict.pod('web');
  strict.apply(cnp({ endpointSelector: {}, ingress: [{}] }));
  assert.is(strict.receives(alone, host, '80/TCP'), 'denied');
});

test('CIDR groups: by name and label; changed, emptied and deleted ones follow', () => {
  const world = bed();
  const web = world.pod('web');
  const far = outside('203.0.113.7');
  world.apply(cnp({ endpointSelector: {}, egress: [{ toCIDRSet: [{ cidrGroupRef: 'partners' }] }] }));
  assert.is(world.sends(web, far, '80/TCP'), 'denied');
  world.apply(cidrGroup('partners', ['203.0.113.0/24']));
  assert.is(world.sends(web, far, '80/TCP'), 'allowed');
  world.engine.upsertDocument(cidrGroup('partners', ['nonsense']));
  assert.is(world.sends(web, far, '80/TCP'), 'allowed');
  world.apply(cidrGroup('partners', []));
  assert.is(world.sends(web, far, '80/TCP'), 'denied');
  world.apply(cidrGroup('partners', ['203.0.113.7']));
  assert.is(world.sends(web, far, '80/TCP'), 'allowed');
  world.engine.removeDocument(cidrGroup('partners', []).ref);
  assert.is(world.sends(web, far, '80/TCP'), 'denied');
});

test('nodes as peers follow their labels', () => {
  const world = bed();
  const web = world.pod('web');
  world.apply(cnp({ endpointSelector: {}, egress: [{ toNodes: [{ matchLabels: { zone: 'east' } }] }] }));
  const node = { name: 'n2', addresses: [remoteNode.address], podCidrs: [] };
  world.engine.upsertNode({ ...node, labels: { zone: 'west' } });
  assert.is(world.sends(web, remoteNode, '80/TCP'), 'denied');
  world.engine.upsertNode({ ...node, labels: { zone: 'east' } });
  assert.is(world.sends(web, remoteNode, '80/TCP'), 'allowed');
  world.engine.removeNode('n2');
  assert.is(world.sends(web, remoteNode, '80/TCP'), 'denied');
});

test('no selector escapes its namespace (CVE-2023-41333): exclusion of a reserved label does not widen it', () => {
  const world = bed();
  const [web, far] = [world.pod('web'), world.pod('other/far')];
  for (const operator of ['DoesNotExist', 'NotIn']) {
    const values = operator === 'NotIn' ? { values: ['x'] } : {};
    for (const key of ['reserved:host', 'reserved:init', 'k8s:io.kubernetes.pod.namespace', 'reserved:any']) {
      const peer = { matchExpressions: [{ key, operator, ...values }] };
      world.apply(cnp({ endpointSelector: app('web'), ingress: [{ fromEndpoints: [peer] }] }));
      const open = operator === 'NotIn' && key.startsWith('k8s:');
      assert.is(world.receives(web, far, '80/TCP'), open ? 'allowed' : 'denied', `${key} ${operator}`);
      assert.is(world.receives(web, outside('203.0.113.1'), '80/TCP'), 'denied', `${key} ${operator}`);
    }
  }
});

test('a subject selector in a namespaced policy never selects pods of another', () => {
  const world = bed();
  const [far, near] = [world.pod('other/far'), world.pod('near')];
  for (const endpointSelector of [
    {},
    { matchLabels: { 'k8s:io.kubernetes.pod.namespace': 'other' } },
    { matchExpressions: [{ key: 'io.kubernetes.pod.namespace', operator: 'In', values: ['other'] }] },
    { matchExpressions: [{ key: 'reserved:host', operator: 'DoesNotExist' }] },
  ]) {
    world.apply(cnp({ endpointSelector, ingress: [{}] }));
    assert.is(world.receives(far, near, '80/TCP'), 'allowed');
  }
});

const DB = { namespace: 'default', labels: { app: 'db' }, serviceAccount: 'default' };
test('two pods of one identity that give a name to different ports: egress by that name opens both', () => {
  const world = bed();
  const web = world.pod('web');
  const db = world.pod('db');
  const ports = [80, 8080].map((port) => ({ name: 'http', protocol: 'TCP' as const, port }));
  world.engine.setNamedPorts(db.identity, ports);
  world.apply(
    cnp({
      endpointSelector: app('web'),
      egress: [{ toEndpoints: [app('db')], toPorts: [{ ports: [{ port: 'http', protocol: 'TCP' }] }] }],
    }),
  );
  assert.equal(
    ['80/TCP', '8080/TCP', '81/TCP'].map((what) => world.sends(web, db, what)),
    ['allowed', 'allowed', 'denied'],
  );
  // Its object was removed and made again while its pods went on: the ports are theirs.
  world.engine.removeIdentity(db.identity);
  world.engine.take();
  world.engine.upsertIdentity(db.identity, podLabels(DB, { name: 'default', labels: {} }, { clusterName: 'default' }));
  assert.is(world.sends(web, db, '8080/TCP'), 'allowed');
});

test('rules and policies can be named after they are gone', () => {
  const { engine, pod } = bed();
  const web = pod('web');
  engine.upsertDocument(cnp({ endpointSelector: {}, log: { value: 'tag' }, ingress: [{ fromEndpoints: [{}] }] }));
  engine.take();
  const policy = engine.policyOf(web.subject) ?? 0;
  const rule =
    engine.rows().verdicts.find((row) => row.policy === policy && row.enforced[1]?.precedence === 2)?.enforced[1]
      ?.rule ?? 0;
  engine.removeDocument(cnp({}).ref);
  engine.take();
  const info = engine.rule(rule);
  assert.is(info?.description, 'ingress[0] of CiliumNetworkPolicy default/policy');
  assert.equal(
    [info?.place, info?.line, info?.log, info?.tier, info?.action],
    ['policy.yaml', 13, 'tag', 'normal', 'allow'],
  );
  assert.equal(engine.policyInfo(policy)?.subject, web.subject);
});

test('classInfo says in words who a class is', () => {
  const { engine, pod } = bed();
  const web = pod('web');
  engine.upsertDocument(
    cnp({
      endpointSelector: {},
      egress: [
        { toEndpoints: [app('web')] },
        { toCIDRSet: [{ cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] }] },
        { toPorts: [{ ports: [{ port: '53' }] }] },
      ],
    }),
  );
  engine.take();
  const policy = engine.policyOf(web.subject) ?? 0;
  const classes = [
    ...new Set(
      engine
        .rows()
        .verdicts.filter((row) => row.policy === policy && row.direction === 'egress')
        .map(({ classId }) => classId),
    ),
  ];
  assert.equal(
    classes.map((id) => engine.classInfo(policy, 'egress', id)),
    [
      ['everybody'],
      ['any:app="web",k8s:io.kubernetes.pod.namespace="default"'],
      ['10.0.0.0/8 except 10.1.0.0/16 (outside)'],
    ],
  );
});

test('an identity that goes and comes back before the next take() keeps its class', () => {
  const engine = createEngine();
  const labels = new Map([
    ['k8s:app', 'foe'],
    [NAMESPACE_LABEL, 'default'],
  ]);
  engine.upsertDocument(
    cnp({
      endpointSelector: {},
      ingress: [{ fromEntities: ['all'] }],
      ingressDeny: [{ fromEndpoints: [{ matchLabels: { app: 'foe' } }] }],
    }),
  );
  engine.upsertIdentity(300, labels);
  engine.addSubject({ identity: 300, labels, namedPorts: [] });
  engine.take();
  engine.removeIdentity(300);
  engine.upsertIdentity(300, labels);
  assert.equal(engine.take().set.identityClasses, []);
  engine.removeIdentity(300);
  assert.ok(engine.pending());
  assert.equal(engine.take().remove.identities, [300], 'and one that does not come back goes');
});

test.run();
