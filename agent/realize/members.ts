/** The endpoints of this node as the policy engine sees them: labels, identity, subject. Pure bookkeeping, no kernel. */
import type { EndpointRow, PeerRow } from '../datapath/datapath.ts';
import { type AggregationLevel, askedAggregation } from '../model/aggregation.ts';
import type { EndpointRecord, EndpointState } from '../model/endpoint.ts';
import type { IdentityNumber } from '../model/identity.ts';
import type { Labels } from '../model/labels.ts';
import type { NamedPort, Pod } from '../model/object.ts';
import { POLICY_NONE, type PolicyId } from '../model/verdict.ts';

/** One endpoint on its way into force, or in force. */
export interface Member {
  readonly record: EndpointRecord;
  /** The pod as the source knows it; undefined for a container that is no pod (identity `init`). */
  pod: Pod | undefined;
  labels: Labels;
  identity: IdentityNumber;
  namedPorts: readonly NamedPort[];
  /** Key of its policy subject; '' before the first turn. */
  subject: string;
  policy: PolicyId;
  state: EndpointState;
  /** Revision whose policy is in force for it; 0 before the first. */
  revision: number;
  /** Level of aggregation in force that its pod asks for; undefined: the node's. */
  aggregation: AggregationLevel | undefined;
}

export function newMember(record: EndpointRecord, pod: Pod | undefined): Member {
  return {
    record,
    pod,
    labels: new Map(),
    identity: 0,
    namedPorts: pod?.namedPorts ?? [],
    subject: '',
    policy: POLICY_NONE,
    state: 'waiting-for-identity',
    revision: 0,
    aggregation: undefined,
  };
}

export function endpointRow(member: Member): EndpointRow {
  const { id, mac, addresses } = member.record;
  const aggregation = askedAggregation(member.pod?.annotations ?? {});
  return {
    id,
    mac,
    addresses,
    identity: member.identity,
    policy: member.policy,
    ...(aggregation && { aggregation }),
  };
}

export function peerRows(member: Member): PeerRow[] {
  return member.record.addresses.map((address) => ({
    address,
    identity: member.identity,
    endpoint: member.record.id,
    kind: 'pod',
  }));
}
