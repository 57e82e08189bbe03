/** Sources whose packets are dropped before anything else looks at them. */
import { AGE, type Definition } from '../definition.ts';
import { ADDRESS_OR_PREFIX } from '../network.ts';
import { list, object } from '../schema.ts';
import { WEIR } from './identity.ts';

/** At 45 characters each still below what etcd takes in one object (1.5 MiB); several lists add up. */
const MAX_CIDRS = 25_000;

export const WEIR_DENY_LIST: Definition = {
  ...WEIR,
  kind: 'WeirDenyList',
  plural: 'weirdenylists',
  shortNames: ['wdl'],
  columns: [AGE],
  schema: object(
    'Addresses outside the cluster whose packets every node drops where they arrive, before the network stack. All lists together hold.',
    {
      spec: object(
        'The addresses.',
        { cidrs: list('Prefixes or addresses.', { type: 'string', ...ADDRESS_OR_PREFIX }, { maxItems: MAX_CIDRS }) },
        { required: ['cidrs'] },
      ),
    },
    { required: ['spec'] },
  ),
};
