/**
 * Identities that survive restarts: the table of allocate.ts with its journal on disk. A label set that is known
 * already costs no write; a new one costs one small durable append, and sets that come together share it.
 */
import { join } from 'node:path';
import { type Identity, type IdentityNumber, RESERVED_IDENTITIES } from '../model/identity.ts';
import { formatLabels, type Labels } from '../model/labels.ts';
import type { Problem } from '../model/object.ts';
import { type Clock, systemClock } from '../run/clock.ts';
import { type Journal, openJournal } from '../run/journal.ts';
import {
  assignment,
  type IdentityRecord,
  type IdentityTable,
  type NumberRange,
  POD_RANGE,
  replayIdentities,
} from './allocate.ts';

const FILE = 'identities.journal';
/** The journal is rewritten when it has this many lines more than twice the number of identities. */
const SPARE_LINES = 1024;

export interface IdentityStoreOptions {
  /** The agent's state directory; the journal is identities.journal in it. */
  readonly directory: string;
  /** How long a set that nobody uses keeps its number, milliseconds. */
  readonly graceMs: number;
  readonly clock?: Clock;
  readonly range?: NumberRange;
}

export interface IdentityStore {
  /**
   * The number of the labels, on disk before it is returned; one user more. When all numbers are taken: `init`, which
   * is denied by default, and a problem is reported until a number is free again; whoever got `init` may ask again.
   * Rejects with STATE_NOT_DURABLE if a new number cannot be written.
   */
  acquire(labels: Labels): Promise<IdentityNumber>;
  /** One user fewer. The number stays with the labels for the grace. */
  release(labels: Labels): void;
  get(number: IdentityNumber): Identity | undefined;
  list(): Identity[];
  /** Numbers taken and numbers there are. */
  usage(): { readonly used: number; readonly capacity: number };
  /** What a person should know: a damaged journal, a full table. */
  problems(): Problem[];
  /** Forgets what is out of its grace and keeps the journal short. To be called every now and then (a minute). */
  collect(): Promise<void>;
  close(): Promise<void>;
}

export async function openIdentityStore(options: IdentityStoreOptions): Promise<IdentityStore> {
  const clock = options.clock ?? systemClock;
  const range = options.range ?? POD_RANGE;
  const file = join(options.directory, FILE);
  const opened = await openJournal<IdentityRecord>(file);
  const records = [...opened.previousRecords, ...opened.records];
  const table = replayIdentities(records, clock.nowMs(), opened.damagedLines, range);
  const store = new Store(file, table, opened.journal, options.graceMs, clock, range);
  if (opened.damage !== undefined) await store.repair(opened.damage);
  return store;
}

class Store implements IdentityStore {
  readonly #file: string;
  readonly #table: IdentityTable;
  readonly #journal: Journal<IdentityRecord>;
  readonly #graceMs: number;
  readonly #clock: Clock;
  readonly #capacity: number;
  /** Numbers given in memory that are not on disk, and the writes under way for them: who asks meanwhile waits too. */
  readonly #unwritten = new Set<IdentityNumber>();
  readonly #writes = new Map<IdentityNumber, Promise<void>>();
  #damage: string | undefined;
  /** Labels last refused for want of a number. */
  #refused: Labels | undefined;

  constructor(
    file: string,
    table: IdentityTable,
    journal: Journal<IdentityRecord>,
    graceMs: number,
    clock: Clock,
    range: NumberRange,
  ) {
    this.#file = file;
    this.#table = table;
    this.#journal = journal;
    this.#graceMs = graceMs;
    this.#clock = clock;
    this.#capacity = range.last - range.first + 1;
  }

  async acquire(labels: Labels): Promise<IdentityNumber> {
    const got = this.#table.acquire(labels);
    if (!got) {
      this.#refused = labels;
      return RESERVED_IDENTITIES.init;
    }
    if (got.isNew) this.#unwritten.add(got.identity.number);
    try {
      await this.#makeDurable(got.identity);
    } catch (error) {
      this.release(labels);
      throw error;
    }
    return got.identity.number;
  }

  /** Also tries again what could not be written before: the number is in the table, but nobody was given it. */
  #makeDurable(identity: Identity): Promise<void> | undefined {
    const { number } = identity;
    if (!this.#unwritten.has(number)) return undefined;
    const underWay = this.#writes.get(number);
    if (underWay) return underWay;
    const write = this.#journal
      .append([assignment(identity)])
      .then(() => void this.#unwritten.delete(number))
      .finally(() => this.#writes.delete(number));
    this.#writes.set(number, write);
    return write;
  }

  release(labels: Labels): void {
    this.#table.release(labels, this.#clock.nowMs());
  }

  get(number: IdentityNumber): Identity | undefined {
    return this.#table.get(number);
  }

  list(): Identity[] {
    return this.#table.list();
  }

  usage(): { used: number; capacity: number } {
    return { used: this.#table.size, capacity: this.#capacity };
  }

  problems(): Problem[] {
    const problem = (code: string, message: string): Problem => ({
      severity: 'error',
      code,
      message,
      path: [],
      place: this.#file,
      line: undefined,
    });
    const problems: Problem[] = [];
    if (this.#damage !== undefined) problems.push(problem('state-damaged', this.#damage));
    if (this.#refused && this.#table.size >= this.#capacity) {
      const labels = formatLabels(this.#refused).join(', ');
      problems.push(
        problem(
          'identities-exhausted',
          `all ${this.#capacity} identity numbers are taken; pods with new labels are denied by default, the last one with ${labels}`,
        ),
      );
    }
    return problems;
  }

  async collect(): Promise<void> {
    await this.#journal.append(this.#table.forgetUnused(this.#clock.nowMs(), this.#graceMs));
    if (this.#journal.lines > 2 * this.#table.size + SPARE_LINES)
      await this.#journal.rewrite(() => this.#table.snapshot());
  }

  /** Writes down what could be read, so that the damage is told of once and not carried along. */
  async repair(damage: string): Promise<void> {
    this.#damage = `${damage}; label sets that could be read and keep their numbers: ${this.#table.size}`;
    try {
      await this.#journal.rewrite(() => this.#table.snapshot());
    } catch (error) {
      this.#damage += `; it cannot be written anew (${(error as Error).message})`;
    }
  }

  async close(): Promise<void> {
    await this.#journal.close();
  }
}
