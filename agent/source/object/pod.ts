/** Pod, core/v1: only what networking needs. Fields nobody here reads are not looked at. */
import { type Address, parseAddress } from '../../model/address.ts';
import type { NamedPort, ObjectRef, Pod } from '../../model/object.ts';
import type { Field } from './field.ts';
import { readAnnotations, readLabels } from './metadata.ts';
import { OBJECT_NAME, PORT_NAME } from './syntax.ts';

export function readPod(object: Field, ref: ObjectRef): Pod {
  const spec = object.at('spec');
  const labels = readLabels(object);
  return {
    namespace: ref.namespace,
    name: ref.name,
    uid: ref.uid,
    labels,
    annotations: readAnnotations(object),
    serviceAccount: spec.at('serviceAccountName').text() || spec.at('serviceAccount').text() || 'default',
    nodeName: spec.at('nodeName').text(OBJECT_NAME) ?? '',
    hostNetwork: spec.at('hostNetwork').boolean() ?? false,
    addresses: readAddresses(object.at('status')),
    namedPorts: readNamedPorts(spec),
    workload: readWorkload(object, labels),
  };
}

/** Phases in which a pod's addresses belong to the next pod already, while its status still has them. */
const ENDED = ['Succeeded', 'Failed'];

/** status.podIPs; older writers fill only status.podIP. */
function readAddresses(status: Field): Address[] {
  if (ENDED.includes(status.at('phase').text() ?? '')) return [];
  const listed = status.at('podIPs').items();
  const fields = listed.length > 0 ? listed.map((item) => item.at('ip')) : [status.at('podIP')];
  return fields.map(readAddress).filter((address) => address !== undefined);
}

/** An address, or undefined if absent or (reported) none. */
export function readAddress(field: Field): Address | undefined {
  const text = field.text();
  if (text === undefined || text === '') return undefined;
  const address = parseAddress(text);
  if (!address) field.fail('an IP address');
  return address;
}

/** Named ports of containers, and of the init containers that keep running (sidecars), as Kubernetes resolves them. */
function readNamedPorts(spec: Field): NamedPort[] {
  const sidecars = spec
    .at('initContainers')
    .items()
    .filter((container) => container.at('restartPolicy').value === 'Always');
  return [...spec.at('containers').items(), ...sidecars].flatMap((container) =>
    container.at('ports').items().flatMap(readNamedPort),
  );
}

function readNamedPort(field: Field): NamedPort[] {
  const port = field.at('containerPort').integer(1, 65535);
  const protocol = field.at('protocol').oneOf(['TCP', 'UDP', 'SCTP']) ?? 'TCP';
  const name = field.at('name').text(PORT_NAME);
  return name === undefined || port === undefined ? [] : [{ name, protocol, port }];
}

/**
 * The controller a person knows the pod by: a ReplicaSet stands for its Deployment, a Job of a CronJob for that.
 * As Hubble shows it (cilium/cilium pkg/k8s/utils/workload.go).
 */
function readWorkload(object: Field, labels: Readonly<Record<string, string>>): Pod['workload'] {
  const owners = object.at('metadata').at('ownerReferences').items();
  const owner = owners.find((field) => field.at('controller').boolean());
  const kind = owner?.at('kind').requiredText();
  const name = owner?.at('name').requiredText();
  if (kind === undefined || name === undefined) return undefined;
  const hash = labels['pod-template-hash'];
  if (kind === 'ReplicaSet' && hash && name.endsWith(`-${hash}`)) {
    return { kind: 'Deployment', name: name.slice(0, -hash.length - 1) };
  }
  const cron = /^(.+)-[0-9]{8,10}$/.exec(name);
  if (kind === 'Job' && cron) return { kind: 'CronJob', name: cron[1] as string };
  return { kind, name };
}
