/** charts/weir by the real Helm and a real API server: what it accepts, what it refuses and with which words, what it makes. */

import { X509Certificate } from 'node:crypto';
import * as assert from 'uvu/assert';
import { parseAllDocuments, parse as parseYaml } from 'yaml';
import { readConfig } from '../../agent/config/config.ts';
import { type CommandResult, tryCommand } from '../kit/command.ts';
import { privileged } from '../kit/privileged.ts';
import { stockProgram } from '../kit/stock.ts';
import { suite } from '../kit/suite.ts';
import { type ApiServer, startApiServer } from './api-server.ts';
import { CHART } from './weir.ts';

const NAMESPACE = 'kube-system';

interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  // biome-ignore lint/suspicious/noExplicitAny: objects of every kind
  readonly [field: string]: any;
}

function helm(...words: string[]): Promise<CommandResult> {
  return tryCommand([stockProgram('helm'), ...words]);
}

function template(...settings: string[]): Promise<CommandResult> {
  return helm('template', 'weir', CHART, '--namespace', NAMESPACE, ...settings.flatMap((set) => ['--set', set]));
}

async function manifests(...settings: string[]): Promise<Manifest[]> {
  const { code, stdout, stderr } = await template(...settings);
  assert.is(code, 0, stderr);
  return parseAllDocuments(stdout)
    .map((document) => document.toJS() as Manifest | null)
    .filter((manifest) => manifest !== null);
}

function named(all: readonly Manifest[], kind: string, name: string): Manifest {
  const found = all.find((one) => one.kind === kind && one.metadata.name === name);
  assert.ok(found, `${kind} ${name} is there`);
  return found as Manifest;
}

const test = privileged(suite('chart'), 'kubernetes');

test('passes helm lint', async () => {
  const { code, stdout, stderr } = await helm('lint', '--strict', CHART);
  assert.is(code, 0, stdout + stderr);
});

/** Everything at once, and each alternative. */
const ACCEPTED: readonly (readonly string[])[] = [
  [],
  ['routingMode=native', 'ipv6.enabled=false'],
  ['ipv4.enabled=false', 'enableIPv4Masquerade=false'],
  ['k8sServiceHost=192.0.2.1', 'k8sServicePort=6443'],
  ['k8sServiceHost=api.example.org'],
  ['healthPort=4244', 'hubble.tls.enabled=false'],
  ['MTU=1200', 'ipv6.enabled=false'],
  ['hubble.enabled=false'],
  ['hubble.tls.enabled=false'],
  ['hubble.relay.enabled=true', 'prometheus.enabled=true', 'cni.uninstall=true', 'devices={eth0,eth1}'],
  ['nonMasqueradeCIDRs={10.0.0.0/8}', 'ipv4NativeRoutingCIDR=172.16.0.0/12', 'ipv6NativeRoutingCIDR=fd00::/8'],
  [
    'policyCIDRMatchMode={nodes}',
    'allowLocalhost=policy',
    'policyEnforcementMode=always',
    'labels=app k8s:team !build',
  ],
  ['crds.upgrade=false', 'cleanup.enabled=false', 'rbac.create=false', 'bpf.autoMount.enabled=false'],
  ['extraConfig.addDeadlineMs=3000', 'extraConfig.attachMode=clsact'],
  ['bpf.root=/mnt/bpf', 'daemon.runPath=/run/node1', 'daemon.statePath=/var/lib/node1', 'cni.binPath=/opt/node1/bin'],
  ['image.digest=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef'],
  [
    'prometheus.enabled=true',
    'hubble.metrics.enabled={drop:sourceContext=pod|ip,tcp}',
    'hubble.metrics.dashboards.enabled=true',
  ],
  [
    'hubble.export.static.enabled=true',
    'hubble.export.static.filePath=/var/lib/weir/flows/events.log',
    'hubble.export.otlp.url=http://collector:4318/v1/logs',
    'hubble.export.otlp.headersSecret=collector',
    'hubble.export.otlp.caConfigMap=collector-ca',
    'hubble.export.fieldMask={time,verdict}',
    'hubble.export.denyList={{"verdict":["FORWARDED"]\\}}',
  ],
  ['api.enabled=true'],
  ['updateStrategy.type=OnDelete', 'updateStrategy.rollingUpdate=null'],
];

const REFUSED: readonly [setting: string, words: RegExp][] = [
  ['ipam.mode=cluster-pool', /\/ipam\/mode': value must be 'kubernetes'/],
  ['ipam.mode=eni', /\/ipam\/mode/],
  ['routingMode=direct', /\/routingMode': value must be one of 'tunnel', 'native'/],
  ['tunnelProtocol=geneve', /\/tunnelProtocol': value must be 'vxlan'/],
  ['tunnelPort=high', /\/tunnelPort': got string, want integer/],
  ['xdp.mode=generic', /\/xdp\/mode': value must be one of 'auto', 'native'/],
  ['tunnelPort=70000', /\/tunnelPort': maximum/],
  ['tunelPort=8472', /additional properties 'tunelPort' not allowed/],
  ['hubble.enbled=true', /\/hubble': additional properties 'enbled' not allowed/],
  ['hubble.relay.image.override=x', /\/hubble\/relay\/image': additional properties 'override'/],
  ['kubeProxyReplacement=true', /additional properties 'kubeProxyReplacement' not allowed/],
  ['policyEnforcementMode=allways', /\/policyEnforcementMode': value must be one of/],
  ['policyCIDRMatchMode={pods}', /\/policyCIDRMatchMode\/0/],
  ['nonMasqueradeCIDRs={10.0.0.1}', /\/nonMasqueradeCIDRs\/0': '10.0.0.1' does not match pattern/],
  ['cni.binPath=bin', /\/cni\/binPath': 'bin' does not match pattern/],
  ['cni.confFile=05-weir.conf', /\/cni\/confFile/],
  ['resources=big', /\/resources': got string, want object/],
  ['extraConfig.podWaitMs[0]=1', /\/extraConfig\/podWaitMs': got array/],
  ['image.pullPolicy=Sometimes', /\/image\/pullPolicy/],
  ['cluster.name=Prod_1', /\/cluster\/name/],
  ['enableIPv4Masquerade=false', /enableIPv4Masquerade and enableIPv6Masquerade differ/],
  ['ipv4.enabled=false,ipv6.enabled=false', /ipv4.enabled and ipv6.enabled are both false/],
  ['k8sServicePort=6443', /k8sServicePort is set and k8sServiceHost is not/],
  ['hubble.relay.enabled=true,hubble.tls.enabled=false', /hubble.relay.enabled needs .* hubble.tls.enabled/],
  ['hubble.export.static.filePath=/var/log/flows.log', /must lie below daemon.runPath or daemon.statePath/],
  ['hubble.export.otlp.url=collector:4318', /\/hubble\/export\/otlp\/url'/],
  ['hubble.tls.auto.method=certmanager', /certManagerIssuerRef must name the issuer/],
  ['prometheus.serviceMonitor.enabled=true', /serviceMonitor.enabled needs prometheus.enabled/],
  ['hubble.metrics.enabled={drop}', /hubble.metrics.enabled needs prometheus.enabled/],
  ['api.enabled=true,hubble.tls.enabled=false', /api.enabled needs .* hubble.tls.enabled/],
  ['k8sServiceHost=https://192.0.2.1:6443', /\/k8sServiceHost': .* does not match pattern/],
  ['k8sServiceHost=auto', /\/k8sServiceHost': 'not' failed/],
  ['extraConfig.addDeadlineMS=3000', /\/extraConfig': additional properties 'addDeadlineMS' not allowed/],
  ['hubble.metrics.enabled={drops}', /\/hubble\/metrics\/enabled\/0': 'drops' does not match pattern/],
  ['hubble.tls.auto.certManagerIssuerRef.nam=ca', /certManagerIssuerRef': additional properties 'nam'/],
  ['hubble.tls.auto.method=certmanager,hubble.tls.auto.certManagerIssuerRef.kind=Issuer', /must name the issuer/],
  ['securityContext.capabilities={CAP_NET_ADMIN}', /\/securityContext\/capabilities\/0': 'not' failed/],
  ['updateStrategy.rollingUpdate.maxUnavailable=half', /\/maxUnavailable': 'half' does not match pattern/],
  ['healthPort=4244', /healthPort and hubble.listenPort are both 4244/],
  ['prometheus.enabled=true,prometheus.port=9879', /healthPort and prometheus.port are both 9879/],
  ['api.enabled=true,api.port=4244', /hubble.listenPort and api.port are both 4244/],
  ['MTU=1200', /MTU is 1200: IPv6 needs at least 1280/],
  ['extraConfig.routingMode=native', /extraConfig.routingMode: the chart sets it, by a value of its own/],
];
for (const [setting, words] of REFUSED)
  test(`refuses ${setting}`, async () => {
    const { code, stderr } = await template(setting);
    assert.is.not(code, 0);
    assert.match(stderr, words);
  });

for (const settings of ACCEPTED)
  test(`the agent understands its settings, with ${settings.join(' ') || 'nothing set'}`, async () => {
    const all = await manifests(...settings);
    const config = named(all, 'ConfigMap', 'weir-config').data['config.yaml'];
    const read = readConfig({ args: ['--config=/x'], environment: { WEIR_NODE_NAME: 'n1' }, readFile: () => config });
    assert.is(read.source, 'kubernetes');
  });

for (const settings of [[], ['daemon.runPath=/run/node1'], ['extraConfig.apiSocket=/run/weir/other.sock']])
  test(`weir in the agent’s container asks this agent, with ${settings.join(' ') || 'nothing set'}`, async () => {
    const all = await manifests(...settings);
    const [{ env }] = named(all, 'DaemonSet', 'weir').spec.template.spec.containers;
    const given = (env as { name: string; value?: string }[]).find(({ name }) => name === 'WEIR_SERVER')?.value;
    const config = named(all, 'ConfigMap', 'weir-config').data['config.yaml'];
    const read = readConfig({ args: ['--config=/x'], environment: { WEIR_SERVER: given }, readFile: () => config });
    assert.is(given, `unix://${read.apiSocket}`);
  });

test('values become settings', async () => {
  const all = await manifests(
    ...['routingMode=native', 'devices={eth0,eth1}', 'ipv6.enabled=false', 'MTU=1400', 'policyCIDRMatchMode={nodes}'],
    ...['ipv4NativeRoutingCIDR=172.16.0.0/12', 'nonMasqueradeCIDRs={192.0.2.0/24}', 'prometheus.enabled=true'],
    ...['allowLocalhost=policy', 'xdp.mode=native'],
  );
  const settings = parseYaml(named(all, 'ConfigMap', 'weir-config').data['config.yaml']);
  assert.is(settings.routingMode, 'native');
  assert.is(settings.uplinkDevices, 'eth0,eth1');
  assert.is(settings.xdpMode, 'native');
  assert.is(settings.podCidrV6, 'none');
  assert.is(settings.mtuBytes, 1400);
  assert.is(settings.cidrMatchesNodes, true);
  assert.is(settings.allowLocalHost, false);
  assert.is(settings.masqueradeExcludedCidrs, '172.16.0.0/12,192.0.2.0/24');
  assert.is(settings.metricsListenAddress, '0.0.0.0:9962');
});

test('only what mounts bpffs is privileged, and nothing has rights it was not given', async () => {
  const all = await manifests('hubble.relay.enabled=true', 'prometheus.enabled=true');
  const pods = all.flatMap(({ kind, metadata, spec }) =>
    spec?.template === undefined ? [] : [{ of: `${kind} ${metadata.name}`, spec: spec.template.spec }],
  );
  assert.equal(pods.map(({ of }) => of).sort(), [
    'DaemonSet weir',
    'DaemonSet weir-cleanup',
    'Deployment hubble-relay',
    'Job weir-crds',
    'Job weir-finish-removal',
  ]);
  for (const { of, spec } of pods)
    for (const { name, securityContext } of [...(spec.initContainers ?? []), ...spec.containers]) {
      if (name === 'mount-bpffs') continue;
      assert.not(securityContext.privileged, `${of} ${name}`);
      assert.equal(securityContext.capabilities.drop, ['ALL'], `${of} ${name}`);
      assert.is(securityContext.readOnlyRootFilesystem, true, `${of} ${name}`);
    }
});

test('another setting is another pod, another certificate is not', async () => {
  const revision = (all: Manifest[]) =>
    named(all, 'DaemonSet', 'weir').spec.template.metadata.annotations['weir.dev/config'];
  const [once, again, other] = await Promise.all([manifests(), manifests(), manifests('MTU=1400')]);
  const certificate = (all: Manifest[]) => named(all, 'Secret', 'hubble-server-certs').data['tls.crt'];
  assert.is.not(certificate(once), certificate(again));
  assert.is(revision(once), revision(again));
  assert.is.not(revision(once), revision(other));
});

test('the authority, which upgrades keep, outlives many certificates that each upgrade makes anew', async () => {
  const all = await manifests('hubble.tls.auto.certValidityDuration=100');
  const days = (secret: string, key: string) => {
    const certificate = new X509Certificate(Buffer.from(named(all, 'Secret', secret).data[key], 'base64'));
    return (Date.parse(certificate.validTo) - Date.parse(certificate.validFrom)) / 86_400_000;
  };
  assert.is(days('hubble-server-certs', 'tls.crt'), 100);
  assert.is(days('hubble-ca', 'ca.crt'), 3650);
});

test('cert-manager is asked for the names that hubble and its relay check', async () => {
  const all = await manifests(
    ...['hubble.tls.auto.method=certmanager', 'hubble.tls.auto.certManagerIssuerRef.name=ca', 'cluster.name=east'],
    'hubble.relay.enabled=true',
  );
  assert.equal(named(all, 'Certificate', 'hubble-server-certs').spec.dnsNames, ['*.east.hubble-grpc.cilium.io']);
  assert.equal(named(all, 'Certificate', 'hubble-relay-client-certs').spec.dnsNames, ['*.hubble-relay.cilium.io']);
  assert.not(all.some(({ kind }) => kind === 'Secret'));
});
test.run();

const real = privileged(suite('chart: a real API server'), 'kubernetes', 'etcd');
let api: ApiServer;
real.before(async () => {
  api = await startApiServer('chart');
});
real.after(() => api?.stop());

for (const settings of ACCEPTED)
  real(`accepts what is made with ${settings.join(' ') || 'nothing set'}`, async () => {
    const all = await manifests(...settings);
    const list = JSON.stringify({ apiVersion: 'v1', kind: 'List', items: all });
    const words = ['apply', '--server-side', '--dry-run=server', '--validate=strict', '-o', 'name', '-f', '-'];
    const { code, stdout, stderr } = await api.kubectl(words, { input: list });
    assert.is(code, 0, stderr);
    assert.is(stdout.trim().split('\n').length, all.length);
    assert.not.match(stderr, /Warning/);
  });

real.run();
