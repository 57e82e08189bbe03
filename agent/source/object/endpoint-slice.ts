/** EndpointSlice, discovery.k8s.io/v1: the places behind a Service. */
import type { EndpointSlice, ObjectRef, ServiceEndpoint } from '../../model/object.ts';
import type { Field } from './field.ts';
import { readLabels } from './metadata.ts';
import { readAddress } from './pod.ts';

/** Which Service a slice belongs to. */
const SERVICE_LABEL = 'kubernetes.io/service-name';

export function readEndpointSlice(object: Field, ref: ObjectRef): EndpointSlice {
  const family = object.at('addressType').oneOf(['IPv4', 'IPv6', 'FQDN']);
  return {
    namespace: ref.namespace,
    name: ref.name,
    service: readLabels(object)[SERVICE_LABEL] ?? '',
    ports: object.at('ports').items().flatMap(readPort),
    // Names are resolved by the client, never translated.
    endpoints: family === 'FQDN' ? [] : object.at('endpoints').items().map(readEndpoint),
  };
}

/** A port without a number stands for all of them, which no translation can: headless Services have it. */
function readPort(field: Field): EndpointSlice['ports'] {
  const port = field.at('port').integer(1, 65535);
  if (port === undefined) return [];
  const protocol = field.at('protocol').oneOf(['TCP', 'UDP', 'SCTP']) ?? 'TCP';
  return [{ name: field.at('name').text() ?? '', protocol, port }];
}

/** What is not said of readiness: ready is true, serving is as ready, terminating is false (EndpointConditions). */
function readEndpoint(field: Field): ServiceEndpoint {
  const conditions = field.at('conditions');
  const ready = conditions.at('ready').boolean() ?? true;
  const target = field.at('targetRef');
  const isPod = target.at('kind').text() === 'Pod';
  return {
    addresses: field
      .at('addresses')
      .items()
      .map(readAddress)
      .filter((address) => address !== undefined),
    ready,
    serving: conditions.at('serving').boolean() ?? ready,
    terminating: conditions.at('terminating').boolean() ?? false,
    nodeName: field.at('nodeName').text() ?? '',
    forNodes: readHints(field, 'forNodes'),
    forZones: readHints(field, 'forZones'),
    pod: isPod ? `${target.at('namespace').text() ?? ''}/${target.at('name').text() ?? ''}` : '',
  };
}

function readHints(field: Field, of: 'forNodes' | 'forZones'): string[] {
  const hints = field.at('hints').at(of).items();
  return hints.map((hint) => hint.at('name').text() ?? '');
}
