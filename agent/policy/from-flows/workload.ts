/** Who a recorded side is to a policy: a workload by its labels, an entity, or an address outside. */
import { hostPrefix } from '../../model/address.ts';
import { CLUSTER_LABEL, NAMESPACE_LABEL, NAMESPACE_LABELS_PREFIX, SERVICE_ACCOUNT_LABEL } from '../../model/labels.ts';
import type { RecordedSide } from '../diff-flows.ts';

/** Pods that a policy cannot tell apart: one label set in one namespace. Keys are without source. */
export interface Workload {
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
}

export type SeenPeer =
  | { readonly kind: 'workload'; readonly workload: Workload }
  | { readonly kind: 'entity'; readonly entity: string }
  | { readonly kind: 'address'; readonly cidr: string };

/** Reserved labels that a rule may name, the most telling first; those of the world are told by address. */
const ENTITIES = ['kube-apiserver', 'host', 'remote-node', 'health', 'init', 'unmanaged', 'ingress'];
const ACCOUNT_KEY = SERVICE_ACCOUNT_LABEL.replace(/^k8s:/, '');

/** Undefined for what no rule can name: neither labels nor an entity. */
export function peerOf({ address, labels }: RecordedSide): SeenPeer | undefined {
  const workload = workloadOf(labels);
  if (workload) return { kind: 'workload', workload };
  const entity = ENTITIES.find((name) => labels.includes(`reserved:${name}`));
  if (entity) return { kind: 'entity', entity };
  return labels.some((label) => label.startsWith('reserved:world'))
    ? { kind: 'address', cidr: hostPrefix(address) }
    : undefined;
}

/** From the labels of an identity ("k8s:app=web"); undefined where they are no pod's. */
export function workloadOf(identity: readonly string[]): Workload | undefined {
  let namespace: string | undefined;
  const labels: Record<string, string> = {};
  for (const label of identity) {
    const equals = label.indexOf('=');
    const [key, value] = equals < 0 ? [label, ''] : [label.slice(0, equals), label.slice(equals + 1)];
    if (key === NAMESPACE_LABEL) namespace = value;
    else if (key.startsWith('k8s:') && key !== CLUSTER_LABEL && !key.startsWith(NAMESPACE_LABELS_PREFIX)) {
      labels[key.slice('k8s:'.length)] = value;
    }
  }
  return namespace === undefined ? undefined : { namespace, labels };
}

export function workloadKey({ namespace, labels }: Workload): string {
  return JSON.stringify([namespace, Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1))]);
}

/** "default/app=web,tier=front": for people. */
export function workloadText({ namespace, labels }: Workload): string {
  const own = Object.entries(labels).filter(([key]) => key !== ACCOUNT_KEY);
  return `${namespace}/${own.map(([key, value]) => `${key}=${value}`).join(',') || '(no labels)'}`;
}

/** As a NetworkPolicy sees it. */
export function withoutAccount({ namespace, labels }: Workload): Workload {
  const { [ACCOUNT_KEY]: _account, ...own } = labels;
  return { namespace, labels: own };
}

export interface Selector {
  readonly matchLabels?: Readonly<Record<string, string>>;
  readonly matchExpressions?: readonly { readonly key: string; readonly operator: 'DoesNotExist' }[];
}

/**
 * Selects the workload and none of the others of its namespace: its own labels, what tells it from those that have them
 * too, and the service account only where nothing else does.
 */
export function selectorOf(workload: Workload, known: readonly Workload[]): Selector {
  const { [ACCOUNT_KEY]: account, ...own } = workload.labels;
  const matchLabels: Record<string, string> = { ...own };
  const absent = new Set<string>();
  const isSelected = ({ namespace, labels }: Workload): boolean =>
    namespace === workload.namespace &&
    Object.entries(matchLabels).every(([key, value]) => labels[key] === value) &&
    ![...absent].some((key) => key in labels);
  for (const other of known) {
    if (workloadKey(other) === workloadKey(workload) || !isSelected(other)) continue;
    const extra = Object.keys(other.labels).find((key) => !(key in workload.labels));
    if (extra !== undefined) absent.add(extra);
    else if (account !== undefined) matchLabels[ACCOUNT_KEY] = account;
  }
  return {
    ...(Object.keys(matchLabels).length > 0 && { matchLabels }),
    ...(absent.size > 0 && {
      matchExpressions: [...absent].sort().map((key) => ({ key, operator: 'DoesNotExist' as const })),
    }),
  };
}
