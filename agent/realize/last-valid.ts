/**
 * The last valid version of every policy document, on disk: so that a document that is broken now keeps its last good
 * version in force after a restart too (design.md, "A document we cannot honour isolates").
 *
 * One file of JSON behind a line with its checksum, replaced whole.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Document, Problem } from '../model/object.ts';
import { writeDurably } from '../run/durable-file.ts';

const FILE = 'policies.last-valid';

export interface LastValid {
  /** What was kept; their origins know the place but no lines. */
  readonly documents: Document[];
  /** A damaged file, for status. Its documents are then known only from the source. */
  readonly problems: Problem[];
}

export async function readLastValid(stateDirectory: string): Promise<LastValid> {
  const place = join(stateDirectory, FILE);
  let text: string;
  try {
    text = await readFile(place, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { documents: [], problems: [] };
    throw error;
  }
  const cut = text.indexOf('\n');
  const body = text.slice(cut + 1);
  if (cut < 0 || checksum(body) !== text.slice(0, cut)) {
    const message = `${place} is damaged: a policy that is invalid now isolates instead of keeping its last valid version`;
    return {
      documents: [],
      problems: [{ severity: 'error', code: 'damaged-state', message, path: [], place, line: undefined }],
    };
  }
  const kept = JSON.parse(body) as (Pick<Document, 'ref' | 'annotations' | 'raw'> & { place: string })[];
  const documents = kept.map(({ place: written, ...document }) => ({
    ...document,
    origin: { place: written, line: () => undefined },
  }));
  return { documents, problems: [] };
}

export async function writeLastValid(stateDirectory: string, documents: readonly Document[]): Promise<void> {
  const body = JSON.stringify(
    documents.map(({ ref, annotations, raw, origin }) => ({ ref, annotations, raw, place: origin.place })),
  );
  await writeDurably(join(stateDirectory, FILE), `${checksum(body)}\n${body}`);
}

function checksum(body: string): string {
  return createHash('sha256').update(body).digest('hex');
}
