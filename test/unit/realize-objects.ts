/** Endpoints and pods for tests of realize/, with only what matters there. */
import { type Address, parseAddress } from '../../agent/model/address.ts';
import type { EndpointRecord } from '../../agent/model/endpoint.ts';
import type { Pod, SourceChange } from '../../agent/model/object.ts';

export const at = (id: number): Address => parseAddress(`10.244.0.${id}`) as Address;

export const record = (id: number, podName: string): EndpointRecord => ({
  id,
  containerId: `c${id}`,
  interfaceName: 'eth0',
  netns: '/run/netns/x',
  namespace: 'default',
  podName,
  podUid: '',
  addresses: [at(id)],
  mac: '0a:00:00:00:00:01',
  hostInterface: `weir${id}`,
});

export const pod = (name: string, app: string, addresses: Address[] = []): Pod => ({
  namespace: 'default',
  name,
  uid: '',
  labels: { app },
  annotations: {},
  serviceAccount: '',
  nodeName: '',
  hostNetwork: false,
  addresses,
  namedPorts: [],
  workload: undefined,
});

export const podChange = (value: Pod): SourceChange => ({
  type: 'upsert',
  object: {
    kind: 'Pod',
    ref: { apiVersion: 'v1', kind: 'Pod', namespace: value.namespace, name: value.name, uid: '' },
    value,
  },
});
