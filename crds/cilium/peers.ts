/** Who the other side of a rule may be: reference policy-language.md, B2 and B3. */
import { PEER_FIELDS } from '../../agent/policy/parse/cilium-schema.ts';
import { ENTITIES } from '../../agent/policy/select/entity.ts';
import { ADDRESS_OR_PREFIX, PREFIX } from '../network.ts';
import { list, map, object, type Rule, type Schema, text, union } from '../schema.ts';
import { FQDN } from './l7.ts';
import { selector } from './selector.ts';

const CIDR_RULE = object(
  'Addresses, by exactly one of cidr, cidrGroupRef and cidrGroupSelector.',
  {
    cidr: text('A prefix, such as 10.0.0.0/8.', PREFIX),
    cidrGroupRef: text('Name of a CiliumCIDRGroup.', { minLength: 1, maxLength: 253 }),
    cidrGroupSelector: selector('CiliumCIDRGroups by their labels.'),
    except: list('Prefixes inside cidr that are not meant. Only beside cidr.', { type: 'string', ...PREFIX }),
  },
  {
    oneOf: [{ required: ['cidr'] }, { required: ['cidrGroupRef'] }, { required: ['cidrGroupSelector'] }],
    anyOf: [{ required: ['cidr'] }, { properties: { except: { maxItems: 0 } } }],
  },
);

const NAMESPACE = text('Its namespace; any if left out.', { maxLength: 63 });
const SERVICE = union('A Service, by its name or its labels.', {
  k8sService: object(
    'A Service by its name.',
    { serviceName: text('Its name.', { maxLength: 63 }), namespace: NAMESPACE },
    { required: ['serviceName'] },
  ),
  k8sServiceSelector: object(
    'Services by their labels.',
    { selector: selector('Labels of the Services.'), namespace: NAMESPACE },
    { required: ['selector'] },
  ),
});

const NAMES = { type: 'string' } as const;
const GROUPS = object("Addresses of a cloud's own groups. Not supported by Weir yet.", {
  aws: object('Instances of AWS; all that is given has to match.', {
    labels: map('Tags they have, all of them.'),
    securityGroupsIds: list('Security groups they are in, any of them.', NAMES),
    securityGroupsNames: list('Names of security groups they are in, any of them.', NAMES),
    region: text('Not used.'),
  }),
});

/** The members of a rule that name the other side. */
export function peers(direction: 'ingress' | 'egress', allows: boolean): { [name: string]: Schema } {
  const prefix = direction === 'ingress' ? 'from' : 'to';
  const side = direction === 'ingress' ? 'who connects' : 'whom they connect to';
  return {
    [`${prefix}Endpoints`]: list(
      `Pods ${side}, by labels; any of the selectors will do. In a namespaced policy those of its own namespace, unless the selector names k8s:io.kubernetes.pod.namespace. An empty list is nobody, {} is every such pod.`,
      selector('Pods by the labels of their identity.'),
    ),
    [`${prefix}Requires`]: list('Was taken out of the language; may only be empty.', NAMES, { maxItems: 0 }),
    [`${prefix}CIDR`]: list('Addresses outside the cluster. Never pods, and nodes only where that is configured.', {
      type: 'string',
      ...ADDRESS_OR_PREFIX,
    }),
    [`${prefix}CIDRSet`]: list(`As ${prefix}CIDR, with exceptions and groups.`, CIDR_RULE),
    [`${prefix}Entities`]: list(
      'Who is not named by labels: world is all outside the cluster, host the own node, remote-node the others, cluster all of these and the pods.',
      { type: 'string', enum: ENTITIES },
    ),
    [`${prefix}Nodes`]: list('Nodes by their labels.', selector('Labels of nodes.')),
    [`${prefix}Groups`]: list("Members of a cloud's own groups. Not supported by Weir yet.", GROUPS),
    ...(direction === 'egress' && { toServices: list('The pods behind Services.', SERVICE) }),
    ...(direction === 'egress' && allows && { toFQDNs: list('Names outside. Not supported by Weir yet.', FQDN) }),
  };
}

/** Names the other side in one way only. */
export function onePeerField(direction: 'ingress' | 'egress', allows: boolean): Rule {
  const names = PEER_FIELDS[direction].filter((name) => allows || name !== 'toFQDNs');
  const used = names.map((name) => `(has(self.${name}) && size(self.${name}) > 0 ? 1 : 0)`);
  return {
    rule: `${used.join(' + ')} <= 1`,
    message: `only one of ${names.join(', ')} can stand in a rule; write one rule for each`,
  };
}
