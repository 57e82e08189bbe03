/** Documents of other systems: Weir does not enforce them, but knows the mistakes people make in them. */
import type { Problem, Service } from '../../model/object.ts';
import { createReport } from '../parse/report.ts';
import { type Fields, isFields } from '../parse/schema.ts';
import {
  authorizationPolicy,
  destinationRule,
  destinationRules,
  routedHosts,
  serviceMonitor,
  virtualService,
} from './istio.ts';
import { serviceProfile, trafficSplit } from './linkerd.ts';
import type { Written } from './lint.ts';

/** Kinds by the part of their API group that everybody gets right. */
const GROUPS: Readonly<Record<string, RegExp>> = {
  VirtualService: /istio/,
  DestinationRule: /istio/,
  PeerAuthentication: /istio/,
  AuthorizationPolicy: /istio/,
  ServiceMonitor: /coreos|monitoring/,
  ServiceProfile: /linkerd/,
  TrafficSplit: /^split\./,
};

/** The kind, if it is one of another system that is looked at. */
export function foreignKind(raw: unknown): string | undefined {
  if (!isFields(raw) || typeof raw.kind !== 'string' || typeof raw.apiVersion !== 'string') return undefined;
  const group = Object.hasOwn(GROUPS, raw.kind) ? GROUPS[raw.kind] : undefined;
  return group?.test(raw.apiVersion) ? raw.kind : undefined;
}

export function lintForeign(written: readonly Written[], services: readonly Service[]): Problem[] {
  const ofKind = (kind: string): Written[] => written.filter(({ raw }) => foreignKind(raw) === kind);
  const rules = destinationRules(ofKind('DestinationRule'));
  const routed = routedHosts(ofKind('VirtualService'));
  return written.flatMap(({ raw, origin }) => {
    const report = createReport({ origin });
    const document = raw as Fields;
    switch (foreignKind(raw)) {
      case 'VirtualService':
        virtualService(document, rules, report);
        break;
      case 'DestinationRule':
        destinationRule(document, routed, report);
        break;
      case 'AuthorizationPolicy':
        authorizationPolicy(document, report);
        break;
      case 'ServiceMonitor':
        serviceMonitor(document, services, report);
        break;
      case 'ServiceProfile':
        serviceProfile(document, report);
        break;
      case 'TrafficSplit':
        trafficSplit(document, report);
        break;
    }
    return report.problems;
  });
}
