/** `toPorts` and `icmps`: reference policy-language.md, B4. */
import { MAX_ENTRIES, WITH_PORTS, WITHOUT_PORTS } from '../../agent/policy/parse/cilium-ports.ts';
import { ICMP_TYPES } from '../../agent/policy/parse/icmp-types.ts';
import { PORT, PORT_NUMBER } from '../network.ts';
import { type Condition, integer, list, object, type Schema, text, union } from '../schema.ts';
import { DNS_RULE, HTTP_RULE } from './l7.ts';

const PORTLESS: Condition = { enum: Object.keys(WITHOUT_PORTS) };
const NO_RANGE: Condition = { maximum: 0 };

const PORT_PROTOCOL = object(
  'A port, or a range of ports, of a protocol.',
  {
    port: text(
      'A number from 1 to 65535, the name of a container port, or "0" for every port. Always text: put numbers in quotes. The port of the pod behind a Service, not that of the Service.',
      PORT,
    ),
    endPort: integer('Last port of a range that begins at port, which is then a number. 0: no range.', 0, 65535),
    protocol: text(
      'ANY (the default) is TCP, UDP and SCTP, and no other. For ICMP write icmps. Protocols without ports take no port.',
      { enum: [...Object.keys(WITH_PORTS), ...Object.keys(WITHOUT_PORTS)] },
    ),
  },
  {
    anyOf: [
      { properties: { protocol: { not: PORTLESS } }, required: ['port'] },
      { properties: { protocol: PORTLESS, port: { enum: ['0'] }, endPort: NO_RANGE }, required: ['protocol'] },
    ],
    allOf: [{ anyOf: [{ properties: { port: PORT_NUMBER } }, { properties: { endPort: NO_RANGE } }] }],
  },
);

const PORTS = list('What is matched; any of them will do.', PORT_PROTOCOL, { maxItems: MAX_ENTRIES });

const NAME = { minLength: 1, maxLength: 253 };
const SECRET = object(
  'A Secret.',
  { namespace: text('Its namespace.', { maxLength: 63 }), name: text('Its name.', NAME) },
  { required: ['name'] },
);

function tls(description: string): Schema {
  return object(
    description,
    {
      secret: SECRET,
      trustedCA: text('Key in the Secret of the CA that the other side is checked with; ca.crt if left out.'),
      certificate: text('Key in the Secret of the certificate to show; tls.crt if left out.'),
      privateKey: text('Key in the Secret of the private key; tls.key if left out.'),
    },
    { required: ['secret'] },
  );
}

const LISTENER = object(
  'Hands what is matched to a listener of an Envoy configuration. Not supported by Weir yet.',
  {
    envoyConfig: object(
      'The configuration the listener is in.',
      {
        kind: text('Its kind.', { enum: ['CiliumEnvoyConfig', 'CiliumClusterwideEnvoyConfig'] }),
        name: text('Its name.', NAME),
      },
      { required: ['name'] },
    ),
    name: text('Name of the listener.', NAME),
    priority: integer('Which listener wins where several match: the lowest.', 1, 100),
  },
  { required: ['envoyConfig', 'name'] },
);

const RULES = union(
  'What applications may say. Not supported by Weir yet: a policy with it isolates its pods and allows nothing.',
  {
    http: list('HTTP requests; any of them will do.', HTTP_RULE),
    dns: list('DNS names that may be asked for.', DNS_RULE),
  },
);

const ALLOW_PORTS = object('Ports, and what may be said there.', {
  ports: PORTS,
  rules: RULES,
  listener: LISTENER,
  terminatingTLS: tls('TLS with the client ends here, so that rules can be applied. Not supported by Weir yet.'),
  originatingTLS: tls('TLS with the server begins here. Not supported by Weir yet.'),
  serverNames: list('Names a TLS client may ask for (SNI). Not supported by Weir yet.', {
    type: 'string',
    minLength: 1,
    maxLength: 255,
  }),
});

/** `allows`: rules that allow know more than ports. */
export function toPorts(allows: boolean): Schema {
  const what =
    'Ports the rule is about, those of the side that is connected to. Left out or empty: every protocol and port.';
  return list(what, allows ? ALLOW_PORTS : object('Ports.', { ports: PORTS }));
}

function types(family: 'IPv4' | 'IPv6'): string {
  return ['[0-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5]', ...Object.keys(ICMP_TYPES[family])].join('|');
}

const ICMP_FIELD = object(
  'One type of ICMP message.',
  {
    family: text('IPv4 (the default) or IPv6.', { enum: ['IPv4', 'IPv6'] }),
    type: {
      description: 'Number of the type, 0 to 255, or its name, such as EchoRequest.',
      'x-kubernetes-int-or-string': true,
    },
  },
  {
    required: ['type'],
    anyOf: [
      {
        properties: { family: { enum: ['IPv4'] }, type: { pattern: `^(${types('IPv4')})$`, minimum: 0, maximum: 255 } },
      },
      {
        properties: { family: { enum: ['IPv6'] }, type: { pattern: `^(${types('IPv6')})$`, minimum: 0, maximum: 255 } },
        required: ['family'],
      },
    ],
  },
);

export const ICMPS = list(
  'ICMP messages the rule is about. Not in one rule with toPorts.',
  object('Any of these.', { fields: list('Types of messages.', ICMP_FIELD, { maxItems: MAX_ENTRIES }) }),
);
