/** Who lives at which address, as its node says. */
import { AGE, type Definition } from '../definition.ts';
import { ADDRESS, PORT_NAME } from '../network.ts';
import { integer, list, object, text } from '../schema.ts';
import { LAST_IDENTITY, WEIR } from './identity.ts';

/** Fits several times into what etcd takes (1.5 MiB), and one pod's change does not rewrite a whole node. */
const MAX_ENDPOINTS = 100;

const DNS_NAME = { minLength: 1, maxLength: 253 };

const ENDPOINT = object(
  'A pod.',
  {
    addresses: list('Its addresses, of either family.', { type: 'string', ...ADDRESS }, { minItems: 1, maxItems: 16 }),
    identity: integer('Number of the WeirIdentity of its labels, or a reserved one.', 1, LAST_IDENTITY),
    namespace: text('Its namespace.', { minLength: 1, maxLength: 63 }),
    pod: text('Its name.', DNS_NAME),
    uid: text('Its uid: addresses belong to it, not to the name.', { minLength: 1, maxLength: 128 }),
    since: integer(
      'Grows with every pod of the node: of two that name one address, the later one has it.',
      0,
      Number.MAX_SAFE_INTEGER,
    ),
    namedPorts: list(
      'Ports that policies may name.',
      object(
        'A container port.',
        {
          name: text('Its name.', PORT_NAME),
          protocol: text('Its protocol.', { enum: ['TCP', 'UDP', 'SCTP'] }),
          port: integer('Its number.', 1, 65535),
        },
        { required: ['name', 'protocol', 'port'] },
      ),
      { maxItems: 256 },
    ),
    workload: object(
      'What owns it, for people.',
      { kind: text('Its kind.', { minLength: 1, maxLength: 63 }), name: text('Its name.', DNS_NAME) },
      { required: ['kind', 'name'] },
    ),
  },
  { required: ['addresses', 'identity', 'namespace', 'pod', 'uid', 'since'] },
);

export const WEIR_ENDPOINT_SLICE: Definition = {
  ...WEIR,
  kind: 'WeirEndpointSlice',
  plural: 'weirendpointslices',
  shortNames: ['wes'],
  columns: [{ name: 'Node', type: 'string', jsonPath: '.spec.node' }, AGE],
  schema: object(
    'Some of the pods of one node. Written by the agent of that node, read by all others; a pod is in one slice.',
    {
      spec: object(
        'The pods.',
        {
          node: text('Name of the node.', DNS_NAME),
          endpoints: list('The pods, in no order.', ENDPOINT, { maxItems: MAX_ENDPOINTS }),
        },
        { required: ['node', 'endpoints'] },
      ),
    },
    { required: ['spec'] },
  ),
};
