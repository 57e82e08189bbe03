/** Policies by kubectl on a real cluster: the guide's truth table across nodes, by address and by name, and what refused documents do. */
import * as assert from 'uvu/assert';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';
import { CONTROL_PLANE, DNS_SERVICE } from './addresses.ts';
import { type Cluster, clusterName } from './cluster.ts';
import { GuideOnCluster } from './guide.ts';
import { connect } from './pods.ts';
import { cilium, DNS_ALLOWED, guidePolicies } from './policy-documents.ts';
import { agentPod, NAMESPACE, startWeirCluster } from './weir.ts';

const documents = await guidePolicies();
const KINDS = Object.keys(documents) as (keyof typeof documents)[];

for (const routingMode of ['tunnel', 'native'] as const) {
  const test = privileged(suite(`policy, ${routingMode}`), 'root', 'kubernetes', 'etcd', 'containerd', 'image');
  let cluster: Cluster;
  let guide: GuideOnCluster;

  /** Waits until every attempt comes out as `expected` says, and then once more: it stays so. */
  const comesTrue = async (what: string, expected?: Parameters<GuideOnCluster['wrong']>[0]) => {
    let wrong: string[] = [];
    const ask = async () => {
      wrong = await guide.wrong(expected);
      return wrong.length === 0;
    };
    await until(ask, { what, timeoutMs: 15_000, detail: () => wrong.join('\n') });
    assert.equal(await guide.wrong(expected), [], what);
  };
  const everything = () => true;
  const describe = async (kind: string, name: string) => cluster.kubectl('describe', kind, name);

  test.before(async () => {
    cluster = await startWeirCluster({ name: clusterName('policy'), nodes: 2, routingMode });
    guide = await GuideOnCluster.start(cluster);
  });
  test.after(async () => {
    await guide?.close();
    await cluster?.down();
  });

  test.before.each(async () => {
    await cluster.kubectl('delete', KINDS.join(','), '--all', '--all-namespaces');
  });

  test('without a policy everything passes, by address and by name', async () => {
    await comesTrue('no policy', everything);
    assert.equal(await guide.wrongByName(everything), []);
  });

  for (const kind of routingMode === 'tunnel' ? KINDS : KINDS.slice(0, 1))
    test(`the guide's intent as ${kind}: its truth table, and everything again when it is deleted`, async () => {
      await cluster.apply(documents[kind]);
      await comesTrue(`the truth table by ${kind}`);
      await cluster.kubectl('delete', kind, 'backend-policy');
      await comesTrue(`no ${kind}`, everything);
    });

  test('by the names of Services: backend asks DNS in vain until that is allowed, and then the same table', async () => {
    await cluster.apply(documents.CiliumNetworkPolicy);
    // A resolver that nobody answers takes minutes to say so: its port tells sooner.
    const dns = () => connect(cluster, 'backend', DNS_SERVICE.v4, 53);
    await until(async () => (await dns()) === 'TIMEOUT', { what: 'backend to be cut off from DNS' });
    await cluster.apply(DNS_ALLOWED);
    await until(async () => (await dns()) === 'ok', { what: 'DNS to be reached' });
    assert.equal(await guide.wrongByName(), []);
    assert.equal(await guide.wrong(), []);
  });

  if (routingMode === 'native') {
    test.run();
    continue;
  }

  test("the guide's original policy is refused by kubectl apply with the field's name", async () => {
    const { code, stderr } = await cluster.tryKubectl('apply', '-f', 'test/fixtures/seed/cilium-backend-policy.yaml');
    assert.is.not(code, 0);
    assert.match(stderr, /toPorts\[0\]\.port/);
    assert.equal(await guide.wrong(everything), [], 'nothing of it is in force');
  });

  test('weir observe says which rule let a connection through, and who isolated what was dropped', async () => {
    await cluster.apply(documents.CiliumNetworkPolicy);
    await comesTrue('the truth table');
    const observe = async (node: string, ...flags: string[]) =>
      cluster.kubectl(
        '-n',
        NAMESPACE,
        'exec',
        await agentPod(cluster, node),
        '--',
        'weir',
        'observe',
        '--last',
        '1',
        ...flags,
      );
    const allowed = [
      '--from-pod',
      'default/frontend',
      '--to-pod',
      'default/backend',
      '--to-port',
      '8080',
      '--protocol',
      'TCP',
      '--verdict',
      'FORWARDED',
    ];
    assert.match(
      await observe('node2', ...allowed),
      /allowed by ingress\[0\] of CiliumNetworkPolicy default\/backend-policy/,
    );
    const denied = ['--from-pod', 'other/frontend', '--to-pod', 'default/backend', '--verdict', 'DROPPED'];
    assert.match(await observe('node2', ...denied), /backend-policy/);
    const out = ['--from-pod', 'default/backend', '--to-pod', 'default/frontend', '--verdict', 'DROPPED'];
    assert.match(await observe('node2', ...out), /backend-policy/);
  });

  test('a document with errors has the condition Valid=False and an Event, and isolates', async () => {
    const backend = { matchLabels: { app: 'backend' } };
    // Well formed for the API server; names as peers are not built yet.
    await cluster.apply(
      cilium('refused', { endpointSelector: backend, egress: [{ toFQDNs: [{ matchName: 'example.org' }] }] }),
    );
    await comesTrue('backend to be isolated for what leaves it', ({ from }) => from !== 'default/backend');
    const condition = async () => {
      const { status } = await cluster.get<{
        status?: { conditions?: { type: string; status: string; message: string }[] };
      }>('ciliumnetworkpolicy', 'refused');
      return status?.conditions?.find(({ type }) => type === 'Valid');
    };
    const { status, message } = await until(condition, { what: 'a condition', timeoutMs: 30_000, everyMs: 250 });
    assert.is(status, 'False');
    assert.match(message, /toFQDNs/);
    const events = await until(
      async () => /Warning.*toFQDNs/.exec(await describe('ciliumnetworkpolicy', 'refused'))?.[0],
      {
        what: 'an Event',
        timeoutMs: 10_000,
        everyMs: 250,
      },
    );
    console.log(events);
  });

  test('toServices lets a pod reach a Service that it names, and no other', async () => {
    const toServices = [{ k8sService: { serviceName: 'postgres-v4', namespace: 'database' } }];
    await cluster.apply(
      cilium('services', { endpointSelector: { matchLabels: { app: 'backend' } }, egress: [{ toServices }] }),
    );
    await cluster.apply(DNS_ALLOWED);
    const backend = { from: 'default/backend', protocol: 'TCP' } as const;
    const toFrontend = { ...backend, to: 'default/frontend', port: 8080 } as const;
    const toPostgres = { ...backend, to: 'database/postgres', port: 5432 } as const;
    await until(async () => (await guide.connectByName(toFrontend, 'v4')) === 'TIMEOUT', {
      what: 'backend to be isolated',
    });
    await until(async () => (await guide.connectByName(toPostgres, 'v4')) === 'ok', { what: 'postgres to be reached' });
    assert.is(await guide.connectByName(toFrontend, 'v4'), 'TIMEOUT');
  });

  test('the entity kube-apiserver is the API server, by its Service and by its address, and nobody else', async () => {
    const { spec } = await cluster.get<{ spec: { clusterIPs: string[] } }>('service', 'kubernetes');
    const [service = ''] = spec.clusterIPs;
    const reach = (address: string, port: number) => connect(cluster, 'backend', address, port);
    const egress = [{ toEntities: ['kube-apiserver'] }];
    await cluster.apply(cilium('apiserver', { endpointSelector: { matchLabels: { app: 'backend' } }, egress }));
    const { v4 } = guide.pod('default/frontend').addresses;
    await until(async () => (await reach(v4, 8080)) === 'TIMEOUT', { what: 'backend to be isolated' });
    assert.is(await reach(service, 443), 'ok');
    assert.is(await reach(CONTROL_PLANE.v4, 6443), 'ok');
    assert.is(await reach(cluster.nodes[0]?.addresses.v4 ?? '', 10250), 'TIMEOUT', 'another node');
  });

  test.run();
}
