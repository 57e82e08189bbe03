/** Service, core/v1: only what networking needs. */
import type { ObjectRef, Service, ServicePort } from '../../model/object.ts';
import type { Field } from './field.ts';
import { readLabels } from './metadata.ts';
import { readAddress } from './pod.ts';
import { LABEL_KEY, LABEL_VALUE, PORT_NAME } from './syntax.ts';

export function readService(object: Field, ref: ObjectRef): Service {
  const spec = object.at('spec');
  const selector = spec.at('selector').texts(LABEL_KEY, LABEL_VALUE);
  return {
    namespace: ref.namespace,
    name: ref.name,
    labels: readLabels(object),
    // An empty selector is no selector: the API server drops it.
    selector: Object.keys(selector).length === 0 ? undefined : selector,
    clusterIps: readClusterIps(spec),
    ports: spec.at('ports').items().flatMap(readPort),
    affinitySeconds: readAffinity(spec),
    localOnly: spec.at('internalTrafficPolicy').oneOf(['Cluster', 'Local']) === 'Local',
  };
}

/** core/v1 ClientIPConfig: up to a day, three hours where nothing is said. */
function readAffinity(spec: Field): number {
  if (spec.at('sessionAffinity').oneOf(['None', 'ClientIP']) !== 'ClientIP') return 0;
  return spec.at('sessionAffinityConfig').at('clientIP').at('timeoutSeconds').integer(1, 86_400) ?? 10_800;
}

function readClusterIps(spec: Field): Service['clusterIps'] {
  const listed = spec.at('clusterIPs').items();
  const fields = listed.length > 0 ? listed : [spec.at('clusterIP')];
  return fields
    .filter((field) => field.value !== 'None') // headless
    .map(readAddress)
    .filter((address) => address !== undefined);
}

function readPort(field: Field): ServicePort[] {
  const port = field.at('port').integer(1, 65535);
  const target = field.at('targetPort');
  const targetPort = typeof target.value === 'string' ? target.text(PORT_NAME) : target.integer(1, 65535);
  if (field.at('port').absent) field.at('port').fail('a port number');
  if (port === undefined) return [];
  return [
    {
      name: field.at('name').text() ?? '',
      protocol: field.at('protocol').oneOf(['TCP', 'UDP', 'SCTP']) ?? 'TCP',
      port,
      targetPort: targetPort ?? port,
    },
  ];
}
