/** One holder at a time for chores that one agent does for all. */

export interface LeaseOptions {
  readonly namespace: string;
  readonly name: string;
  /** Who we are; the same over a restart takes an own lease back at once. The node's name. */
  readonly identity: string;
  /** The lease was taken. The signal aborts when it is lost or given back: chores must stop at once then. */
  onHeld(signal: AbortSignal): void;
  readonly signal: AbortSignal;
}

export interface Lease {
  /** True while this agent may act; false from a little before others may take it. */
  readonly isHeld: boolean;
  /** Who holds it as far as is known; '' before anything is. */
  readonly holder: string;
  /** Resolves when the signal has aborted and the lease was given back. */
  readonly stopped: Promise<void>;
}
