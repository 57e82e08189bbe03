/** What other nodes are told of an endpoint fits into a WeirEndpointSlice, whatever the author of the pod wrote. */
import { readFileSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { parse as parseYaml } from 'yaml';
import type { AnnouncedEndpoint } from '../../agent/join/join.ts';
import { publishedEndpoint } from '../../agent/join/published-endpoint.ts';
import type { NamedPort, Pod } from '../../agent/model/object.ts';
import { suite } from '../kit/suite.ts';
import { at, pod, record } from './realize-objects.ts';

const test = suite('join: what other nodes are told of an endpoint');

const crd = parseYaml(readFileSync('crds/weirendpointslices.weir.dev.yaml', 'utf8'));
/** Of one endpoint in a slice. */
const { workload, namedPorts } =
  crd.spec.versions[0].schema.openAPIV3Schema.properties.spec.properties.endpoints.items.properties;
const LONGEST_KIND: number = workload.properties.kind.maxLength;
const LONGEST_NAME: number = workload.properties.name.maxLength;
const MOST_PORTS: number = namedPorts.maxItems;

const announced = (owner: Pod['workload'], ports: readonly NamedPort[] = []): AnnouncedEndpoint => ({
  ...{ record: { ...record(1, 'web'), podUid: 'u1' }, identity: 300, labels: new Map(), namedPorts: ports },
  pod: { ...pod('web', 'a'), uid: 'u1', workload: owner },
});
const port = (n: number): NamedPort => ({ name: `p${n}`, protocol: 'TCP', port: n });
const ports = (count: number): NamedPort[] => Array.from({ length: count }, (_, i) => port(i + 1));

test('its addresses, its pod, its owner and its ports', () => {
  const owner = { kind: 'Deployment', name: 'web' };
  assert.equal(publishedEndpoint(announced(owner, [port(80)])), {
    ...{ addresses: [at(1)], identity: 300, namespace: 'default', pod: 'web', uid: 'u1' },
    ...{ namedPorts: [port(80)], workload: owner },
  });
});

test('an owner is left out that no slice takes: any text may be an owner', () => {
  const ownerOf = (kind: number, name: number) =>
    publishedEndpoint(announced({ kind: 'k'.repeat(kind), name: 'n'.repeat(name) }))?.workload;
  assert.ok(ownerOf(LONGEST_KIND, LONGEST_NAME));
  assert.is(ownerOf(LONGEST_KIND + 1, 1), undefined);
  assert.is(ownerOf(1, LONGEST_NAME + 1), undefined);
  assert.is(ownerOf(1, 0), undefined, 'of a ReplicaSet called "-HASH", the Deployment has no name');
});

test('a port that several containers name is one; a pod with more than a slice takes is not told of', () => {
  const most = ports(MOST_PORTS);
  assert.is(publishedEndpoint(announced(undefined, [...most, ...most]))?.namedPorts.length, MOST_PORTS);
  assert.is(publishedEndpoint(announced(undefined, ports(MOST_PORTS + 1))), undefined);
});

test.run();
