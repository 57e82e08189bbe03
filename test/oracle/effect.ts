/** What one rule of one document says about one packet, and what the document says about the subject. */
import type { Party } from './party.ts';
import type { Packet, PodSpec, Scenario } from './scenario.ts';

/** The question as the languages see it. */
export interface Case {
  readonly scenario: Scenario;
  readonly packet: Packet;
  readonly subject: PodSpec;
  readonly peer: Party;
}

/** A rule that matches the packet. */
export interface Match {
  readonly tier: 'admin' | 'normal' | 'baseline';
  /** Admin and Baseline: lower decides first. */
  readonly order: number;
  readonly action: 'allow' | 'deny' | 'pass';
  /** "kind namespace/name path", for the comparison of attributions. */
  readonly rule: string;
}
export interface Effect {
  readonly isolates: boolean;
  readonly matches: readonly Match[];
}
export const NO_EFFECT: Effect = { isolates: false, matches: [] };
