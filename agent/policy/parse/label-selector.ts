/** Kubernetes label selectors as three languages write them: their schema, and their requirements over identities. */
import { NAMESPACE_LABEL, NAMESPACE_LABELS_PREFIX } from '../../model/labels.ts';
import type { Path } from '../../model/object.ts';
import { isIdentityLabel } from '../../model/pod-labels.ts';
import type { Requirement } from '../select/selector.ts';
import type { Report } from './report.ts';
import { type Fields, list, type ObjectSchema, object } from './schema.ts';

export const OPERATORS = ['In', 'NotIn', 'Exists', 'DoesNotExist'] as const;

/** A selector without errors. */
export interface RawSelector {
  readonly matchLabels?: { readonly [key: string]: string };
  readonly matchExpressions?: readonly {
    readonly key: string;
    readonly operator: (typeof OPERATORS)[number];
    readonly values?: readonly string[];
  }[];
}

/** Whose labels are selected; decides which keys make sense and how they appear in an identity. */
export type SelectorTarget =
  /** A Kubernetes podSelector: the pod's own labels. */
  | 'pods'
  /** A Kubernetes namespaceSelector. */
  | 'namespaces'
  /** Labels of objects that have no identity (nodes, Services, CiliumCIDRGroups); keys may carry a source. */
  | 'objects'
  /** A Cilium endpoint selector: keys may carry a source. */
  | 'endpoints';

export function labelSelector(target: SelectorTarget): ObjectSchema {
  const checkKey = (key: string, path: Path, report: Report): void => {
    const wrong = wrongKey(key, target);
    if (wrong) report.error(wrong.code, path, wrong.message);
  };
  return object({
    matchLabels: {
      type: 'map',
      check(labels, path, report) {
        for (const [key, value] of Object.entries(labels)) {
          checkKey(key, [...path, key], report);
          checkValue(value, [...path, key], report);
        }
      },
    },
    matchExpressions: list(
      object(
        {
          key: { type: 'text', check: checkKey },
          operator: { type: 'text', values: OPERATORS },
          values: list({ type: 'text', check: checkValue }),
        },
        { required: ['key', 'operator'], check: checkExpression },
      ),
    ),
  });
}

function checkExpression(expression: Fields, path: Path, report: Report): void {
  const { operator, values = [] } = expression as { operator: string; values?: string[] };
  const takesValues = operator === 'In' || operator === 'NotIn';
  if (takesValues && values.length === 0) report.error('missing-field', path, `${operator} needs values`);
  if (!takesValues && values.length > 0) report.error('unexpected-field', path, `${operator} takes no values`);
}

/** Sources of labels that Cilium knows and an identity here may carry. */
export const LABEL_SOURCES = ['k8s', 'any', 'reserved', 'node', 'cni', 'gen', 'unspec', 'directory'];
/** Sources by which Cilium's own identities stand for addresses; here addresses are matched as addresses. */
export const ADDRESS_SOURCES = ['cidr', 'cidrgroup', 'fqdn'];
/** A qualified name: optional DNS prefix, then up to 63 of [A-Za-z0-9._-] that begin and end with a letter or digit. */
export const LABEL_KEY = /^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/;
export const LABEL_VALUE = /^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$/;
/** Namespace labels stand inside a longer key, whose own rest must be a key. */
const NAMESPACE_LABELS_KEY = NAMESPACE_LABELS_PREFIX.slice('k8s:'.length);

function wrongKey(key: string, target: SelectorTarget): { code: string; message: string } | undefined {
  const { source, name } = splitKey(key);
  const takesSource = target === 'endpoints' || target === 'objects';
  if (source !== '' && !takesSource)
    return { code: 'bad-label', message: `${key} is no label key: ":" is not allowed` };
  if (ADDRESS_SOURCES.includes(source)) {
    return {
      code: 'unsupported-field',
      message: `selecting by ${source}: labels is not supported yet; use CIDR rules`,
    };
  }
  if (source !== '' && !LABEL_SOURCES.includes(source)) {
    return { code: 'bad-label', message: `"${source}" is no source of labels, expected ${LABEL_SOURCES.join(', ')}` };
  }
  const plain = name.startsWith(NAMESPACE_LABELS_KEY) ? name.slice(NAMESPACE_LABELS_KEY.length) : name;
  if (!LABEL_KEY.test(plain)) return { code: 'bad-label', message: `${key} is no label key` };
  const seesIdentity =
    target === 'pods' || (target === 'endpoints' && (source === '' || source === 'k8s' || source === 'any'));
  if (seesIdentity && !isVisible(name, target)) {
    const message = `${name} is not part of identities (it differs per pod or rollout), so no selector can see it`;
    return { code: 'label-not-in-identity', message };
  }
  return undefined;
}

function isVisible(name: string, target: SelectorTarget): boolean {
  if (isIdentityLabel(name)) return true;
  if (target !== 'endpoints') return false;
  return /^io\.(kubernetes\.pod\.namespace$|cilium\.k8s\.(namespace\.labels\.|policy\.(cluster|serviceaccount)$))/.test(
    name,
  );
}

function checkValue(value: string, path: Path, report: Report): void {
  if (!LABEL_VALUE.test(value))
    report.error('bad-label', path, `${JSON.stringify(value)} is no label value, nothing can have it`);
}

function splitKey(key: string): { source: string; name: string } {
  const colon = key.indexOf(':');
  return colon < 0 ? { source: '', name: key } : { source: key.slice(0, colon), name: key.slice(colon + 1) };
}

/** The requirements of a selector that {@link labelSelector} found no error in, with keys as identities carry them. */
export function requirements(raw: RawSelector, target: SelectorTarget): Requirement[] {
  const out: Requirement[] = [];
  for (const [key, value] of Object.entries(raw.matchLabels ?? {})) {
    out.push({ operator: 'In', key: identityKey(key, target), values: [value] });
  }
  for (const { key, operator, values = [] } of raw.matchExpressions ?? []) {
    const full = identityKey(key, target);
    if (operator === 'In' || operator === 'NotIn') out.push({ operator, key: full, values });
    else out.push({ operator, key: full });
  }
  return out;
}

function identityKey(key: string, target: SelectorTarget): string {
  if (target === 'pods') return `k8s:${key}`;
  if (target === 'namespaces') return NAMESPACE_LABELS_PREFIX + key;
  return key.includes(':') ? key : `any:${key}`;
}

/** Holds for pods only: host, nodes, the world and what is not managed have no namespace. */
export const IS_POD: Requirement = { operator: 'Exists', key: NAMESPACE_LABEL };

export function inNamespace(namespace: string): Requirement {
  return { operator: 'In', key: NAMESPACE_LABEL, values: [namespace] };
}
