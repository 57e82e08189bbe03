/** A cluster for the policy engine's bench: identities by number, and documents about them. */

import { FIRST_POD_IDENTITY, type IdentityNumber } from '../../agent/model/identity.ts';
import type { Labels } from '../../agent/model/labels.ts';
import type { Document } from '../../agent/model/object.ts';
import { podLabels } from '../../agent/model/pod-labels.ts';
import { createEngine, type Engine } from '../../agent/policy/engine.ts';
import type { Subject } from '../../agent/policy/subject.ts';

const NAMESPACE = 'shop';
/** Distinct values of the label `app`: as many as there are rules, so that every rule has its peers. */
const APPS = 1000;

/** Labels of the n-th identity: app-N of 1,000, and a label of its own. */
export function labelsOf(n: number): Labels {
  const labels = { app: `app-${n % APPS}`, number: String(n) };
  const pod = { namespace: NAMESPACE, labels, serviceAccount: 'default' };
  return podLabels(
    pod,
    { name: NAMESPACE, labels: { 'kubernetes.io/metadata.name': NAMESPACE } },
    {
      clusterName: 'default',
    },
  );
}

export function numberOf(n: number): IdentityNumber {
  return FIRST_POD_IDENTITY + n;
}

/** Pods of the n-th identity, as somebody policies are compiled for. */
export function subjectOf(n: number): Subject {
  return { identity: numberOf(n), labels: labelsOf(n), namedPorts: [] };
}

/** An engine that knows the first `identities` identities and has handed them out. */
export function engineWith(identities: number): Engine {
  const engine = createEngine();
  for (let n = 0; n < identities; n++) engine.upsertIdentity(numberOf(n), labelsOf(n));
  engine.take();
  return engine;
}

/** A CiliumNetworkPolicy of the namespace; `app` undefined: it selects every pod. */
export function policy(name: string, app: string | undefined, spec: object): Document {
  const [apiVersion, kind] = ['cilium.io/v2', 'CiliumNetworkPolicy'];
  const endpointSelector = app === undefined ? {} : { matchLabels: { app } };
  return {
    ref: { apiVersion, kind, namespace: NAMESPACE, name, uid: '' },
    annotations: {},
    raw: { apiVersion, kind, metadata: { name, namespace: NAMESPACE }, spec: { endpointSelector, ...spec } },
    origin: { place: `${name}.yaml`, line: () => undefined },
  };
}

/** One rule of its own: from one app, to one port. */
export function appRule(n: number, port = 1000 + n): object {
  return {
    fromEndpoints: [{ matchLabels: { app: `app-${n % APPS}` } }],
    toPorts: [{ ports: [{ port: String(port), protocol: 'TCP' }] }],
  };
}

/** `count` policies of one rule each, about every pod. */
export function appPolicies(count: number): Document[] {
  return Array.from({ length: count }, (_, n) => policy(`policy-${n}`, undefined, { ingress: [appRule(n)] }));
}

/** One policy with a rule for each of 1,000 CIDRs, every rule with a port of its own. */
export function cidrPolicy(count: number): Document {
  const egress = Array.from({ length: count }, (_, n) => ({
    toCIDR: [`10.${n >> 8}.${n & 255}.0/24`],
    toPorts: [{ ports: [{ port: String(1 + n), protocol: 'TCP' }] }],
  }));
  return policy('cidrs', undefined, { egress });
}
