/** What ginkgo's report is read as, and that nothing of the suite goes missing between what ran and what did not. */
import * as assert from 'uvu/assert';
import { type Outcome, readReport, summary } from '../conformance/report.ts';
import { AREAS, LEFT_OUT } from '../conformance/scope.ts';
import { suite } from '../kit/suite.ts';

const test = suite('conformance: report');

/** As ginkgo 2 writes it: `text` is all of the name. */
const spec = (text: string, State: string, more: object = {}) => ({
  ContainerHierarchyTexts: ['[sig-network] Services'],
  LeafNodeType: 'It',
  LeafNodeText: text,
  State,
  RunTime: 2_500_000_000,
  ...more,
});
const suiteSetup = (State: string, more: object = {}) => ({
  ContainerHierarchyTexts: null,
  LeafNodeType: 'SynchronizedBeforeSuite',
  LeafNodeText: '',
  State,
  RunTime: 1e9,
  ...more,
});
/** Packages that networking tests stand on have tests as well. */
const another = spec('should run jobs', 'skipped', { ContainerHierarchyTexts: ['[sig-apps] Job'] });
const read = (...specs: object[]): Outcome[] => readReport(JSON.stringify([{ SpecReports: specs }]));

test('every state has its outcome, and why something was not run is told apart', () => {
  const failure = (Message: string) => ({ Failure: { Message } });
  const outcomes = read(
    suiteSetup('passed'),
    another,
    spec('should be there', 'passed'),
    spec('should not be there', 'failed', failure('it was\nreally')),
    spec('should end', 'timedout'),
    spec('should suit GCE', 'skipped', failure('Only supported for providers [gce] (not skeleton)')),
    spec('should be possible to connect to a service via ExternalIP', 'skipped'),
    spec('should be somewhere else', 'skipped'),
  );
  assert.equal(
    outcomes.map(({ kind }) => kind),
    ['passed', 'failed', 'failed', 'skipped', 'left out', 'elsewhere'],
  );
  assert.is(
    summary(outcomes),
    [
      'FAILED  [sig-network] Services should not be there (3 s)',
      '        it was',
      'FAILED  [sig-network] Services should end (3 s)',
      '        timedout',
      'not run   1  by the test itself: Only supported for providers [gce] (not skeleton)',
      'not run   1  no externalIPs yet',
      '1 passed, 2 failed, 2 not run',
    ].join('\n'),
  );
});

test('a suite that could not begin is a failure, and a report without tests is an error', () => {
  const outcomes = read(suiteSetup('failed', { Failure: { Message: 'no nodes' } }), spec('should run', 'skipped'));
  assert.equal(outcomes[0], { kind: 'failed', name: 'SynchronizedBeforeSuite', seconds: 1, reason: 'no nodes' });
  assert.throws(() => read(suiteSetup('passed'), another), /no networking tests/);
});

test('what is left out is what the reasons say, by names of Kubernetes 1.34', () => {
  const reasonOf = (name: string) => LEFT_OUT.find(({ tests }) => tests.test(name))?.reason;
  const run = [
    'Netpol x should properly isolate pods that are selected by a policy allowing SCTP, even if the plugin does not',
    "Netpol NetworkPolicy between server and client should support a 'default-deny-ingress' policy [Feature:NetworkPolicy]",
    'Services should have session affinity work for service with type clusterIP [LinuxOnly] [Conformance]',
    'Services should be able to change the type from NodePort to ExternalName [Conformance]',
    'Networking Granular Checks: Services should update endpoints: udp',
    'Networking Granular Checks: Pods should function for intra-pod communication: http [NodeConformance] [Conformance]',
    'Services should respect internalTrafficPolicy=Local Pod to Pod',
    'Proxy version v1 should proxy through a service and a pod [Conformance]',
  ];
  for (const name of run) assert.is(reasonOf(`[sig-network] ${name}`), undefined, name);
  const left = {
    'Services should be able to create a functioning NodePort service [Conformance]': /NodePort/,
    'Networking Granular Checks: Services should function for pod-Service: udp': /NodePort/,
    'Services should fallback to terminating endpoints when there are no ready endpoints with externallTrafficPolicy=Cluster':
      /NodePort/,
    'Networking IPerf2 [Feature:Networking-Performance] should run iperf2': /measures/,
    'DNS should work with a service name that starts with a digit [FeatureGate:RelaxedServiceNameValidation] [Alpha] [Feature:OffByDefault]':
      /off by default/,
    'Netpol [Feature:SCTPConnectivity] [LinuxOnly] NetworkPolicy between server and client using SCTP x': /SCTP/,
  };
  for (const [name, reason] of Object.entries(left)) assert.match(reasonOf(`[sig-network] ${name}`) ?? '', reason);
});

test('each area is a part of the suite that no other has', () => {
  const names = ['Netpol x', 'Services x', 'Networking x', 'DNS x', '[Feature:IPv6DualStack] x', 'EndpointSlice x'];
  for (const name of names)
    assert.is(Object.values(AREAS).filter((area) => area.test(`[sig-network] ${name}`)).length, 1, name);
});

test.run();
