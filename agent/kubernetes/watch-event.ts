/** One line of a watch. Source: api-concepts, "Efficient detection of changes"; meta/v1 WatchEvent. */
import type { KubernetesObject } from './client.ts';
import { dropManagedFields } from './list.ts';

export type WatchEvent<T> =
  | { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly object: T; readonly version: string }
  | { readonly type: 'BOOKMARK'; readonly version: string }
  | { readonly type: 'ERROR'; readonly status: unknown };

/** A line that is no event: what it said is lost, so only a new list helps. */
export class Unreadable extends Error {}

export function readEvent<T extends KubernetesObject>(line: string): WatchEvent<T> {
  let event: { type?: unknown; object?: unknown } | null;
  try {
    event = JSON.parse(line);
  } catch {
    throw new Unreadable(`a line is no JSON: ${excerpt(line)}`);
  }
  if (event?.type === 'ERROR') return { type: 'ERROR', status: event.object };
  const object = event?.object as T | undefined;
  const version = object?.metadata?.resourceVersion;
  if (typeof version !== 'string' || version === '')
    throw new Unreadable(`an event names no version: ${excerpt(line)}`);
  if (event?.type === 'BOOKMARK') return { type: 'BOOKMARK', version };
  if (event?.type !== 'ADDED' && event?.type !== 'MODIFIED' && event?.type !== 'DELETED') {
    throw new Unreadable(`an event of type ${JSON.stringify(event?.type)}`);
  }
  if (typeof object?.metadata.name !== 'string') throw new Unreadable(`an event names no object: ${excerpt(line)}`);
  dropManagedFields(object);
  return { type: event.type, object, version };
}

function excerpt(line: string): string {
  return JSON.stringify(line.length > 100 ? `${line.slice(0, 100)}...` : line);
}
