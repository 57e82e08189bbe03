/** Turns one object of the Kubernetes API, as it came, into what the agent works with. */
import { didYouMean } from '../../model/did-you-mean.ts';
import type { ObjectRef, Origin, Problem, SourceObject } from '../../model/object.ts';
import { readDenyList } from './deny-list.ts';
import { readEndpointSlice } from './endpoint-slice.ts';
import { Field, Report, type TextRule } from './field.ts';
import { readAnnotations, readLabels, readRef } from './metadata.ts';
import { readNode } from './node.ts';
import { readPod } from './pod.ts';
import { readService } from './service.ts';
import { LABEL_NAME, OBJECT_NAME } from './syntax.ts';

interface Kind {
  /** API group and version that are read. Of policies only the group counts: their own parser judges the version. */
  readonly apiVersion: string;
  readonly namespaced: boolean;
  readonly name: TextRule;
  read(object: Field, ref: ObjectRef, origin: Origin): SourceObject;
}

const document = (apiVersion: string, namespaced: boolean): Kind => ({
  apiVersion,
  namespaced,
  name: OBJECT_NAME,
  read: (object, ref, origin) => {
    readLabels(object); // not needed, but a wrong type here is refused by any API server
    const annotations = readAnnotations(object);
    return { kind: 'Document', ref, value: { ref, annotations, raw: object.value, origin } };
  },
});

const KINDS: Readonly<Record<string, Kind>> = {
  Namespace: {
    apiVersion: 'v1',
    namespaced: false,
    name: LABEL_NAME,
    read: (object, ref) => ({ kind: 'Namespace', ref, value: { name: ref.name, labels: readLabels(object) } }),
  },
  Pod: {
    apiVersion: 'v1',
    namespaced: true,
    name: OBJECT_NAME,
    read: (object, ref) => ({ kind: 'Pod', ref, value: readPod(object, ref) }),
  },
  Node: {
    apiVersion: 'v1',
    namespaced: false,
    name: OBJECT_NAME,
    read: (object, ref) => ({ kind: 'Node', ref, value: readNode(object, ref) }),
  },
  Service: {
    apiVersion: 'v1',
    namespaced: true,
    name: LABEL_NAME,
    read: (object, ref) => ({ kind: 'Service', ref, value: readService(object, ref) }),
  },
  EndpointSlice: {
    apiVersion: 'discovery.k8s.io/v1',
    namespaced: true,
    name: OBJECT_NAME,
    read: (object, ref) => ({ kind: 'EndpointSlice', ref, value: readEndpointSlice(object, ref) }),
  },
  WeirDenyList: {
    apiVersion: 'weir.dev/v1alpha1',
    namespaced: false,
    name: OBJECT_NAME,
    read: (object, ref) => ({ kind: 'WeirDenyList', ref, value: readDenyList(object, ref) }),
  },
  CiliumNetworkPolicy: document('cilium.io/v2', true),
  CiliumClusterwideNetworkPolicy: document('cilium.io/v2', false),
  CiliumCIDRGroup: document('cilium.io/v2', false),
  NetworkPolicy: document('networking.k8s.io/v1', true),
  ClusterNetworkPolicy: document('policy.networking.k8s.io/v1alpha2', false),
  AdminNetworkPolicy: document('policy.networking.k8s.io/v1alpha1', false),
  BaselineAdminNetworkPolicy: document('policy.networking.k8s.io/v1alpha1', false),
};

const NAMELESS: ObjectRef = { apiVersion: '', kind: '', namespace: '', name: '', uid: '' };

export interface ObjectReading {
  /** Undefined: nothing to deliver, the problems say why. */
  readonly object: SourceObject | undefined;
  /** Which object it is, also when it could not be read; undefined when not even that is known. */
  readonly ref: ObjectRef | undefined;
  readonly problems: readonly Problem[];
}

/**
 * Reads one object. Kinds the agent has no use for are left out with a warning that names them; fields it has no use for
 * are not looked at, for Pods, Nodes and Services have many. Policies are only named here: policy/ parses them.
 */
export function readObject(raw: unknown, origin: Origin): ObjectReading {
  const report = new Report(origin);
  const object = new Field(raw, [], report);
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) {
    object.fail('an object with apiVersion, kind and metadata');
    return { object: undefined, ref: undefined, problems: report.problems };
  }
  const name = object.at('kind').requiredText();
  const apiVersion = object.at('apiVersion').requiredText();
  const kind = name !== undefined && Object.hasOwn(KINDS, name) ? KINDS[name] : undefined;
  if (name === undefined || apiVersion === undefined)
    return { object: undefined, ref: undefined, problems: report.problems };

  if (!kind) {
    reportUnknownKind(name, apiVersion, report);
    return { object: undefined, ref: undefined, problems: report.problems };
  }
  const ref = readRef(object, { ...kind, apiVersion, kind: name });
  if (!apiVersionFits(apiVersion, kind)) {
    object.at('apiVersion').fail(`${kind.apiVersion} for kind ${name}`);
    return { object: undefined, ref, problems: report.problems };
  }
  // Read on without a name: one reading is to find every mistake.
  const read = kind.read(object, ref ?? NAMELESS, origin);
  return { object: report.failed ? undefined : read, ref, problems: report.problems };
}

function apiVersionFits(written: string, kind: Kind): boolean {
  const group = (apiVersion: string): string => apiVersion.slice(0, apiVersion.lastIndexOf('/') + 1);
  return kind.apiVersion === 'v1' ? written === 'v1' : group(written) === group(kind.apiVersion);
}

/**
 * A kind nobody here needs is a warning. One letter off from a kind we need is an error: a policy must not be lost over
 * it, and an error keeps what was in force before.
 */
function reportUnknownKind(name: string, apiVersion: string, report: Report): void {
  const hint = didYouMean(name, Object.keys(KINDS));
  const ours = Object.values(KINDS).some((kind) => kind.apiVersion === apiVersion);
  const message = `kind ${name} of ${apiVersion} is not used by Weir and was left out`;
  if (hint !== '' && ours)
    report.add('error', 'unknown-kind', ['kind'], `unknown kind ${name} of ${apiVersion}${hint}`);
  else report.add('warning', 'unknown-kind', ['kind'], message);
}
