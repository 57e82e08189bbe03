/** What labels a number stands for, and which numbers come next. */
import { AGE, type Column, type Definition } from '../definition.ts';
import { integer, map, object, rules } from '../schema.ts';

/** Numbers below are reserved for who has no labels (world, host, ...). */
export const FIRST_IDENTITY = 256;
/** As many bits as travel with a packet, with room for the cluster's number above. */
export const LAST_IDENTITY = 65535;
/** Of one pod, with those of its namespace. Agents know it too (agent/cluster/objects.ts). */
export const MOST_IDENTITY_LABELS = 256;

export const WEIR = {
  group: 'weir.dev',
  categories: ['weir'],
  scope: 'Cluster',
  versions: [{ name: 'v1alpha1' }],
} as const;

const NUMBER: Column = { name: 'Number', type: 'integer', jsonPath: '.spec.number' };

export const WEIR_IDENTITY: Definition = {
  ...WEIR,
  kind: 'WeirIdentity',
  plural: 'weiridentities',
  shortNames: ['wid'],
  columns: [NUMBER, { name: 'Labels', type: 'string', jsonPath: '.spec.labels' }, AGE],
  schema: object(
    'The number that stands for a set of labels in the whole cluster. Written by agents; its name is made from the labels, so that there is one number per set.',
    {
      spec: object(
        'Never changes.',
        {
          number: integer('The number: in policy maps and tunnel packets.', FIRST_IDENTITY, LAST_IDENTITY),
          labels: map(
            'The labels, with their source: "k8s:app".',
            { maxLength: 253 },
            { minProperties: 1, maxProperties: MOST_IDENTITY_LABELS },
          ),
        },
        {
          required: ['number', 'labels'],
          ...rules({ rule: 'self == oldSelf', message: 'an identity never changes: make another one' }),
        },
      ),
    },
    {
      required: ['spec'],
      ...rules({
        rule: "self.metadata.name.matches('^[0-9a-f]{40}$')",
        message: 'the name is the first 40 hexadecimal digits of the SHA-256 of the labels',
      }),
    },
  ),
};

export const WEIR_IDENTITY_RANGE: Definition = {
  ...WEIR,
  kind: 'WeirIdentityRange',
  plural: 'weiridentityranges',
  shortNames: ['wir'],
  columns: [{ name: 'Next', type: 'integer', jsonPath: '.spec.next' }, AGE],
  schema: object(
    'Where the next identity gets its number. Written by agents, each of which takes numbers by an update that fails when another one was first.',
    {
      spec: object(
        'The numbers.',
        {
          next: integer(
            'Tickets below are taken. A ticket is a number, 65536 being 256 again, and so on: none is reused before all have been.',
            FIRST_IDENTITY,
            Number.MAX_SAFE_INTEGER,
          ),
        },
        {
          required: ['next'],
          ...rules({ rule: 'self.next >= oldSelf.next', message: 'next only grows: what is below may be in use' }),
        },
      ),
    },
    {
      required: ['spec'],
      ...rules({ rule: "self.metadata.name == 'default'", message: 'there is one range, named default' }),
    },
  ),
};
