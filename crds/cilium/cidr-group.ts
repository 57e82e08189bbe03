/** CiliumCIDRGroup: prefixes under a name. */
import { AGE, type Definition } from '../definition.ts';
import { ADDRESS_OR_PREFIX } from '../network.ts';
import { list, object } from '../schema.ts';

export const CILIUM_CIDR_GROUP: Definition = {
  group: 'cilium.io',
  kind: 'CiliumCIDRGroup',
  plural: 'ciliumcidrgroups',
  shortNames: ['ccg'],
  categories: ['cilium'],
  scope: 'Cluster',
  versions: [{ name: 'v2' }, { name: 'v2alpha1', deprecation: 'write cilium.io/v2; the fields are the same' }],
  columns: [AGE],
  schema: object(
    'Prefixes outside the cluster that policies refer to by name or label.',
    {
      spec: object(
        'The prefixes.',
        { externalCIDRs: list('Prefixes or addresses.', { type: 'string', ...ADDRESS_OR_PREFIX }) },
        { required: ['externalCIDRs'] },
      ),
    },
    { required: ['spec'] },
  ),
};
