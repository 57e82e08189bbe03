/** How other nodes reach a node, and how its agent is. */
import { AGE, type Definition } from '../definition.ts';
import { ADDRESS, PREFIX } from '../network.ts';
import { boolean, integer, list, object, text } from '../schema.ts';
import { FIRST_IDENTITY, LAST_IDENTITY, WEIR } from './identity.ts';

const MOST = Number.MAX_SAFE_INTEGER;

/** agent/model/refused-document.ts. What is told has no limits: a status that is refused would tell nothing. */
const REFUSED = object(
  'A policy document the node refuses.',
  {
    kind: text('Its kind.'),
    namespace: text('Its namespace; empty for cluster-wide kinds.'),
    name: text('Its name.'),
    uid: text('Its uid.'),
    generation: integer('metadata.generation of the version that is refused.', 0, MOST),
    reason: text('What is wrong with it.'),
  },
  { required: ['kind', 'name', 'reason'] },
);

const STATUS = object('What the agent says about itself.', {
  ready: boolean('Its last complete policy is in force, and it takes new pods.'),
  agentVersion: text('Version of the agent.'),
  policyRevision: integer('The last revision of the policy that is in force on this node.', 0, MOST),
  desiredPolicyRevision: integer('The revision that is asked for; greater while it is worked on.', 0, MOST),
  endpoints: integer('Pods of this node that are wired.', 0, MOST),
  identities: integer('Identities the agent knows.', 0, MOST),
  drops: integer('Packets dropped since the programs were loaded.', 0, MOST),
  refused: list('Policy documents in error, the first hundred.', REFUSED),
  refusedCount: integer('How many there are in all.', 0, MOST),
  problems: list('What a person should know, a sentence each.', { type: 'string' }),
  updated: text('When this was written.', { format: 'date-time' }),
});

export const WEIR_NODE: Definition = {
  ...WEIR,
  kind: 'WeirNode',
  plural: 'weirnodes',
  shortNames: ['wn'],
  columns: [
    { name: 'Ready', type: 'boolean', jsonPath: '.status.ready' },
    { name: 'Addresses', type: 'string', jsonPath: '.spec.addresses' },
    { name: 'PodCIDRs', type: 'string', jsonPath: '.spec.podCidrs' },
    { name: 'Revision', type: 'integer', jsonPath: '.status.policyRevision' },
    { name: 'Router', type: 'string', jsonPath: '.spec.routerAddresses', priority: 1 },
    { name: 'Version', type: 'string', jsonPath: '.status.agentVersion', priority: 1 },
    AGE,
  ],
  schema: object(
    'A node of the cluster. Written by its agent; it has the name of the Node.',
    {
      spec: object(
        'How it is reached.',
        {
          addresses: list(
            'Where tunnels to it end and packets from it come from.',
            { type: 'string', ...ADDRESS },
            { maxItems: 64 },
          ),
          podCidrs: list('Prefixes of its pods.', { type: 'string', ...PREFIX }, { maxItems: 16 }),
          routerAddresses: list(
            'The address of each pod CIDR with which the node itself speaks to pods elsewhere.',
            { type: 'string', ...ADDRESS },
            { maxItems: 16 },
          ),
          identities: list(
            'Numbers this node claims: an identity that stands here is not collected, and its number not given to other labels.',
            integer('A number.', FIRST_IDENTITY, LAST_IDENTITY),
            { maxItems: 65536 },
          ),
        },
        { required: ['addresses', 'podCidrs', 'routerAddresses'] },
      ),
      status: STATUS,
    },
    { required: ['spec'] },
  ),
};
