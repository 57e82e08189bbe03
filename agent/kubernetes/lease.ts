/**
 * One holder at a time for chores that one agent does for all: an election over a Lease of coordination.k8s.io/v1. As in
 * client-go, clocks are never compared: a lease has run out when its record did not change for its duration on our own
 * monotonic clock. The holder stops acting before others may begin.
 */
import { backoffMs } from '../run/backoff.ts';
import type { Clock } from '../run/clock.ts';
import { ApiError } from './api-error.ts';
import type { KubernetesClient, ObjectMeta } from './client.ts';
import { collectionPath, LEASES, objectPath } from './path.ts';
import { sleep } from './rate-limit.ts';

export interface LeaseOptions {
  readonly namespace: string;
  readonly name: string;
  /** Who we are: the node's name. The same after a restart takes its own lease back at once. */
  readonly identity: string;
  /** The lease was taken. The signal aborts when it is lost or given back: chores must stop at once then. */
  onHeld(signal: AbortSignal): void;
  /** Asking failed and is tried again; for the log. The same failure in a row is told once. */
  onTrouble?(error: ApiError): void;
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

/** All in milliseconds. */
export interface LeaseTimes {
  /** Others may take the lease when its record did not change for so long. */
  readonly durationMs: number;
  /** The holder stops when it could not renew for so long; less than the duration by more than a request takes. */
  readonly giveUpMs: number;
  readonly renewMs: number;
  /** How often the others look. There may be hundreds of them, and the chores can wait. */
  readonly lookMs: number;
}

export const LEASE_TIMES: LeaseTimes = { durationMs: 30_000, giveUpMs: 20_000, renewMs: 7000, lookMs: 10_000 };

/** Giving it back while the agent stops. */
const RELEASE_MS = 2000;

interface LeaseObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: ObjectMeta;
  readonly spec?: LeaseSpec;
}

interface LeaseSpec {
  readonly holderIdentity?: string;
  readonly leaseDurationSeconds?: number;
  readonly acquireTime?: string;
  readonly renewTime?: string;
  readonly leaseTransitions?: number;
}

export interface LeaseParts {
  readonly client: KubernetesClient;
  readonly clock: Clock;
  readonly random: () => number;
  readonly times?: Partial<LeaseTimes>;
}

export function joinElection(options: LeaseOptions, parts: LeaseParts): Lease {
  const candidate = new Candidate(options, parts);
  const stopped = candidate.run();
  return {
    get isHeld() {
      return candidate.isHeld;
    },
    get holder() {
      return candidate.holder;
    },
    stopped,
  };
}

class Candidate {
  readonly #options: LeaseOptions;
  readonly #parts: LeaseParts;
  readonly #times: LeaseTimes;
  readonly #path: string;
  /** The record as it was last seen, and since when on our clock it has been so. */
  #seen: LeaseObject | undefined;
  #seenSinceMs = 0;
  #held: AbortController | undefined;
  #cancelGiveUp = (): void => {};
  #trouble = '';

  constructor(options: LeaseOptions, parts: LeaseParts) {
    this.#options = options;
    this.#parts = parts;
    this.#times = { ...LEASE_TIMES, ...parts.times };
    this.#path = objectPath(LEASES, options.namespace, options.name);
  }

  get isHeld(): boolean {
    return this.#held !== undefined;
  }

  get holder(): string {
    return this.#seen?.spec?.holderIdentity ?? '';
  }

  async run(): Promise<void> {
    const { signal } = this.#options;
    const { clock, random } = this.#parts;
    let failures = 0;
    while (!signal.aborted) {
      try {
        await this.#turn();
        failures = 0;
        this.#trouble = '';
      } catch (error) {
        if (signal.aborted) break;
        failures++;
        this.#note(error);
      }
      const everyMs = this.isHeld ? this.#times.renewMs : this.#times.lookMs;
      const waitMs = backoffMs(
        failures > 0 ? failures : 1,
        { firstMs: failures > 0 ? 1000 : everyMs, maxMs: everyMs },
        random,
      );
      await sleep(waitMs, clock, signal).catch(() => {}); // Aborted: the loop ends.
    }
    await this.#giveBack();
  }

  async #turn(): Promise<void> {
    const askedMs = this.#parts.clock.nowMs();
    if (!this.isHeld) await this.#look();
    if (!this.#mayTake()) return;
    const written = await this.#write(askedMs);
    if (written) this.#hold(askedMs);
  }

  async #look(): Promise<void> {
    try {
      this.#see(await this.#parts.client.get<LeaseObject>(this.#path, this.#limits()));
    } catch (error) {
      if (!(error instanceof ApiError) || error.code !== 'NOT_FOUND') throw error;
      this.#seen = undefined;
    }
  }

  #see(lease: LeaseObject): void {
    if (lease.metadata.resourceVersion !== this.#seen?.metadata.resourceVersion)
      this.#seenSinceMs = this.#parts.clock.nowMs();
    this.#seen = lease;
  }

  #mayTake(): boolean {
    const holder = this.holder;
    if (holder === '' || holder === this.#options.identity) return true;
    const durationMs = (this.#seen?.spec?.leaseDurationSeconds ?? this.#times.durationMs / 1000) * 1000;
    return this.#parts.clock.nowMs() - this.#seenSinceMs >= durationMs;
  }

  /** False: somebody else was faster. */
  async #write(askedMs: number): Promise<boolean> {
    const { namespace, name, identity } = this.#options;
    const { client } = this.#parts;
    const before = this.#seen;
    const isRenewal = before?.spec?.holderIdentity === identity;
    const now = microTime();
    const spec: LeaseSpec = {
      holderIdentity: identity,
      leaseDurationSeconds: Math.ceil(this.#times.durationMs / 1000),
      acquireTime: isRenewal ? (before.spec?.acquireTime ?? now) : now,
      renewTime: now,
      leaseTransitions: (before?.spec?.leaseTransitions ?? 0) + (before && !isRenewal ? 1 : 0),
    };
    const shape = { apiVersion: LEASES.apiVersion, kind: 'Lease' };
    try {
      this.#see(
        before
          ? await client.update<LeaseObject>(this.#path, { ...before, ...shape, spec }, this.#limits())
          : await client.create<LeaseObject>(
              collectionPath(LEASES, namespace),
              { ...shape, metadata: { name, namespace }, spec },
              this.#limits(),
            ),
      );
      // An answer that took too long: others may hold it by now.
      return this.#parts.clock.nowMs() - askedMs < this.#times.giveUpMs;
    } catch (error) {
      if (!(error instanceof ApiError) || !['API_CONFLICT', 'API_EXISTS', 'NOT_FOUND'].includes(error.code))
        throw error;
      // Somebody wrote it, or it was deleted: in both cases it is not ours until we look again.
      this.#lose();
      return false;
    }
  }

  /** Held for a while, counted from before it was asked for. */
  #hold(askedMs: number): void {
    const { clock } = this.#parts;
    this.#cancelGiveUp();
    this.#cancelGiveUp = clock.after(askedMs + this.#times.giveUpMs - clock.nowMs(), () => this.#lose());
    if (this.#held || this.#options.signal.aborted) return;
    this.#held = new AbortController();
    this.#options.onHeld(this.#held.signal);
  }

  #lose(): void {
    this.#cancelGiveUp();
    const held = this.#held;
    this.#held = undefined;
    held?.abort(new Error(`the lease ${this.#options.name} is no longer ours`));
  }

  async #giveBack(): Promise<void> {
    const wasHeld = this.isHeld;
    this.#lose();
    if (!wasHeld || !this.#seen) return;
    const spec = { ...this.#seen.spec, holderIdentity: '', renewTime: microTime() };
    // Who stops cannot do more than try: without it the lease runs out by itself.
    await this.#parts.client.update(this.#path, { ...this.#seen, spec }, { deadlineMs: RELEASE_MS }).catch(() => {});
  }

  /** A request that outlives our hold is of no use. */
  #limits() {
    return { signal: this.#options.signal, deadlineMs: Math.round(this.#times.giveUpMs / 2) };
  }

  #note(cause: unknown): void {
    const error = cause instanceof ApiError ? cause : new ApiError('INTERNAL', 'lease', String(cause), { cause });
    if (error.message === this.#trouble) return;
    this.#trouble = error.message;
    this.#options.onTrouble?.(error);
  }
}

/** The wall clock as MicroTime wants it: exactly six digits. For people; nobody computes with it. */
function microTime(): string {
  return new Date().toISOString().replace('Z', '000Z');
}
