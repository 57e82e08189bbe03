/** Policies as people write them: which the API server takes, and which it refuses by which field (reference policy-language.md, B1 to B4). */
import type { Document } from '../../agent/model/object.ts';
import { ccnp, cidrGroup, cnp } from '../unit/policy-documents.ts';

/** A refused document has the field and what is said about it. */
export interface Case {
  readonly title: string;
  readonly document: Document;
  readonly refused?: { readonly field: string; readonly says: string };
}

const CASES: Case[] = [];
export const cases: readonly Case[] = CASES;

function takes(title: string, document: Document): void {
  CASES.push({ title, document });
}
function refuses(title: string, document: Document, field: string, says: string): void {
  CASES.push({ title, document, refused: { field, says } });
}

/** A policy of this with endpointSelector {}. */
const all = (fields: object) => cnp({ endpointSelector: {}, ...fields });
const ingress = (...rules: object[]) => all({ ingress: rules });
const egress = (...rules: object[]) => all({ egress: rules });
const times = <T>(count: number, item: T): T[] => Array<T>(count).fill(item);
function specs(...list: object[]): Document {
  const document = cnp(undefined);
  return { ...document, raw: { ...(document.raw as object), specs: list } };
}
const IN = 'spec.ingress[0]';
const OUT = 'spec.egress[0]';

// B1: the object.
const direction = 'at least one of ingress, ingressDeny, egress, egressDeny is needed';
const subject = 'exactly one of endpointSelector and nodeSelector is needed';
refuses('neither spec nor specs', cnp(undefined), '<nil>', 'spec or specs is needed');
refuses('empty specs', specs(), '<nil>', 'spec or specs is needed');
takes('specs', specs({ endpointSelector: {}, ingress: [] }, { endpointSelector: {}, egressDeny: [{}] }));
const wrongCidr = { endpointSelector: {}, ingress: [{ fromCIDR: ['x'] }] };
refuses('an error in specs', specs(wrongCidr), 'specs[0].ingress[0].fromCIDR[0]', 'of type cidr');
refuses('101 specs', specs(...times(101, { endpointSelector: {}, ingress: [] })), 'specs', 'at most 100');
refuses('no selector', cnp({ ingress: [] }), 'spec.endpointSelector', 'Required value');
refuses('no direction', all({}), 'spec', direction);
refuses('a misspelt direction', all({ ingres: [] }), 'spec.ingres', 'unknown field');
refuses('2001 rules', ingress(...times(2001, {})), 'spec.ingress', 'at most 2000');
// What CEL may cost at most while it runs is another limit of the API server.
const from = times(2000, { fromEndpoints: [{ matchLabels: { app: 'web' } }], toPorts: [{ ports: [{ port: '80' }] }] });
const to = times(2000, { toEndpoints: [{ matchLabels: { app: 'db' } }], toPorts: [{ ports: [{ port: '80' }] }] });
takes('2000 rules of every kind', all({ ingress: from, ingressDeny: from, egress: to, egressDeny: to }));
refuses('nodeSelector in a namespace', all({ nodeSelector: {}, ingress: [] }), 'spec.nodeSelector', 'unknown field');
takes('nodeSelector of a clusterwide policy', ccnp({ nodeSelector: {}, ingress: [] }));
refuses('both selectors', ccnp({ nodeSelector: {}, endpointSelector: {}, ingress: [] }), 'spec', subject);
refuses('neither selector', ccnp({ ingress: [] }), 'spec', subject);
takes('enableDefaultDeny', all({ ingress: [], enableDefaultDeny: { egress: false } }));
refuses('enableDefaultDeny: false', all({ enableDefaultDeny: false }), 'spec.enableDefaultDeny', 'of type object');
takes('labels and a description', all({ ingress: [], labels: [{ key: 'a', value: 'b' }], description: 'x' }));
refuses('a label without a key', all({ labels: [{ value: 'b' }] }), 'spec.labels[0].key', 'Required value');
refuses('33 characters of log', all({ log: { value: 'x'.repeat(33) } }), 'spec.log.value', 'more than 32');
refuses('a log that does not print', all({ ingress: [], log: { value: 'a\nb' } }), 'spec.log.value', 'should match');

// B2: peers.
const onePeer =
  'only one of fromEndpoints, fromCIDR, fromCIDRSet, fromEntities, fromNodes, fromGroups can stand in a rule';
refuses('two peers', ingress({ fromEndpoints: [{}], fromCIDR: ['10.0.0.0/8'] }), IN, onePeer);
takes('two peers, one of them empty', ingress({ fromEndpoints: [], fromCIDR: ['10.0.0.0/8'] }));
const twoDenied = all({ egressDeny: [{ toEntities: ['world'], toCIDR: ['::/0'] }] });
refuses('two peers in a denial', twoDenied, 'spec.egressDeny[0]', 'only one of toEndpoints, toCIDR');
const bare = ingress({ fromEndpoints: [{ app: 'web' }] });
refuses('a selector without matchLabels', bare, `${IN}.fromEndpoints[0].app`, 'unknown field');
const SELECTOR = 'spec.endpointSelector';
const labelled = (labels: object) => cnp({ endpointSelector: { matchLabels: labels }, ingress: [] });
refuses('a number as a label', labelled({ tier: 1 }), `${SELECTOR}.matchLabels.tier`, 'of type string');
refuses('an impossible label', labelled({ a: 'not ok' }), `${SELECTOR}.matchLabels.a`, 'should match');
refuses('a label too long', labelled({ a: 'x'.repeat(64) }), `${SELECTOR}.matchLabels.a`, 'more than 63');
takes('sources of labels', labelled({ 'k8s:io.kubernetes.pod.namespace': 'a', 'reserved:host': '', 'any:a/b': 'c' }));
const EXPRESSIONS: readonly [object, field: string, says: string][] = [
  [{ key: 'a', operator: 'in', values: ['x'] }, 'operator', 'supported values'],
  [{ key: 'a', operator: 'In' }, 'values', 'Required value'],
  [{ key: 'a', operator: 'In', values: [] }, 'values', 'at least 1'],
  [{ key: 'a', operator: 'Exists', values: ['x'] }, 'operator', 'supported values'],
  [{ operator: 'Exists' }, 'key', 'Required value'],
  [{ key: 'a' }, 'operator', 'Required value'],
  [{ key: 'bad key', operator: 'Exists' }, 'key', 'should match'],
  [{ key: 'kubernetes:a', operator: 'Exists' }, 'key', 'should match'],
];
const expressed = (...list: object[]) => cnp({ endpointSelector: { matchExpressions: list }, ingress: [] });
for (const [one, field, says] of EXPRESSIONS) {
  refuses(JSON.stringify(one), expressed(one), `${SELECTOR}.matchExpressions[0].${field}`, says);
}
takes('labels of addresses', expressed({ key: 'cidr:10.0.0.0/8', operator: 'Exists' }));
refuses('fromRequires', ingress({ fromRequires: ['a'] }), `${IN}.fromRequires`, 'at most 0');
const ADDRESSES = [
  '10.0.0.0/8',
  '10.0.0.1',
  '::/0',
  'fd00::1',
  '::ffff:10.0.0.1',
  '2001:DB8::/32',
  '::ffff:1.2.3.4/128',
];
takes('addresses', ingress({ fromCIDR: ADDRESSES }));
for (const text of ['10.0.0.0/33', '10.0.0', '::/129', 'fd00::g', '10.0.0.0/', '', '10', 'abc']) {
  refuses(`address "${text}"`, ingress({ fromCIDR: [text] }), `${IN}.fromCIDR[0]`, 'of type cidr');
}
for (const text of ['010.0.0.1', '10.0.0.08', '10.0.0.0/08', '::ffff:010.0.0.1']) {
  refuses(`address "${text}"`, ingress({ fromCIDR: [text] }), `${IN}.fromCIDR[0]`, 'should match');
}
const cidrSet = (...list: object[]) => ingress({ fromCIDRSet: list });
takes(
  'exceptions and groups',
  cidrSet({ cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] }, { cidrGroupRef: 'a' }, { cidrGroupSelector: {} }),
);
refuses('a prefix without length', cidrSet({ cidr: '10.0.0.1' }), `${IN}.fromCIDRSet[0].cidr`, 'of type cidr');
const exceptGroup = cidrSet({ cidrGroupRef: 'a', except: ['10.0.0.0/8'] });
refuses('an exception of a group', exceptGroup, `${IN}.fromCIDRSet[0].except`, 'at most 0');
refuses('neither cidr nor group', cidrSet({}), `${IN}.fromCIDRSet[0].cidr`, 'Required value');
refuses(
  'cidr and group',
  cidrSet({ cidr: '10.0.0.0/8', cidrGroupRef: 'a' }),
  `${IN}.fromCIDRSet[0]`,
  'one and only one',
);
const services = (...list: object[]) => egress({ toServices: list });
takes(
  'Services',
  services({ k8sService: { serviceName: 'a', namespace: 'b' } }, { k8sServiceSelector: { selector: {} } }),
);
refuses(
  'a Service without a name',
  services({ k8sService: {} }),
  `${OUT}.toServices[0].k8sService.serviceName`,
  'Required',
);
refuses('no Service', services({}), `${OUT}.toServices[0]`, 'at least 1');
refuses('toServices on ingress', ingress({ toServices: [] }), `${IN}.toServices`, 'unknown field');
takes(
  'names',
  egress({ toFQDNs: [{ matchName: 'a.example' }, { matchPattern: '**.example.' }, { matchPattern: '*' }] }),
);
refuses(
  'a name that is none',
  egress({ toFQDNs: [{ matchName: '*.a' }] }),
  `${OUT}.toFQDNs[0].matchName`,
  'should match',
);
refuses('names in a denial', all({ egressDeny: [{ toFQDNs: [] }] }), 'spec.egressDeny[0].toFQDNs', 'unknown field');
takes('fromGroups', ingress({ fromGroups: [{ aws: { securityGroupsIds: ['a'], labels: { a: 'b' } } }] }));
takes('authentication', ingress({ authentication: { mode: 'required' } }));
refuses(
  'a kind of authentication',
  ingress({ authentication: { mode: 'yes' } }),
  `${IN}.authentication.mode`,
  'supported',
);

// B3: entities.
refuses('an entity', ingress({ fromEntities: ['wold'] }), `${IN}.fromEntities[0]`, 'supported values: "all", "world"');
takes('entities', ingress({ fromEntities: ['world', 'host', 'remote-node', 'kube-apiserver', 'none'] }));

// B4: ports, and what may be said there.
const ports = (...list: object[]) => ingress({ toPorts: [{ ports: list }] });
takes(
  'numbers, names and ranges',
  ports({ port: '80' }, { port: '0' }, { port: 'http' }, { port: '80', endPort: 90, protocol: 'TCP' }),
);
takes('forms of numbers', ports({ port: '0x10' }, { port: '0100' }, { port: '65535' }, { port: '80', endPort: 0 }));
takes('protocols without ports', ports({ protocol: 'GRE' }, { protocol: 'VRRP', port: '0', endPort: 0 }));
const PORTS: readonly [object, field: string, says: string][] = [
  [{ protocol: 'TCP' }, 'port', 'Required value'],
  [{ port: 80 }, 'port', 'of type string'],
  [{ port: '65536' }, 'port', 'should match'],
  [{ port: '-1' }, 'port', 'should match'],
  [{ port: '08' }, 'port', 'should match'],
  [{ port: 'a--b' }, 'port', 'should match'],
  [{ port: 'abcdefghijklmnop' }, 'port', 'more than 15'],
  [{ port: '80', endPort: 65536 }, 'endPort', 'less than or equal to 65535'],
  [{ port: 'http', endPort: 81 }, 'endPort', 'less than or equal to 0'],
  [{ port: '0', endPort: 81 }, 'endPort', 'less than or equal to 0'],
  [{ port: '80', protocol: 'ICMP' }, 'protocol', 'supported values: "TCP", "UDP"'],
  [{ port: '80', protocol: 'tcp' }, 'protocol', 'supported values: "TCP", "UDP"'],
  [{ port: '80', protocol: 'GRE' }, 'port', 'supported values: "0"'],
];
for (const [one, field, says] of PORTS) {
  refuses(JSON.stringify(one), ports(one), `${IN}.toPorts[0].ports[0].${field}`, says);
}
takes('40 ports', ports(...times(40, { port: '1' })));
refuses('41 ports', ports(...times(41, { port: '1' })), `${IN}.toPorts[0].ports`, 'at most 40');
const http = { ports: [{ port: '80' }], rules: { http: [{ method: 'GET', path: '/a', headers: ['X: y'] }, {}] } };
takes('HTTP rules', ingress({ toPorts: [http] }));
refuses(
  'HTTP in a denial',
  all({ ingressDeny: [{ toPorts: [http] }] }),
  'spec.ingressDeny[0].toPorts[0].rules',
  'unknown',
);
const talks = (rules: object) => egress({ toPorts: [{ ports: [{ port: '53' }], rules }] });
takes('DNS rules', talks({ dns: [{ matchPattern: '*' }] }));
refuses('HTTP and DNS', talks({ http: [{}], dns: [] }), `${OUT}.toPorts[0].rules`, 'at most 1');
refuses('Kafka', talks({ kafka: [] }), `${OUT}.toPorts[0].rules.kafka`, 'unknown field');
const secret = { secret: { name: 'a', namespace: 'b' } };
const listener = { envoyConfig: { name: 'a' }, name: 'b', priority: 1 };
takes('TLS', egress({ toPorts: [{ serverNames: ['a.example'], terminatingTLS: secret, originatingTLS: secret }] }));
takes('a listener', egress({ toPorts: [{ listener }] }));
const deaf = egress({ toPorts: [{ listener: { name: 'b' } }] });
refuses('a listener of nothing', deaf, `${OUT}.toPorts[0].listener.envoyConfig`, 'Required value');
const icmps = (...fields: object[]) => ingress({ icmps: [{ fields }] });
takes('icmps', icmps({ type: 8 }, { type: '8' }, { type: 'EchoRequest' }, { family: 'IPv6', type: 'PacketTooBig' }));
const TYPE = `${IN}.icmps[0].fields[0].type`;
refuses('an ICMP type too large', icmps({ type: 256 }), TYPE, 'less than or equal to 255');
refuses('an IPv6 name in IPv4', icmps({ type: 'PacketTooBig' }), TYPE, 'should match');
refuses('no ICMP type', icmps({}), TYPE, 'Required value');
refuses('41 ICMP types', icmps(...times(41, { type: 8 })), `${IN}.icmps[0].fields`, 'at most 40');
refuses('icmps and toPorts', ingress({ toPorts: [{}], icmps: [{}] }), IN, 'icmps and toPorts cannot stand in one rule');

// CiliumCIDRGroup
takes('a group', cidrGroup('g', ['10.0.0.0/8', '::1']));
refuses('a group with a word', cidrGroup('g', ['10.0.0.0/8', 'x']), 'spec.externalCIDRs[1]', 'of type cidr');
