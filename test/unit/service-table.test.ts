/** What a Service stands for: kubernetes.io "Virtual IPs and Service Proxies", KEP-1669, discovery.k8s.io/v1. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { type Address, parseAddress } from '../../agent/model/address.ts';
import type { EndpointSlice, Service, ServiceEndpoint } from '../../agent/model/object.ts';
import { createServiceTable } from '../../agent/service/table.ts';
import { serviceRows } from '../../agent/service/translate.ts';
import { suite } from '../kit/suite.ts';

const test = suite('service: what a Service stands for');
const address = (text: string): Address => parseAddress(text) as Address;

const service = (over: Partial<Service> = {}): Service => ({
  namespace: 'default',
  name: 'web',
  labels: {},
  selector: { app: 'web' },
  clusterIps: [address('10.96.0.1'), address('fd00:96::1')],
  ports: [{ name: 'http', protocol: 'TCP', port: 80, targetPort: 'web' }],
  affinitySeconds: 0,
  localOnly: false,
  ...over,
});

const HERE = { nodeName: 'n1', zone: 'a' };

const endpoint = (at: string, over: Partial<ServiceEndpoint> = {}): ServiceEndpoint => ({
  addresses: [address(at)],
  ready: true,
  serving: true,
  terminating: false,
  nodeName: 'n1',
  forNodes: [],
  forZones: [],
  pod: '',
  ...over,
});

const slice = (endpoints: readonly ServiceEndpoint[], over: Partial<EndpointSlice> = {}): EndpointSlice => ({
  namespace: 'default',
  name: 'web-1',
  service: 'web',
  ports: [{ name: 'http', protocol: 'TCP', port: 8080 }],
  endpoints,
  ...over,
});

const backends = (one: Service, slices: readonly EndpointSlice[], family = 4): string[] =>
  serviceRows(one, slices, HERE)
    .filter(({ frontend }) => frontend.address.includes(':') === (family === 6))
    .flatMap((row) => row.backends.map((backend) => `${backend.address} ${backend.port}`));

test('an address of each family stands for the endpoints of its family, at the port they listen on', () => {
  const slices = [
    slice([endpoint('10.1.0.2'), endpoint('10.1.0.1')]),
    slice([endpoint('fd00:1::1')], { name: 'web-6' }),
  ];
  assert.equal(backends(service(), slices), ['10.1.0.1 8080', '10.1.0.2 8080']);
  assert.equal(backends(service(), slices, 6), ['fd00:1::1 8080']);
});

test('a headless Service has no rows; a port without endpoints has one without backends', () => {
  assert.equal(serviceRows(service({ clusterIps: [] }), [slice([endpoint('10.1.0.1')])], HERE), []);
  assert.equal(
    serviceRows(service(), [], HERE).map((row) => row.backends),
    [[], []],
  );
});

test('a Service that a label gives to another proxy, or calls headless, has no rows while it has the label', () => {
  const slices = [slice([endpoint('10.1.0.1')])];
  for (const label of ['service.kubernetes.io/service-proxy-name', 'service.kubernetes.io/headless']) {
    const table = createServiceTable('n1');
    for (const one of slices) table.upsertSlice(one);
    table.upsertService(service());
    assert.is(table.take().set.length, 2);
    table.upsertService(service({ labels: { [label]: '' } }));
    assert.is(table.take().remove.length, 2, label);
    table.upsertService(service());
    assert.is(table.take().set.length, 2);
  }
});

test('a slice serves the port of the same name and protocol, and no other', () => {
  const other = slice([endpoint('10.1.0.9')], { ports: [{ name: 'metrics', protocol: 'TCP', port: 9090 }] });
  const udp = slice([endpoint('10.1.0.8')], { ports: [{ name: 'http', protocol: 'UDP', port: 8080 }] });
  assert.equal(backends(service(), [other, udp]), []);
});

test('endpoints that end serve only while nobody is ready', () => {
  const ending = endpoint('10.1.0.3', { ready: false, terminating: true });
  const dead = endpoint('10.1.0.4', { ready: false, serving: false, terminating: true });
  const starting = endpoint('10.1.0.5', { ready: false, serving: false });
  assert.equal(backends(service(), [slice([ending, dead, starting, endpoint('10.1.0.1')])]), ['10.1.0.1 8080']);
  assert.equal(backends(service(), [slice([ending, dead, starting])]), ['10.1.0.3 8080']);
  assert.equal(backends(service(), [slice([dead, starting])]), []);
});

test('internalTrafficPolicy Local keeps to endpoints of this node, even if that leaves none', () => {
  const far = endpoint('10.1.0.2', { nodeName: 'n2' });
  assert.equal(backends(service({ localOnly: true }), [slice([far, endpoint('10.1.0.1')])]), ['10.1.0.1 8080']);
  assert.equal(backends(service({ localOnly: true }), [slice([far])]), []);
});

test('trafficDistribution PreferSameNode: the endpoints meant for this node, and all where that is none or not known of each', () => {
  const here = endpoint('10.1.0.1', { forNodes: ['n1'] });
  const far = endpoint('10.1.0.2', { nodeName: 'n2', forNodes: ['n2', 'n3'] });
  const unsaid = endpoint('10.1.0.3', { nodeName: 'n2' });
  assert.equal(backends(service(), [slice([here, far])]), ['10.1.0.1 8080']);
  assert.equal(backends(service(), [slice([far])]), ['10.1.0.2 8080']);
  assert.equal(backends(service(), [slice([here, far, unsaid])]).length, 3);
  const ending = endpoint('10.1.0.1', { ready: false, terminating: true, forNodes: ['n1'] });
  assert.equal(backends(service(), [slice([ending, far])]), ['10.1.0.2 8080']);
  assert.equal(backends(service({ localOnly: true }), [slice([far])]), []);
});

test('trafficDistribution PreferSameZone: those meant for the zone of this node, where none are for the node itself', () => {
  const one = endpoint('10.1.0.1', { nodeName: 'n2', forZones: ['a'] });
  const two = endpoint('10.1.0.2', { nodeName: 'n3', forZones: ['b', 'c'] });
  const unsaid = endpoint('10.1.0.3', { nodeName: 'n4' });
  assert.equal(backends(service(), [slice([one, two])]), ['10.1.0.1 8080']);
  assert.equal(backends(service(), [slice([two])]), ['10.1.0.2 8080']);
  assert.equal(backends(service(), [slice([one, two, unsaid])]).length, 3);
  const inNoZone = serviceRows(service(), [slice([one, two])], { ...HERE, zone: '' });
  assert.is(inNoZone[0]?.backends.length, 2);
  const mine = endpoint('10.1.0.4', { forNodes: ['n1'], forZones: ['b'] });
  const near = endpoint('10.1.0.5', { nodeName: 'n2', forNodes: ['n2'], forZones: ['a'] });
  assert.equal(backends(service(), [slice([mine, near])]), ['10.1.0.4 8080'], 'the node before the zone');
  assert.equal(backends(service({ localOnly: true }), [slice([one])]), []);
});

test('the zone of this node may become known later, or change', () => {
  const table = createServiceTable('n1');
  table.upsertService(service());
  table.upsertSlice(slice([endpoint('10.1.0.1', { forZones: ['a'] }), endpoint('10.1.0.2', { forZones: ['b'] })]));
  const now = () => table.take().set.flatMap((row) => row.backends.map((backend) => backend.address as string));
  assert.equal(now(), ['10.1.0.1', '10.1.0.2']);
  table.setZone('a');
  assert.equal(now(), ['10.1.0.1']);
  table.setZone('a');
  assert.equal(now(), []);
  table.setZone('b');
  assert.equal(now(), ['10.1.0.2']);
});

test('SCTP is left out, affinity is carried along', () => {
  const sctp = service({ ports: [{ name: 'http', protocol: 'SCTP', port: 80, targetPort: 80 }] });
  assert.equal(serviceRows(sctp, [], HERE), []);
  assert.is(serviceRows(service({ affinitySeconds: 30 }), [], HERE)[0]?.affinitySeconds, 30);
});

test('two Services with one address: the first keeps it, the second has it when the first goes', () => {
  const table = createServiceTable('n1');
  const one = service({ clusterIps: [address('10.96.0.1')] });
  table.upsertService(one);
  table.upsertSlice(slice([endpoint('10.1.0.1')]));
  table.upsertService({ ...one, name: 'late' });
  table.upsertSlice(slice([endpoint('10.1.0.2')], { name: 'late-1', service: 'late' }));
  assert.equal(
    table.take().set.map((row) => row.backends.map((backend) => backend.address)),
    [['10.1.0.1']],
  );
  table.removeService('default', 'web');
  assert.equal(table.take(), { set: table.rows(), remove: [] });
  assert.equal(
    table.rows().map((row) => row.backends.map((backend) => backend.address)),
    [['10.1.0.2']],
  );
  table.removeService('default', 'late');
  assert.equal(
    table.take().remove.map((frontend) => frontend.address),
    ['10.96.0.1'],
  );
});

test('a virtual address is told by the name of the Service that connections go to', () => {
  const table = createServiceTable('n1');
  const frontend = { address: address('10.96.0.1'), protocol: 'TCP', port: 80 } as const;
  assert.is(table.ownerOf(frontend), undefined);
  table.upsertService(service());
  table.upsertService(service({ name: 'late' }));
  const before = table.revision;
  assert.equal(table.ownerOf(frontend), { namespace: 'default', name: 'web' });
  assert.is(table.ownerOf({ ...frontend, port: 81 }), undefined);
  assert.is(table.ownerOf({ ...frontend, protocol: 'UDP' }), undefined);
  assert.is(table.revision, before, 'asking changes nothing');
  table.removeService('default', 'web');
  assert.ok(table.revision > before);
  assert.equal(table.ownerOf(frontend), { namespace: 'default', name: 'late' });
});

test('what take() tells adds up to what is there, whatever comes and goes', () => {
  const names = fc.constantFrom('a', 'b', 'c');
  const step = fc.oneof(
    fc.record({ kind: fc.constant('service'), name: names, ip: fc.constantFrom('10.96.0.1', '10.96.0.2') }),
    fc.record({ kind: fc.constant('no service'), name: names }),
    fc.record({ kind: fc.constant('slice'), name: names, of: names, host: fc.integer({ min: 1, max: 3 }) }),
    fc.record({ kind: fc.constant('no slice'), name: names }),
    fc.record({ kind: fc.constant('take') }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const table = createServiceTable('n1');
      const held = new Map<string, unknown>();
      const key = (frontend: object): string => JSON.stringify(frontend);
      const take = (): void => {
        const { set, remove } = table.take();
        for (const frontend of remove) assert.ok(held.delete(key(frontend)));
        for (const row of set) held.set(key(row.frontend), row);
      };
      for (const one of steps) {
        if ('ip' in one) table.upsertService(service({ name: one.name, clusterIps: [address(one.ip)] }));
        else if ('of' in one)
          table.upsertSlice(slice([endpoint(`10.1.0.${one.host}`)], { name: one.name, service: one.of }));
        else if ('name' in one && one.kind === 'no service') table.removeService('default', one.name);
        else if ('name' in one) table.removeSlice({ namespace: 'default', name: one.name });
        else take();
      }
      take();
      const there = new Map(table.rows().map((row) => [key(row.frontend), row]));
      assert.equal([...held].sort(), [...there].sort());
    }),
  );
});

test.run();
