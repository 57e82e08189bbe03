/** Reads a directory of manifests once: what the CLI works on offline, without an agent. */
import { join } from 'node:path';
import type { Problem, SourceObject } from '../../model/object.ts';
import { listManifests, readText, signatureOf } from './directory.ts';
import { Folder } from './folder.ts';

export interface Manifests {
  readonly objects: readonly SourceObject[];
  readonly problems: readonly Problem[];
}

/** Objects and problems in the order of file names and lines. Throws what readdir throws if the directory cannot be read. */
export function readManifests(directory: string): Manifests {
  const folder = new Folder();
  for (const name of listManifests(directory)) {
    if (signatureOf(directory, name)) addFile(folder, directory, name);
  }
  return manifestsOf(folder);
}

/** The same for files named one by one. */
export function readManifestFiles(paths: readonly string[]): Manifests {
  const folder = new Folder();
  for (const path of paths) addFile(folder, '', path);
  return manifestsOf(folder);
}

function addFile(folder: Folder, directory: string, name: string): void {
  const read = readText(directory, name);
  const place = join(directory, name);
  if ('text' in read) folder.setFile(name, place, read.text);
  else folder.setUnreadable(name, place, read.unreadable);
}

function manifestsOf(folder: Folder): Manifests {
  const { changes, problems } = folder.take();
  return {
    objects: changes.flatMap((change) => (change.type === 'upsert' ? [change.object] : [])),
    problems: [...problems.values()].flat(),
  };
}
