/**
 * A piece of the history on disk: two files that only grow.
 *
 *     1700000000000-RUN-SEQUENCE.flows   records, RECORD_BYTES each: the kernel's bytes, wall time, references to names
 *     1700000000000-RUN-SEQUENCE.names   JSON lines: a head, then each name once, before the first record that uses it
 *
 * Names are those of the moment of the event, as in memory; a segment needs no other file. Numbers are in the machine's byte
 * order. What a crash cut off at the end of either file is not read.
 */
import { readFile } from 'node:fs/promises';
import type { Labels } from '../../model/labels.ts';
import type { PolicyInfo, RuleInfo } from '../../model/verdict.ts';
import type { PartyName, ServiceName } from '../names.ts';
import { AT, EVENT_SIZE, LITTLE_ENDIAN } from '../record.ts';
import { type NameTables, RECORD_BYTES, REFS, REFS_PER_RECORD, RecordStore } from '../store.ts';

/** Changes when records cannot be read as before: other fields, another machine. */
const LAYOUT = `${LITTLE_ENDIAN ? 'le' : 'be'} ${EVENT_SIZE} ${Object.values(AT).join(' ')}`;
const VERSION = 1;

export interface SegmentId {
  /** ms since 1970, when it was begun. */
  readonly startMs: number;
  readonly run: string;
  /** Sequence of its first record. */
  readonly first: number;
}

export function segmentName({ startMs, run, first }: SegmentId): string {
  return `${String(startMs).padStart(15, '0')}-${run}-${first}`;
}

/** Undefined for what is no segment. */
export function parseSegmentName(name: string): SegmentId | undefined {
  const match = /^([0-9]{15})-([0-9a-f]{18})-([1-9][0-9]{0,15})$/.exec(name);
  return match ? { startMs: Number(match[1]), run: match[2] as string, first: Number(match[3]) } : undefined;
}

type Kind = keyof NameTables;
/** Kind of name behind each reference of a record. */
const KIND_OF_REF: readonly Kind[] = kindsOfRefs();

function kindsOfRefs(): Kind[] {
  const kinds = new Array<Kind>(REFS_PER_RECORD).fill('parties');
  kinds[REFS.sourceLabels] = 'labels';
  kinds[REFS.destinationLabels] = 'labels';
  kinds[REFS.service] = 'services';
  for (const direction of [0, 1]) {
    kinds[REFS.rules + direction] = 'rules';
    kinds[REFS.policies + direction] = 'policies';
  }
  return kinds;
}

/** Turns records of the store into a segment's bytes; knows which names the segment has already. */
export class SegmentEncoder {
  readonly #ids: Record<Kind, Map<object, number>> = {
    parties: new Map(),
    labels: new Map(),
    rules: new Map(),
    policies: new Map(),
    services: new Map(),
  };

  head(): string {
    return `${JSON.stringify({ version: VERSION, layout: LAYOUT })}\n`;
  }

  /** Records `from` to `to` of the store, which must hold them: their bytes, and the lines of names that are new. */
  encode(store: RecordStore, from: number, to: number): { readonly names: string; readonly records: Uint8Array } {
    const records = new Uint8Array((to - from) * RECORD_BYTES);
    const view = new DataView(records.buffer);
    const lines: string[] = [];
    for (let sequence = from; sequence < to; sequence++) {
      const slot = sequence % store.capacity;
      const at = (sequence - from) * RECORD_BYTES;
      records.set(store.events.subarray(slot * EVENT_SIZE, (slot + 1) * EVENT_SIZE), at);
      view.setFloat64(at + EVENT_SIZE, store.times[slot] as number, LITTLE_ENDIAN);
      for (let ref = 0; ref < REFS_PER_RECORD; ref++) {
        const number = store.refs[slot * REFS_PER_RECORD + ref] as number;
        if (number === 0) continue;
        const id = this.#idOf(KIND_OF_REF[ref] as Kind, number, store.tables, lines);
        view.setUint32(at + EVENT_SIZE + 8 + 4 * ref, id, LITTLE_ENDIAN);
      }
    }
    return { names: lines.join(''), records };
  }

  #idOf(kind: Kind, ref: number, tables: NameTables, lines: string[]): number {
    const value = tables[kind].get(ref);
    if (value === undefined) return 0;
    const ids = this.#ids[kind];
    let id = ids.get(value);
    if (id === undefined) {
      id = ids.size + 1;
      ids.set(value, id);
      lines.push(`${JSON.stringify([kind, kind === 'labels' ? [...(value as Labels)] : value])}\n`);
    }
    return id;
  }
}

/**
 * The records of a segment as a store to be read; at most `records` of them. Undefined when it was written by another
 * layout of records, or is empty. Rejects when the files cannot be read.
 */
export async function loadSegment(
  path: string,
  { first, run }: SegmentId,
  records: number,
): Promise<RecordStore | undefined> {
  const [bytes, text] = await Promise.all([readFile(`${path}.flows`), readFile(`${path}.names`, 'utf8')]);
  const count = Math.min(records, Math.floor(bytes.length / RECORD_BYTES));
  const [head = '', ...lines] = text.slice(0, text.lastIndexOf('\n') + 1).split('\n');
  if (count === 0 || !isOurs(head)) return undefined;
  const store = new RecordStore({ run, memoryBytes: count * RECORD_BYTES, maxNames: lines.length });
  const counts = { parties: 0, labels: 0, rules: 0, policies: 0, services: 0 };
  for (const line of lines) {
    if (line === '') continue;
    const [kind, value] = JSON.parse(line) as [Kind, unknown];
    const id = ++counts[kind];
    if (kind === 'labels') store.tables.labels.intern(id, new Map(value as [string, string][]), first, first);
    else if (kind === 'parties') store.tables.parties.intern(id, value as PartyName, first, first);
    else if (kind === 'rules') store.tables.rules.intern(id, value as RuleInfo, first, first);
    else if (kind === 'services') store.tables.services.intern(id, value as ServiceName, first, first);
    else store.tables.policies.intern(id, value as PolicyInfo, first, first);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let i = 0; i < count; i++) {
    const at = i * RECORD_BYTES;
    const slot = (first + i) % count;
    store.events.set(bytes.subarray(at, at + EVENT_SIZE), slot * EVENT_SIZE);
    store.times[slot] = view.getFloat64(at + EVENT_SIZE, LITTLE_ENDIAN);
    for (let ref = 0; ref < REFS_PER_RECORD; ref++) {
      store.refs[slot * REFS_PER_RECORD + ref] = view.getUint32(at + EVENT_SIZE + 8 + 4 * ref, LITTLE_ENDIAN);
    }
  }
  store.next = first + count;
  return store;
}

function isOurs(head: string): boolean {
  try {
    const { version, layout } = JSON.parse(head) as { readonly version?: unknown; readonly layout?: unknown };
    return version === VERSION && layout === LAYOUT;
  } catch {
    return false; // a crash came before the head was whole: there are no records either
  }
}
