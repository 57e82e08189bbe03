/**
 * All the API may know of the agent, read-only: nothing here changes anything, and every answer is a value of now.
 * Implemented by the agent (main); the API computes the rest from it.
 */
import type { ConnectionRow, DatapathCounters, DatapathRows, DeviceProgram, MapFill } from '../datapath/datapath.ts';
import type { FlowHistory } from '../flow/history.ts';
import type { Endpoint } from '../model/endpoint.ts';
import type { Explanation, MatrixEntry } from '../model/explanation.ts';
import type { Identity } from '../model/identity.ts';
import type { ObjectRef, Problem } from '../model/object.ts';
import type { RuleInfo } from '../model/verdict.ts';

export interface State {
  endpoints(): readonly Endpoint[];
  /** Every identity this node knows, the reserved ones too. */
  identities(): readonly Identity[];
  policies(): readonly PolicyReport[];
  status(): AgentStatus;
  counters(): DatapathCounters;
  maps(): readonly MapFill[];
  /** What the kernel's tables hold, read now. */
  tables(): Promise<DatapathRows>;
  /** The connections the kernel keeps now, at most `limit` of `total`. */
  connections(limit: number): { readonly total: number; readonly rows: readonly ConnectionRow[] };
  readonly flows: FlowHistory;
  /**
   * Why a packet would pass or not, by the policies of now; one answer for each family in which the two may talk. Throws
   * WeirError BAD_REQUEST or NOT_FOUND for what cannot be read or found. Words: policy/workbench/find-party.ts, port.ts.
   */
  explain(question: { readonly from: string; readonly to: string; readonly port: string }): readonly Explanation[];
  /** Who may talk to whom; [] for ports: those the policies name. Throws TOO_LARGE where that would take too long. */
  matrix(ports: readonly string[], peers: readonly string[]): readonly MatrixEntry[];
}

export const POLICY_STATES = ['valid', 'kept-previous', 'isolating', 'unreadable'] as const;
/** As policy/engine.ts's DocumentState: see there. */
export type PolicyState = (typeof POLICY_STATES)[number];

/** One policy document and what became of it. */
export interface PolicyReport {
  readonly ref: ObjectRef;
  readonly status: PolicyState;
  /** Errors and warnings, in the order of the document. */
  readonly problems: readonly Problem[];
  /** Revision since which the document is compiled as it is now; 0 before. In force once status().revision.realized reached it. */
  readonly revision: number;
  /** Rules of the version in force. */
  readonly rules: readonly RuleInfo[];
  /** Where it was written: a file, or '' for an API object. */
  readonly place: string;
  /** The document as it came. */
  readonly document: unknown;
}

export interface AgentStatus {
  readonly version: string;
  readonly node: string;
  /** When the agent started, ms since 1970. */
  readonly startedAt: number;
  /** Names of what is not done yet; [] when the agent is ready. */
  readonly pending: readonly string[];
  /** Revision the documents ask for, and the one the kernel has. */
  readonly revision: { readonly desired: number; readonly realized: number };
  readonly source: { readonly name: string; readonly synced: boolean };
  /** What a person should look at: of documents and of the agent itself. */
  readonly problems: readonly Problem[];
  /** Programs on interfaces: how many there should be, and the endpoints that lack one. */
  readonly attachments: { readonly expected: number; readonly missing: readonly number[] };
  /** Programs on the node's own devices. */
  readonly devices: readonly DeviceProgram[];
}
