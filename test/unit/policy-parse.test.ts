/** What parsers say about documents that are wrong: every message names the field and what was expected. */
import { readFileSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { parse as parseYaml } from 'yaml';
import type { Document } from '../../agent/model/object.ts';
import { parse } from '../../agent/policy/parse/parse.ts';
import { suite } from '../kit/suite.ts';
import { anyDocument, ccnp, cidrGroup, clusterPolicy, cnp, netpol } from './policy-documents.ts';

const test = suite('policy: parsers');

function messages(document: Document): string[] {
  const { problems } = parse(document, { clusterName: 'default', cidrKinds: ['outside'] });
  return problems.map(({ severity, message }) => (severity === 'error' ? message : `(${severity}) ${message}`));
}

const TABLE: readonly [Document, readonly string[]][] = [
  // Misplaced and misspelt fields.
  [cnp({ endpointSelector: {}, ingres: [] }), ['spec.ingres: did you mean spec.ingress?']],
  [
    cnp({ endpointSelector: {}, ingress: [{ fromEndpoint: [{}] }] }),
    ['spec.ingress[0].fromEndpoint: did you mean ingress[0].fromEndpoints?'],
  ],
  [
    cnp({ endpointSelector: {}, ingress: [{ fromEndpoints: [{ app: 'web' }] }] }),
    ['spec.ingress[0].fromEndpoints[0].app: did you mean fromEndpoints[0].matchLabels.app?'],
  ],
  [
    cnp({ endpointSelector: {}, ingress: [{ toPorts: [{ ports: [{ port: '80', icmps: [] }] }] }] }),
    ['spec.ingress[0].toPorts[0].ports[0].icmps: did you mean icmps further out, not inside ports[0]?'],
  ],
  [
    cnp({ endpointSelector: {}, ingress: [{ podSelector: {} }] }),
    [
      'spec.ingress[0].podSelector: unknown field, expected one of fromEndpoints, fromRequires, fromCIDR, fromCIDRSet, fromEntities, fromNodes, fromGroups, toPorts, icmps, authentication',
    ],
  ],
  [
    netpol({ podSelector: {}, ingress: [{ from: [{ cidr: '10.0.0.0/8' }] }] }),
    ['spec.ingress[0].from[0].cidr: did you mean from[0].ipBlock.cidr?'],
  ],
  [
    netpol({ podSelector: {}, ingress: [{ from: [{ podSelector: {} }], port: 80 }] }),
    ['spec.ingress[0].port: did you mean ingress[0].ports[].port?'],
  ],
  // Wrong shapes, several at once.
  [
    cnp({ endpointSelector: { matchLabels: { tier: 1, up: true } }, ingress: { fromEndpoints: [{}] } }),
    [
      'spec.endpointSelector.matchLabels.tier: expected text, found 1; put it in quotes: "1"',
      'spec.endpointSelector.matchLabels.up: expected text, found true; put it in quotes: "true"',
      'spec.ingress: expected a list, found fields',
    ],
  ],
  [
    cnp({ endpointSelector: {}, ingress: [{ fromEndpoints: null }] }),
    ['spec.ingress[0].fromEndpoints: expected a list, found nothing; write [] for nobody, or leave the field out'],
  ],
  [cnp({ ingress: [] }), ['spec: endpointSelector is missing']],
  [cnp({ endpointSelector: {} }), ['spec: expected at least one of ingress, ingressDeny, egress, egressDeny']],
  [anyDocument('cilium.io/v2', 'CiliumNetworkPolicy', {}), ['expected spec or specs']],
  [cnp('all'), ['spec: expected fields, found "all"']],
  // Not built yet.
  [ccnp({ nodeSelector: {}, ingress: [] }), ['spec.nodeSelector: nodeSelector is not supported yet']],
  [
    cnp({ endpointSelector: {}, ingress: [{ fromGroups: [{}], authentication: { mode: 'required' } }] }),
    [
      'spec.ingress[0].fromGroups: fromGroups is not supported yet',
      'spec.ingress[0].authentication: authentication is not supported yet',
    ],
  ],
  [
    cnp({
      endpointSelector: {},
      egress: [{ toPorts: [{ listener: {}, terminatingTLS: {}, originatingTLS: {}, serverNames: [] }] }],
    }),
    ['listener', 'terminatingTLS', 'originatingTLS', 'serverNames'].map(
      (field) => `spec.egress[0].toPorts[0].${field}: ${field} is not supported yet`,
    ),
  ],
  [
    cnp({ endpointSelector: {}, egressDeny: [{ toFQDNs: [], toPorts: [{ rules: {} }] }] }),
    [
      'spec.egressDeny[0].toFQDNs: unknown field, expected one of toEndpoints, toRequires, toCIDR, toCIDRSet, toEntities, toNodes, toGroups, toServices, toPorts, icmps',
      'spec.egressDeny[0].toPorts[0].rules: unknown field, expected one of ports',
    ],
  ],
  [
    clusterPolicy({
      tier: 'Admin',
      priority: 1,
      subject: { namespaces: {} },
      egress: [{ action: 'Accept', to: [{ domainNames: ['a.example'] }] }],
    }),
    ['spec.egress[0].to[0].domainNames: domainNames is not supported yet'],
  ],
  // Meaning.
  [
    cnp({ endpointSelector: {}, ingress: [{ fromEndpoints: [{}], fromCIDR: ['10.0.0.0/8'] }] }),
    ['spec.ingress[0]: fromEndpoints and fromCIDR cannot stand in one rule; write one rule for each'],
  ],
  [
    cnp({ endpointSelector: {}, ingress: [{ toPorts: [{}], icmps: [{}] }] }),
    ['spec.ingress[0]: icmps and toPorts cannot stand in one rule; write two rules'],
  ],
  [
    cnp({
      endpointSelector: {},
      ingress: [
        {
          fromCIDRSet: [
            { cidr: '10.0.0.0/8', except: ['11.0.0.0/16'] },
            { cidrGroupRef: 'a', except: ['10.0.0.0/16'] },
            {},
          ],
        },
      ],
    }),
    [
      'spec.ingress[0].fromCIDRSet[0].except[0]: 11.0.0.0/16 does not lie inside 10.0.0.0/8',
      'spec.ingress[0].fromCIDRSet[1].except: except can only stand beside cidr',
      'spec.ingress[0].fromCIDRSet[2]: expected exactly one of cidr, cidrGroupRef, cidrGroupSelector, found none',
    ],
  ],
  [
    cnp({ endpointSelector: {}, ingress: [{ fromCIDR: ['10.0.0.0/33', '10.0.0'] }, { fromEntities: ['wold'] }] }),
    [
      'spec.ingress[0].fromCIDR[0]: expected an address or a CIDR, found "10.0.0.0/33"',
      'spec.ingress[0].fromCIDR[1]: expected an address or a CIDR, found "10.0.0"',
      'spec.ingress[1].fromEntities[0]: expected one of all, world, world-ipv4, world-ipv6, cluster, cluster-mesh, host, remote-node, kube-apiserver, health, init, ingress, unmanaged, none, found "wold"',
    ],
  ],
  [
    cnp({
      endpointSelector: {
        matchExpressions: [
          { key: 'a', operator: 'in', values: ['x'] },
          { key: 'a', operator: 'In' },
          { key: 'a', operator: 'Exists', values: ['x'] },
          { key: 'bad key', operator: 'Exists' },
          { key: 'cidr:10.0.0.0/8', operator: 'Exists' },
          { key: 'kubernetes:a', operator: 'Exists' },
          { key: 'pod-template-hash', operator: 'Exists' },
        ],
      },
      ingress: [],
    }),
    [
      'spec.endpointSelector.matchExpressions[0].operator: expected one of In, NotIn, Exists, DoesNotExist, found "in"',
      'spec.endpointSelector.matchExpressions[1]: In needs values',
      'spec.endpointSelector.matchExpressions[2]: Exists takes no values',
      'spec.endpointSelector.matchExpressions[3].key: bad key is no label key',
      'spec.endpointSelector.matchExpressions[4].key: selecting by cidr: labels is not supported yet; use CIDR rules',
      'spec.endpointSelector.matchExpressions[5].key: "kubernetes" is no source of labels, expected k8s, any, reserved, node, cni, gen, unspec, directory',
      'spec.endpointSelector.matchExpressions[6].key: pod-template-hash is not part of identities (it differs per pod or rollout), so no selector can see it',
    ],
  ],
  [
    netpol({
      podSelector: { matchLabels: { 'k8s:app': 'a', app: 'not ok' } },
      ingress: [{ from: [{}, { ipBlock: { cidr: '10.0.0.1' }, podSelector: {} }] }],
    }),
    [
      'spec.podSelector.matchLabels.k8s:app: k8s:app is no label key: ":" is not allowed',
      'spec.podSelector.matchLabels.app: "not ok" is no label value, nothing can have it',
      'spec.ingress[0].from[0]: expected podSelector, namespaceSelector or ipBlock',
      'spec.ingress[0].from[1].ipBlock.cidr: expected a CIDR like 10.0.0.0/8 or fd00::/8, found "10.0.0.1"',
    ],
  ],
  // Ports.
  [
    cnp({
      endpointSelector: {},
      ingress: [
        {
          toPorts: [
            {
              ports: [
                { protocol: 'TCP' },
                { port: '65536' },
                { port: '-1' },
                { port: '80', endPort: 79 },
                { port: 'http', endPort: 81 },
                { port: '0', endPort: 81 },
                { port: '80', protocol: 'ICMP' },
                { port: '80', protocol: 'GRE' },
                { port: 80 },
                { port: '08' },
                { port: '0100' },
                { port: '0x10' },
              ],
            },
          ],
        },
      ],
    }),
    [
      'spec.ingress[0].toPorts[0].ports[0]: port is missing; "0" means every port',
      'spec.ingress[0].toPorts[0].ports[1].port: expected a number from 0 to 65535 or a port name, found "65536"',
      'spec.ingress[0].toPorts[0].ports[2].port: expected a number from 0 to 65535 or a port name, found "-1"',
      'spec.ingress[0].toPorts[0].ports[3].endPort: expected 80 (port) or more, found 79',
      'spec.ingress[0].toPorts[0].ports[4].endPort: a port name takes no endPort',
      'spec.ingress[0].toPorts[0].ports[5].endPort: port "0" is every port and takes no endPort',
      'spec.ingress[0].toPorts[0].ports[6].protocol: expected one of TCP, UDP, SCTP, ANY, IGMP, IPIP, IPV6, GRE, ESP, AH, VRRP, found "ICMP"; ICMP is written in icmps, beside toPorts in a rule of its own',
      'spec.ingress[0].toPorts[0].ports[7].port: GRE has no ports',
      'spec.ingress[0].toPorts[0].ports[8].port: expected text, found 80; put it in quotes: "80"',
      'spec.ingress[0].toPorts[0].ports[9].port: expected a number from 0 to 65535 or a port name, found "08"',
      '(warning) spec.ingress[0].toPorts[0].ports[10].port: "0100" begins with 0 and is read as octal: 64',
    ],
  ],
  [
    cnp({
      endpointSelector: {},
      ingress: [
        { icmps: [{ fields: [{ type: 256 }, { type: 'PacketTooBig' }, { family: 'IPv6', type: 'Echo' }, {}] }] },
      ],
    }),
    [
      'spec.ingress[0].icmps[0].fields[0].type: expected 0 to 255 or, for IPv4, one of EchoReply, DestinationUnreachable, Redirect, Echo, EchoRequest, RouterAdvertisement, RouterSelection, TimeExceeded, ParameterProblem, Timestamp, TimestampReply, Photuris, ExtendedEchoRequest, ExtendedEchoReply; found 256',
      /fields\[1\]\.type: expected 0 to 255 or, for IPv4, .*; found "PacketTooBig"$/,
      /fields\[2\]\.type: expected 0 to 255 or, for IPv6, .*; found "Echo"$/,
      'spec.ingress[0].icmps[0].fields[3]: type is missing',
    ] as unknown as string[],
  ],
  [
    netpol({
      podSelector: {},
      ingress: [
        {
          ports: [{ port: '80' }, { port: 0 }, { endPort: 80 }, { port: 80, endPort: 79 }, { port: 'a', endPort: 79 }],
        },
      ],
    }),
    [
      'spec.ingress[0].ports[0].port: expected a number or a port name, found "80"; write a number without quotes',
      'spec.ingress[0].ports[1].port: expected 1 to 65535, found 0',
      'spec.ingress[0].ports[2].endPort: endPort can only stand beside a port number',
      'spec.ingress[0].ports[3].endPort: expected 80 (port) or more, found 79',
      'spec.ingress[0].ports[4].endPort: endPort can only stand beside a port number',
    ],
  ],
  [
    clusterPolicy({
      tier: 'Top',
      priority: 1001,
      subject: {},
      ingress: [{ action: 'Allow', from: [] }],
      egress: [{ action: 'Deny', to: [{ networks: ['10.0.0.0/8'] }], protocols: [{ destinationNamedPort: 'http' }] }],
    }),
    [
      'spec.tier: expected one of Admin, Baseline, found "Top"',
      'spec.priority: expected 0 to 1000, found 1001',
      'spec.subject: expected exactly one of namespaces, pods, found none',
      'spec.ingress[0].action: expected one of Accept, Deny, Pass, found "Allow"',
      'spec.ingress[0].from: expected at least 1, found 0',
    ],
  ],
  [
    clusterPolicy({
      tier: 'Admin',
      priority: 1,
      subject: { namespaces: {} },
      egress: [{ action: 'Deny', to: [{ networks: ['10.0.0.0/8'] }], protocols: [{ destinationNamedPort: 'http' }] }],
    }),
    ['spec.egress[0]: networks and nodes have no port names: write the port as a number'],
  ],
  [cidrGroup('group', ['10.0.0.0/8', 'x']), ['spec.externalCIDRs[1]: expected a CIDR, found "x"']],
  [
    anyDocument('cilium.io/v2', 'CiliumEgressPolicy', {}),
    ['kind: cilium.io/v2 CiliumEgressPolicy is no policy this engine knows'],
  ],
  // Warnings.
  [
    cnp({ endpointSelector: { matchLabels: { 'k8s:io.kubernetes.pod.namespace': 'other' } }, ingress: [] }),
    ['(warning) spec.endpointSelector: the policy applies to namespace default only; this label is ignored'],
  ],
  [
    cnp(
      { endpointSelector: {}, ingress: [] },
      { annotations: { 'weir.dev/audti': 'true', 'weir.dev/audit': 'yes', 'weir.dev/expires-at': 'tomorrow' } },
    ),
    [
      '(warning) metadata.annotations.weir.dev/audti: unknown annotation, did you mean weir.dev/audit?',
      '(warning) metadata.annotations.weir.dev/audit: expected one of true, false, found "yes"; the policy is enforced',
      '(warning) metadata.annotations.weir.dev/expires-at: expected a time like 2026-01-31T12:00:00Z, found "tomorrow"; it counts as past',
    ],
  ],
  [
    cnp({ endpointSelector: {}, ingress: [] }, { annotations: { 'weir.dev/established': 'keep' } }),
    [
      '(warning) metadata.annotations.weir.dev/established: established: keep is not supported yet; running connections are judged by every change',
    ],
  ],
];

for (const [i, [document, expected]] of TABLE.entries()) {
  const first = String(expected[0]);
  test(`${i + 1}: ${first.length > 90 ? `${first.slice(0, 87)}...` : first}`, () => {
    const found = messages(document);
    assert.is(found.length, expected.length, found.join('\n'));
    for (const [j, one] of (expected as readonly (string | RegExp)[]).entries()) {
      if (typeof one === 'string') assert.is(found[j], one);
      else assert.match(found[j] ?? '', one);
    }
  });
}

test('the guide’s own file gets the right field, and its fixed version nothing', () => {
  const read = (name: string): Document => {
    const raw = parseYaml(readFileSync(new URL(`../fixtures/seed/${name}`, import.meta.url), 'utf8'));
    return { ...cnp(raw.spec, { name: raw.metadata.name }), raw };
  };
  assert.equal(messages(read('cilium-backend-policy.yaml')), [
    'spec.ingress[0].toPorts[0].port: did you mean toPorts[0].ports[].port?',
    'spec.ingress[0].toPorts[0].protocol: did you mean toPorts[0].ports[].protocol?',
    'spec.egress[0].toPorts[0].port: did you mean toPorts[0].ports[].port?',
    'spec.egress[0].toPorts[0].protocol: did you mean toPorts[0].ports[].protocol?',
  ]);
  assert.equal(messages(read('cilium-backend-policy.fixed.yaml')), []);
});

test('a problem carries code, path, place and line', () => {
  const { problems } = parse(cnp({ endpointSelector: {}, ingres: [] }), {
    clusterName: 'default',
    cidrKinds: ['outside'],
  });
  assert.equal(problems, [
    {
      severity: 'error',
      code: 'unknown-field',
      message: 'spec.ingres: did you mean spec.ingress?',
      path: ['spec', 'ingres'],
      place: 'policy.yaml',
      line: 12,
    },
  ]);
});

test('whatever stands in a document, parsing reports and never throws', () => {
  const odd = [
    null,
    undefined,
    0,
    1.5,
    true,
    'x',
    [],
    {},
    [[]],
    [null],
    [{}],
    { spec: [] },
    { a: { b: null } },
    '__proto__',
    ['x', 1],
  ];
  const places = (value: unknown): object[] => [
    { endpointSelector: value, ingress: value },
    { endpointSelector: { matchLabels: value, matchExpressions: value }, egress: [value] },
    {
      endpointSelector: {},
      ingress: [{ fromEndpoints: value, fromCIDRSet: value, toPorts: value, icmps: value, fromEntities: value }],
    },
    {
      endpointSelector: {},
      egress: [{ toServices: [value], toPorts: [{ ports: [value] }], icmps: [{ fields: [value] }] }],
    },
    { podSelector: value, policyTypes: value, ingress: [{ from: [value], ports: [value] }], egress: value },
    {
      podSelector: {},
      ingress: [{ from: [{ ipBlock: value, podSelector: value }], ports: [{ port: value, endPort: value }] }],
    },
    { tier: value, priority: value, subject: value, egress: [{ action: value, to: [value], protocols: [value] }] },
    {
      subject: { pods: value },
      tier: 'Admin',
      priority: 1,
      ingress: [{ action: 'Deny', from: [{ pods: value }], protocols: [{ tcp: value }] }],
    },
  ];
  for (const value of odd) {
    for (const spec of places(value)) {
      for (const make of [cnp, ccnp, netpol, clusterPolicy]) {
        const found = messages((make as typeof cnp)(spec));
        assert.ok(
          found.length > 0 || value === undefined || Array.isArray(value) || typeof value === 'object',
          JSON.stringify(spec),
        );
      }
    }
  }
});

test.run();
