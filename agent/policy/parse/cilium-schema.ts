/** Fields of CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy. Facts: reference policy-language.md, B1 and B2. */
import { parsePrefix, prefixContains } from '../../model/address.ts';
import type { Path } from '../../model/object.ts';
import { ENTITIES } from '../select/entity.ts';
import { ALLOW_TO_PORTS, checkNotBoth, DENY_TO_PORTS, ICMPS } from './cilium-ports.ts';
import { labelSelector } from './label-selector.ts';
import type { Report } from './report.ts';
import {
  ANYTHING,
  BOOLEAN,
  type Fields,
  found,
  list,
  type ObjectSchema,
  object,
  type Schema,
  TEXT,
  UNSUPPORTED,
} from './schema.ts';

const ENDPOINTS = labelSelector('endpoints');
const OBJECTS = labelSelector('objects');

const CIDR: Schema = { type: 'text', check: checkCidr };
const CIDR_RULE = object(
  {
    cidr: { type: 'text', check: checkPrefix },
    cidrGroupRef: TEXT,
    cidrGroupSelector: OBJECTS,
    except: list({ type: 'text', check: checkPrefix }),
  },
  { check: checkCidrRule },
);
const SERVICE = object(
  {
    k8sService: object({ serviceName: TEXT, namespace: TEXT }, { required: ['serviceName'] }),
    k8sServiceSelector: object({ selector: OBJECTS, namespace: TEXT }, { required: ['selector'] }),
  },
  { oneOf: true },
);

/** The members of a rule that say who the other side is, by direction. At most one may be non-empty. */
export const PEER_FIELDS = {
  ingress: ['fromEndpoints', 'fromCIDR', 'fromCIDRSet', 'fromEntities', 'fromNodes', 'fromGroups'],
  egress: ['toEndpoints', 'toCIDR', 'toCIDRSet', 'toEntities', 'toNodes', 'toServices', 'toFQDNs', 'toGroups'],
} as const;

function peers(prefix: 'from' | 'to'): ObjectSchema['fields'] {
  return {
    [`${prefix}Endpoints`]: list(ENDPOINTS),
    [`${prefix}Requires`]: list(ANYTHING, { max: 0 }),
    [`${prefix}CIDR`]: list(CIDR),
    [`${prefix}CIDRSet`]: list(CIDR_RULE),
    [`${prefix}Entities`]: list({ type: 'text', values: ENTITIES }),
    [`${prefix}Nodes`]: list(OBJECTS),
    [`${prefix}Groups`]: UNSUPPORTED,
  };
}

function rule(direction: 'ingress' | 'egress', allows: boolean): Schema {
  const fields = {
    ...peers(direction === 'ingress' ? 'from' : 'to'),
    ...(direction === 'egress' ? { toServices: list(SERVICE) } : {}),
    ...(direction === 'egress' && allows ? { toFQDNs: UNSUPPORTED } : {}),
    toPorts: allows ? ALLOW_TO_PORTS : DENY_TO_PORTS,
    icmps: ICMPS,
    ...(allows ? { authentication: UNSUPPORTED } : {}),
  };
  const check = (value: Fields, path: Path, report: Report): void => {
    const used = PEER_FIELDS[direction].filter((name) => (value[name] as unknown[] | undefined)?.length);
    if (used.length > 1) {
      report.error('not-exactly-one', path, `${used.join(' and ')} cannot stand in one rule; write one rule for each`);
    }
    checkNotBoth(value, path, report);
  };
  return object(fields, { check });
}

/** The fields of a rule set that name a direction. */
export const DIRECTION_FIELDS = {
  ingress: ['ingress', 'ingressDeny'],
  egress: ['egress', 'egressDeny'],
} as const;

function spec(clusterwide: boolean): ObjectSchema {
  return object(
    {
      endpointSelector: ENDPOINTS,
      ...(clusterwide ? { nodeSelector: UNSUPPORTED } : {}),
      ingress: list(rule('ingress', true)),
      ingressDeny: list(rule('ingress', false)),
      egress: list(rule('egress', true)),
      egressDeny: list(rule('egress', false)),
      enableDefaultDeny: object({ ingress: BOOLEAN, egress: BOOLEAN }),
      labels: list(object({ key: TEXT, value: TEXT, source: TEXT }, { required: ['key'] })),
      description: TEXT,
      log: object({ value: { type: 'text', check: checkLog } }),
    },
    {
      check(value, path, report) {
        if (value.endpointSelector === undefined) report.error('missing-field', path, 'endpointSelector is missing');
        const directions = [...DIRECTION_FIELDS.ingress, ...DIRECTION_FIELDS.egress];
        if (!directions.some((name) => value[name] !== undefined)) {
          report.error('missing-field', path, `expected at least one of ${directions.join(', ')}`);
        }
      },
    },
  );
}

function policy(clusterwide: boolean): ObjectSchema {
  return object(
    {
      apiVersion: ANYTHING,
      kind: ANYTHING,
      metadata: ANYTHING,
      status: ANYTHING,
      spec: spec(clusterwide),
      specs: list(spec(clusterwide)),
    },
    {
      check(value, path, report) {
        const rules = (value.specs as unknown[] | undefined)?.length ?? 0;
        if (value.spec === undefined && rules === 0) report.error('missing-field', path, 'expected spec or specs');
      },
    },
  );
}

export const CILIUM_POLICY = policy(false);
export const CILIUM_CLUSTERWIDE_POLICY = policy(true);

function checkCidr(text: string, path: Path, report: Report): void {
  if (!parsePrefix(text)) report.error('bad-cidr', path, `expected an address or a CIDR, found ${found(text)}`);
}

function checkPrefix(text: string, path: Path, report: Report): void {
  const prefix = text.includes('/') ? parsePrefix(text) : undefined;
  if (!prefix) report.error('bad-cidr', path, `expected a CIDR like 10.0.0.0/8 or fd00::/8, found ${found(text)}`);
}

function checkCidrRule(value: Fields, path: Path, report: Report): void {
  const names = ['cidr', 'cidrGroupRef', 'cidrGroupSelector'].filter((name) => value[name] !== undefined);
  if (names.length !== 1) {
    const present = names.join(' and ') || 'none';
    report.error(
      'not-exactly-one',
      path,
      `expected exactly one of cidr, cidrGroupRef, cidrGroupSelector, found ${present}`,
    );
  }
  const except = (value.except ?? []) as string[];
  if (value.cidr !== undefined) checkExcept(value.cidr as string, except, path, report);
  else if (except.length > 0) {
    report.error('unexpected-field', [...path, 'except'], 'except can only stand beside cidr');
  }
}

/** Every exception must lie inside the block it is taken from. */
export function checkExcept(cidr: string, except: readonly string[], path: Path, report: Report): void {
  const outer = parsePrefix(cidr);
  for (const [i, text] of except.entries()) {
    const inner = parsePrefix(text);
    if (outer && inner && !prefixContains(outer, inner)) {
      report.error('bad-cidr', [...path, 'except', i], `${text} does not lie inside ${cidr}`);
    }
  }
}

function checkLog(text: string, path: Path, report: Report): void {
  if (!/^[\x20-\x7e]{0,32}$/.test(text)) {
    report.error('out-of-range', path, 'expected at most 32 printable ASCII characters');
  }
}
