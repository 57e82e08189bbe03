/**
 * Which identities this node holds: the numbers of its endpoints' label sets, certain (number-labels.ts) and durable.
 *
 * STATE/cluster-identities.journal lets an agent that starts while the API server is away give its pods the numbers they
 * had. A number is written there before it is used, and taken out there before its claim is given up, so the journal never
 * names a number that another label set could have got.
 */
import { asWeirError, WeirError } from '../errors.ts';
import { type NumberRange, POD_RANGE } from '../identity/allocate.ts';
import type { KubernetesClient } from '../kubernetes/client.ts';
import type { WatchChange } from '../kubernetes/watch.ts';
import { type IdentityNumber, RESERVED_IDENTITIES } from '../model/identity.ts';
import { formatLabels, type Labels, NAMESPACE_LABEL } from '../model/labels.ts';
import type { Clock } from '../run/clock.ts';
import type { Journal } from '../run/journal.ts';
import type { Logger } from '../run/log.ts';
import { createKnownIdentities, type KnownIdentities } from './known-identities.ts';
import { createNumberLabels } from './number-labels.ts';
import { type IdentityObject, identityName, MOST_IDENTITY_LABELS } from './objects.ts';
import type { OwnRecord } from './own-record.ts';
import { createTickets } from './tickets.ts';

/** What the journal holds: replayed in order, the label sets this node holds. */
export type HeldRecord =
  | { readonly hold: IdentityNumber; readonly labels: readonly (readonly [string, string])[] }
  | { readonly drop: IdentityNumber };

export interface IdentitiesOptions {
  readonly client: Pick<KubernetesClient, 'get' | 'list' | 'create' | 'update' | 'patch'>;
  readonly record: Pick<OwnRecord, 'claim' | 'drop' | 'wanted' | 'found'>;
  readonly journal: Pick<Journal<HeldRecord>, 'append' | 'rewrite' | 'lines'>;
  /** What the journal held at the start. */
  readonly held: readonly HeldRecord[];
  readonly clock: Clock;
  readonly log: Logger;
  /**
   * How long a set that no endpoint here has stays claimed, milliseconds, and a number whose creation had no answer; more
   * than any request to the API server can be under way.
   */
  readonly graceMs: number;
  /** Longest that acquire() waits for the API server; the work goes on and the next acquire() finds its result. */
  readonly waitMs: number;
  readonly range?: NumberRange;
  /** A set in use has another number now, because a person removed its object: its endpoints must ask again. */
  readonly onRenumbered: (labels: Labels) => void;
  readonly signal: AbortSignal;
}

export interface Identities {
  /**
   * The number of the labels; one user more. `init` when all numbers are taken. Rejects with a retryable error when the
   * set is not held here and the API server does not answer, with API_REFUSED when there are more labels than the API
   * server takes, and with STATE_NOT_DURABLE when the disk cannot be written.
   */
  acquire(labels: Labels): Promise<IdentityNumber>;
  /** One user fewer. */
  release(labels: Labels): void;
  /** Of the watch. */
  take(changes: readonly WatchChange<IdentityObject>[]): void;
  /** Its first list is complete. */
  synced(): void;
  /** Claims that were gone from our record for a while: they are made, and their numbers checked, again. */
  claimsLost(gone: ReadonlySet<IdentityNumber>): void;
  readonly known: KnownIdentities;
  /** Gives up what was not used for the grace. To be called every now and then (a minute). */
  collect(): Promise<void>;
  /** Label sets this node holds. */
  readonly size: number;
  /** Why new label sets get `init`; undefined while they do not. */
  readonly exhausted: string | undefined;
}

interface Held {
  readonly labels: Labels;
  readonly number: IdentityNumber;
  users: number;
  /** Since when nobody uses it, on our clock. */
  unusedSinceMs: number;
}

/** The journal is rewritten when it has this many lines more than twice what is held. */
const SPARE_LINES = 1024;

/** What could not be made sure of is tried again after this long. */
const VERIFY_AGAIN_MS = 5000;

export function createIdentities(options: IdentitiesOptions): Identities {
  const { client, record, journal, clock, log, signal, graceMs } = options;
  const range = options.range ?? POD_RANGE;
  const known = createKnownIdentities();
  const tickets = createTickets({ client, record, range, clock, signal, isTaken: known.hasNumber });
  const numbering = createNumberLabels({ client, record, tickets, clock, signal });
  /** By identityName(), as all maps here. */
  const held = new Map<string, Held>();
  const jobs = new Map<string, Promise<IdentityNumber>>();
  /**
   * Held, but to be made sure of. lost: its claim was gone for a while, so its number may be another set's by now.
   * removed: claimed all the time, but its object seems to be gone, or to have another number.
   */
  const doubts = new Map<string, 'lost' | 'removed'>();
  let cancelVerify = (): void => {};
  const startedMs = clock.nowMs();
  let isSynced = false;
  let exhausted: string | undefined;

  function hold(labels: Labels, number: IdentityNumber): void {
    const key = identityName(labels);
    const before = held.get(key);
    const users = before?.users ?? 0;
    held.set(key, { labels, number, users, unusedSinceMs: before?.unusedSinceMs ?? clock.nowMs() });
    if (!before || before.number === number) return;
    log.warn('an identity in use was removed and has another number now', { was: before.number, is: number });
    options.onRenumbered(labels);
  }

  /** One piece of work per label set at a time; whoever asks meanwhile shares it. */
  function work(labels: Labels, ask: () => Promise<IdentityNumber | undefined>): Promise<IdentityNumber> {
    const key = identityName(labels);
    const underWay = jobs.get(key);
    if (underWay) return underWay;
    const job = (async () => {
      const number = await ask();
      if (number === undefined) {
        exhausted = `all identity numbers of the cluster are taken; denied as init: ${formatLabels(labels).join(', ')}`;
        return RESERVED_IDENTITIES.init;
      }
      exhausted = undefined;
      await journal.append([{ hold: number, labels: [...labels] }]);
      hold(labels, number);
      return number;
    })().finally(() => jobs.delete(key));
    job.catch(() => {}); // Those who wait have it; nobody may be waiting any more.
    jobs.set(key, job);
    return job;
  }

  function verify(): void {
    cancelVerify();
    for (const [key, doubt] of doubts) {
      const entry = held.get(key);
      if (!entry) {
        doubts.delete(key);
        continue;
      }
      const { labels, number } = entry;
      const ask = () =>
        doubt === 'lost' ? numbering.obtain(labels, known.get(key)) : numbering.restore(labels, number);
      work(labels, ask).then(
        () => doubts.delete(key),
        (cause: unknown) => log.warn('an identity in use could not be made sure of; trying again', { number, cause }),
      );
    }
    if (doubts.size > 0) cancelVerify = clock.after(VERIFY_AGAIN_MS, () => signal.aborted || verify());
  }

  function claimsLost(isGone: (number: IdentityNumber) => boolean): void {
    for (const [key, { number }] of held) if (isGone(number)) doubts.set(key, 'lost');
    verify();
  }

  /** A deletion that is told late, of an object made again since, costs a look. */
  function doubt(key: string, number: IdentityNumber | undefined): void {
    const entry = held.get(key);
    if (entry && entry.number !== number && !doubts.has(key)) doubts.set(key, 'removed');
  }

  for (const entry of options.held) {
    const number = 'drop' in entry ? entry.drop : entry.hold;
    for (const [key, before] of held) if (before.number === number) held.delete(key);
    if (!('hold' in entry)) continue;
    const labels = new Map(entry.labels);
    held.set(identityName(labels), { labels, number, users: 0, unusedSinceMs: startedMs });
  }
  // Claims of before the restart stay (own-record.ts). Where they are gone, everything has to be made sure of again.
  void record.found.then((claims) => claimsLost((number) => !claims?.has(number)));

  /** Claims nobody here has a use for: of numbers dropped, refused, or taken by the agent before a restart. */
  function sweep(): void {
    // What is being numbered has claims that nothing here names yet.
    if (clock.nowMs() - startedMs < graceMs || jobs.size > 0) return;
    const needed = new Set([...held.values()].map(({ number }) => number));
    for (const number of tickets.held()) needed.add(number);
    record.drop([...record.wanted].filter((number) => !needed.has(number) && !numbering.isSent(number, graceMs)));
  }

  return {
    known,
    async acquire(labels) {
      const key = identityName(labels);
      const before = held.get(key);
      if (before) {
        before.users++;
        return before.number;
      }
      if (labels.size > MOST_IDENTITY_LABELS) throw tooMany(labels);
      const job = work(labels, () => numbering.obtain(labels, known.get(identityName(labels))));
      const number = await within(job, clock, options.waitMs);
      const entry = held.get(key);
      if (entry) entry.users++;
      return entry?.number ?? number;
    },
    release(labels) {
      const entry = held.get(identityName(labels));
      if (!entry || entry.users === 0) return; // It got `init` when all numbers were taken.
      entry.users--;
      entry.unusedSinceMs = clock.nowMs();
    },
    take(changes) {
      known.take(changes);
      if (!isSynced) return;
      for (const change of changes) {
        if (change.type === 'delete') doubt(change.ref.name, undefined);
        else doubt(change.object.metadata.name, change.object.spec.number);
      }
      verify();
    },
    synced() {
      isSynced = true;
      for (const key of held.keys()) doubt(key, known.get(key)?.spec.number);
      verify();
    },
    claimsLost(gone) {
      tickets.forget(gone);
      numbering.forget(gone);
      claimsLost((number) => gone.has(number));
    },
    async collect() {
      const now = clock.nowMs();
      const unused = [...held].filter(
        ([key, { users, unusedSinceMs }]) => users === 0 && now - unusedSinceMs >= graceMs && !jobs.has(key),
      );
      for (const [key] of unused) held.delete(key);
      try {
        if (unused.length > 0) await journal.append(unused.map(([, { number }]) => ({ drop: number })));
      } catch (cause) {
        // The journal still names them, so they must stay claimed.
        for (const [key, entry] of unused) if (!held.has(key)) held.set(key, entry);
        throw cause;
      }
      tickets.expire(graceMs);
      sweep();
      if (journal.lines <= 2 * held.size + SPARE_LINES) return;
      await journal.rewrite(() =>
        [...held.values()].map(({ number, labels }) => ({ hold: number, labels: [...labels] })),
      );
    },
    get size() {
      return held.size;
    },
    get exhausted() {
      return exhausted;
    },
  };
}

/** Told before a number is taken for what the API server would refuse. */
function tooMany(labels: Labels): WeirError {
  const namespace = labels.get(NAMESPACE_LABEL) ?? '';
  const own = formatLabels(labels).slice(0, 3).join(', ');
  const message = `a pod of namespace "${namespace}" has ${labels.size} labels that make its identity, with those of its namespace (${own}, ...); expected at most ${MOST_IDENTITY_LABELS}: remove some, or leave out by --identity-labels what no policy asks for`;
  return new WeirError('API_REFUSED', 'number a label set', message);
}

/** The result of the work if it comes in time; a retryable error otherwise. */
async function within(job: Promise<IdentityNumber>, clock: Clock, waitMs: number): Promise<IdentityNumber> {
  const late = Promise.withResolvers<never>();
  const cancel = clock.after(waitMs, () => {
    const message = `the API server did not settle the number of new labels within ${waitMs} ms; it goes on in the background`;
    late.reject(new WeirError('TIMEOUT', 'number a label set', message));
  });
  try {
    return await Promise.race([job, late.promise]);
  } catch (cause) {
    throw asWeirError(cause, 'number a label set');
  } finally {
    cancel();
  }
}
