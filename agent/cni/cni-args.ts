/** CNI_ARGS, "KEY=value;KEY=value": how container runtimes tell which pod a container is. */
import { WeirError } from '../errors.ts';

export interface PodName {
  readonly namespace: string;
  readonly name: string;
  /** '' if the runtime does not tell. */
  readonly uid: string;
}

/** Keys of CRI runtimes (containerd, CRI-O). K8S_POD_INFRA_CONTAINER_ID equals CNI_CONTAINERID and is not read. */
const KNOWN_KEYS = ['IgnoreUnknown', 'K8S_POD_NAMESPACE', 'K8S_POD_NAME', 'K8S_POD_UID', 'K8S_POD_INFRA_CONTAINER_ID'];
/** RFC 1123 names, as Kubernetes requires of both. */
const NAMESPACE = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const POD_NAME = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;
const UID = /^[a-zA-Z0-9-]{0,128}$/;

/** The pod; undefined when none is named, then the container is no Kubernetes pod. @throws CNI_BAD_ENVIRONMENT */
export function parseCniArgs(text: string): PodName | undefined {
  const args = new Map<string, string>();
  for (const pair of text.split(';')) {
    if (pair === '') continue;
    const equals = pair.indexOf('=');
    if (equals < 1) throw badArgs(`${JSON.stringify(pair)} is not KEY=value`);
    const key = pair.slice(0, equals);
    if (args.has(key)) throw badArgs(`${key} is given twice`);
    args.set(key, pair.slice(equals + 1));
  }
  const unknown = [...args.keys()].filter((key) => !KNOWN_KEYS.includes(key));
  const ignoreUnknown = ['1', 't', 'true'].includes((args.get('IgnoreUnknown') ?? '').toLowerCase());
  if (unknown.length > 0 && !ignoreUnknown) {
    throw badArgs(`${unknown.join(', ')}: not known, and IgnoreUnknown=1 is not given`);
  }
  const namespace = args.get('K8S_POD_NAMESPACE') ?? '';
  const name = args.get('K8S_POD_NAME') ?? '';
  const uid = args.get('K8S_POD_UID') ?? '';
  if (namespace === '' && name === '') return undefined;
  if (!NAMESPACE.test(namespace)) throw badArgs('K8S_POD_NAMESPACE must be the name of a namespace');
  if (!POD_NAME.test(name)) throw badArgs('K8S_POD_NAME must be the name of a pod');
  if (!UID.test(uid)) throw badArgs('K8S_POD_UID must be letters, digits and "-"');
  return { namespace, name, uid };
}

function badArgs(message: string): WeirError {
  return new WeirError('CNI_BAD_ENVIRONMENT', 'read CNI_ARGS', `CNI_ARGS: ${message}`);
}
