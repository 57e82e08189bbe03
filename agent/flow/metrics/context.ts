/** What a metric's labels may say of a flow's ends: the words of Hubble's context options. */
import { Direction } from '../../datapath/layout.gen.ts';
import { formatLabels, type Labels } from '../../model/labels.ts';
import { DESTINATION, type PacketSide, SOURCE, type StoredFlow } from '../decode.ts';
import type { PartyName } from '../names.ts';

export const CONTEXT_NAMES = [
  'identity',
  'namespace',
  'pod',
  'pod-name',
  'dns',
  'ip',
  'reserved-identity',
  'workload',
  'workload-name',
  'app',
] as const;
export type ContextName = (typeof CONTEXT_NAMES)[number];

const SIDE_LABELS = ['ip', 'pod', 'namespace', 'workload', 'workload_kind', 'app'] as const;
type SideLabel = (typeof SIDE_LABELS)[number];
export type LabelName = `${'source' | 'destination'}_${SideLabel}` | 'traffic_direction';
export const LABEL_NAMES: readonly LabelName[] = [
  ...(['source', 'destination'] as const).flatMap((end) => SIDE_LABELS.map((name): LabelName => `${end}_${name}`)),
  'traffic_direction',
];

/** A label's value; '' where the flow has none. */
export interface LabelReader {
  read(flow: StoredFlow): string;
  /** Side whose pod the value names: when that pod is gone, so is the series. */
  readonly podOf: PacketSide | undefined;
}

/** Labels by which applications are named, the most telling first. */
const APP_LABELS = ['k8s:app.kubernetes.io/name', 'k8s:k8s-app', 'k8s:app'];

const CONTEXTS: Record<ContextName, (flow: StoredFlow, side: PacketSide) => string> = {
  identity: (flow, side) => remembered(IDENTITY_TEXTS, flow.labels(side), (labels) => formatLabels(labels).join(',')),
  namespace: (flow, side) => flow.name(side)?.namespace ?? '',
  pod: (flow, side) => remembered(POD_TEXTS, podName(flow, side), ({ namespace, pod }) => `${namespace}/${pod}`),
  'pod-name': (flow, side) => flow.name(side)?.pod ?? '',
  dns: () => '', // no names of DNS are known yet
  ip: (flow, side) => flow.address(side) ?? '',
  'reserved-identity': (flow, side) => remembered(RESERVED_TEXTS, flow.labels(side), reserved),
  workload(flow, side) {
    const name = flow.name(side);
    return name?.workload ? `${name.namespace}/${name.workload.name}` : '';
  },
  'workload-name': (flow, side) => flow.name(side)?.workload?.name ?? '',
  app: (flow, side) => remembered(APP_TEXTS, flow.labels(side), app),
};
const NAMES_PODS: readonly string[] = ['pod', 'pod-name', 'ip'];

const SIDE_READERS: Record<SideLabel, (flow: StoredFlow, side: PacketSide) => string> = {
  ip: CONTEXTS.ip,
  pod: CONTEXTS['pod-name'],
  namespace: CONTEXTS.namespace,
  workload: CONTEXTS['workload-name'],
  workload_kind: (flow, side) => flow.name(side)?.workload?.kind ?? '',
  app: CONTEXTS.app,
};

/** The first of the contexts that has a value. */
export function contextReader(contexts: readonly ContextName[], side: PacketSide): LabelReader {
  const readers = contexts.map((name) => CONTEXTS[name]);
  return {
    read(flow) {
      for (const read of readers) {
        const value = read(flow, side);
        if (value !== '') return value;
      }
      return '';
    },
    podOf: contexts.some((name) => NAMES_PODS.includes(name)) ? side : undefined,
  };
}

export function labelReader(name: LabelName): LabelReader {
  if (name === 'traffic_direction') {
    return { read: (flow) => (isEgress(flow) ? 'egress' : 'ingress'), podOf: undefined };
  }
  const cut = name.indexOf('_');
  const side = name.startsWith('source') ? SOURCE : DESTINATION;
  const label = name.slice(cut + 1) as SideLabel;
  const read = SIDE_READERS[label];
  return { read: (flow) => read(flow, side), podOf: NAMES_PODS.includes(label) ? side : undefined };
}

export function isEgress(flow: StoredFlow): boolean {
  return flow.direction === Direction.DIRECTION_EGRESS;
}

function podName(flow: StoredFlow, side: PacketSide): PartyName | undefined {
  const name = flow.name(side);
  return name?.pod === '' ? undefined : name;
}

/** "reserved:kube-apiserver" before others: it is the one people ask about. */
function reserved(labels: Labels): string {
  const names = [...labels.keys()].filter((key) => key.startsWith('reserved:'));
  return names.includes('reserved:kube-apiserver') ? 'reserved:kube-apiserver' : (names[0] ?? '');
}

function app(labels: Labels): string {
  for (const key of APP_LABELS) {
    const value = labels.get(key);
    if (value !== undefined) return value;
  }
  return '';
}

// Names and label sets are shared by many records: each is made into text once.
const IDENTITY_TEXTS = new WeakMap<Labels, string>();
const RESERVED_TEXTS = new WeakMap<Labels, string>();
const APP_TEXTS = new WeakMap<Labels, string>();
const POD_TEXTS = new WeakMap<PartyName, string>();

function remembered<T extends object>(texts: WeakMap<T, string>, of: T | undefined, make: (of: T) => string): string {
  if (of === undefined) return '';
  const before = texts.get(of);
  if (before !== undefined) return before;
  const text = make(of);
  texts.set(of, text);
  return text;
}
