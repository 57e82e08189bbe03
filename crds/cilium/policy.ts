/** CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy: reference policy-language.md, B1. */
import { DIRECTION_FIELDS } from '../../agent/policy/parse/cilium-schema.ts';
import { AGE, type Definition } from '../definition.ts';
import { boolean, keepingNulls, list, object, type Rule, rules, type Schema, text } from '../schema.ts';
import { conditions } from '../status.ts';
import { onePeerField, peers } from './peers.ts';
import { ICMPS, toPorts } from './ports.ts';
import { selector } from './selector.ts';

/** Limits that CEL asks for: the API server has to know how much work a document can be at most. */
const MAX_SPECS = 100;
const MAX_RULES = 2000;

const NOT_BOTH: Rule = {
  rule: '!(has(self.icmps) && size(self.icmps) > 0 && has(self.toPorts) && size(self.toPorts) > 0)',
  message: 'icmps and toPorts cannot stand in one rule; write two rules',
};

function direction(name: 'ingress' | 'egress', allows: boolean): Schema {
  const what = name === 'ingress' ? 'Who may connect to the pods, and to what.' : 'What the pods may connect to.';
  const denies = `As ${name}, but denied; a denial wins over everything that is allowed.`;
  const description = allows ? `${what} [{}] isolates the pods and allows nothing.` : denies;
  const rule = object(
    'Both the other side and the port have to match.',
    {
      ...peers(name, allows),
      toPorts: toPorts(allows),
      icmps: ICMPS,
      ...(allows && {
        authentication: object(
          'How the other side has to prove who it is. Not supported by Weir yet.',
          { mode: text('What is asked for.', { enum: ['disabled', 'required', 'test-always-fail'] }) },
          { required: ['mode'] },
        ),
      }),
    },
    rules(onePeerField(name, allows), NOT_BOTH),
  );
  return list(description, rule, { maxItems: MAX_RULES });
}

const LABEL = object(
  'A label.',
  { key: text('Its key.', { minLength: 1 }), value: text('Its value.'), source: text('Where it comes from.') },
  { required: ['key'] },
);

const NAMES_DIRECTION: Rule = {
  rule: [...DIRECTION_FIELDS.ingress, ...DIRECTION_FIELDS.egress].map((name) => `has(self.${name})`).join(' || '),
  message: `at least one of ${[...DIRECTION_FIELDS.ingress, ...DIRECTION_FIELDS.egress].join(', ')} is needed`,
};
const ONE_SUBJECT: Rule = {
  rule: 'has(self.endpointSelector) != has(self.nodeSelector)',
  message: 'exactly one of endpointSelector and nodeSelector is needed',
};

function spec(clusterwide: boolean): Schema {
  const pods = clusterwide
    ? 'Pods the rules are about, of all namespaces.'
    : 'Pods of this namespace the rules are about.';
  return object(
    'Whom the rules are about, and the rules.',
    {
      endpointSelector: selector(`${pods} {} is all of them.`),
      ...(clusterwide && { nodeSelector: selector('Nodes the rules are about. Not supported by Weir yet.') }),
      ingress: direction('ingress', true),
      ingressDeny: direction('ingress', false),
      egress: direction('egress', true),
      egressDeny: direction('egress', false),
      enableDefaultDeny: object(
        'Whether what is not allowed is denied. By default yes, in a direction with any entry.',
        {
          ingress: boolean('For connections to the pods.'),
          egress: boolean('For connections of the pods.'),
        },
      ),
      labels: list('Labels of the policy itself.', LABEL),
      description: text('For people.'),
      log: object('What flows say that these rules decided about.', {
        value: text('At most 32 printable characters.', { maxLength: 32, pattern: '^[\\x20-\\x7e]*$' }),
      }),
    },
    {
      ...(!clusterwide && { required: ['endpointSelector'] }),
      ...rules(NAMES_DIRECTION, ...(clusterwide ? [ONE_SUBJECT] : [])),
    },
  );
}

function policy(clusterwide: boolean): Schema {
  return object(
    clusterwide
      ? 'Which connections are allowed and denied, for pods of all namespaces.'
      : 'Which connections are allowed and denied, for pods of one namespace.',
    {
      spec: keepingNulls(spec(clusterwide)),
      specs: list('More of the same under one name.', keepingNulls(spec(clusterwide)), { maxItems: MAX_SPECS }),
      status: object('What became of the policy.', {
        conditions: conditions(
          'Valid: False says what cannot be enforced; pods are then isolated and nothing is allowed, or the last valid version holds.',
        ),
        derivativePolicies: {
          type: 'object',
          description: 'Written by Cilium; Weir leaves it as it is.',
          'x-kubernetes-preserve-unknown-fields': true,
        },
      }),
    },
    rules({ rule: 'has(self.spec) || (has(self.specs) && size(self.specs) > 0)', message: 'spec or specs is needed' }),
  );
}

const CONDITION = ".status.conditions[?(@.type=='Valid')]";
const COMMON = {
  group: 'cilium.io',
  categories: ['cilium', 'ciliumpolicy'],
  versions: [{ name: 'v2' }],
  columns: [
    AGE,
    { name: 'Valid', type: 'string', jsonPath: `${CONDITION}.status` },
    { name: 'Message', type: 'string', jsonPath: `${CONDITION}.message`, priority: 1 },
  ],
} as const;

export const CILIUM_NETWORK_POLICY: Definition = {
  ...COMMON,
  kind: 'CiliumNetworkPolicy',
  plural: 'ciliumnetworkpolicies',
  shortNames: ['cnp', 'ciliumnp'],
  scope: 'Namespaced',
  schema: policy(false),
};

export const CILIUM_CLUSTERWIDE_NETWORK_POLICY: Definition = {
  ...COMMON,
  kind: 'CiliumClusterwideNetworkPolicy',
  plural: 'ciliumclusterwidenetworkpolicies',
  shortNames: ['ccnp'],
  scope: 'Cluster',
  schema: policy(true),
};
