/** Rules about nodes mean each node by all addresses that are known to be its own, however it is reached or speaks. */
import * as assert from 'uvu/assert';
import type { Address, Prefix } from '../../agent/model/address.ts';
import type { Node, SourceChange } from '../../agent/model/object.ts';
import { podLabels } from '../../agent/model/pod-labels.ts';
import { createEngine } from '../../agent/policy/engine.ts';
import { createDesired } from '../../agent/realize/desired.ts';
import { suite } from '../kit/suite.ts';
import { cnp } from './policy-documents.ts';
import { pod, record } from './realize-objects.ts';

const test = suite('realize: addresses of nodes in rules');

const nodeChange = (name: string, address: string, podCidr: string): SourceChange => {
  const value: Node = {
    name,
    labels: { rack: name },
    addresses: [address as Address],
    podCidrs: [podCidr as Prefix],
  };
  return {
    type: 'upsert',
    object: { kind: 'Node', ref: { apiVersion: 'v1', kind: 'Node', namespace: '', name, uid: '' }, value },
  };
};

/** A pod that a rule keeps from these nodes. */
async function build(rack: string) {
  const engine = createEngine();
  const desired = createDesired({
    engine,
    identities: { acquire: async () => 256, release: () => {} },
    nodeName: 'here',
    podCidrs: ['10.244.1.0/24' as Prefix],
    tunnel: true,
    labelsOf: (one, namespace) => podLabels(one, namespace, { clusterName: 'default' }),
    onDocument: () => {},
    onEndpoint: () => {},
  });
  engine.upsertDocument(cnp({ endpointSelector: {}, egressDeny: [{ toNodes: [{ matchLabels: { rack } }] }] }));
  desired.addEndpoint(record(7, 'web'), pod('web', 'web'));
  await desired.resolve();
  const denied = (): string[] => {
    desired.delta();
    return engine
      .rows()
      .addressClasses.map(({ prefix }) => prefix)
      .sort();
  };
  return { desired, denied };
}

test('another node is also its routers, with which its own processes speak to pods elsewhere', async () => {
  const { desired, denied } = await build('there');
  desired.take(nodeChange('there', '192.0.2.2', '10.244.2.0/24'));
  assert.equal(denied(), ['10.244.2.1/32', '192.0.2.2/32']);
  desired.take(nodeChange('there', '192.0.2.2', '10.244.3.0/24'));
  assert.equal(denied(), ['10.244.3.1/32', '192.0.2.2/32']);
});

test('this node is everything it answers to, as soon as it does', async () => {
  const { desired, denied } = await build('here');
  desired.setLocalAddresses(['192.0.2.1/32', '172.17.0.1/32'] as Prefix[]);
  desired.take(nodeChange('here', '192.0.2.1', '10.244.1.0/24'));
  assert.equal(denied(), ['10.244.1.1/32', '172.17.0.1/32', '192.0.2.1/32']);
  desired.setLocalAddresses(['192.0.2.1/32', '172.18.0.1/32'] as Prefix[]);
  assert.equal(denied(), ['10.244.1.1/32', '172.18.0.1/32', '192.0.2.1/32']);
});

test.run();
