/** Who a policy is compiled for: pods with the same identity and the same named ports share one. */
import type { IdentityNumber } from '../model/identity.ts';
import type { Labels } from '../model/labels.ts';
import type { NamedPort } from '../model/object.ts';

export type SubjectKey = string;

export interface Subject {
  readonly identity: IdentityNumber;
  readonly labels: Labels;
  readonly namedPorts: readonly NamedPort[];
}

/** "3761" or "3761 dns/UDP=53 http/TCP=8080": equal for pods that share a policy, whatever order their ports came in. */
export function subjectKey(subject: Pick<Subject, 'identity' | 'namedPorts'>): SubjectKey {
  const ports = subject.namedPorts.map((port) => `${port.name}/${port.protocol}=${port.port}`);
  return [String(subject.identity), ...[...new Set(ports)].sort()].join(' ');
}
