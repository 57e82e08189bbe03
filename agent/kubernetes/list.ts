/** A whole collection, page by page, as of one version. */
import { ApiError } from './api-error.ts';
import type { KubernetesObject, Selectors } from './client.ts';
import { operationOf, type Transport } from './transport.ts';

/** Objects a page. Large pages cost memory here, many pages time. */
const PAGE = 250;

export interface Page<T> {
  readonly items: T[];
  readonly resourceVersion: string;
  /** A page that begins the list again: what came before it counts no more. */
  readonly isFirst: boolean;
}

export interface ListRequest extends Selectors {
  readonly path: string;
  /** Only metadata of the objects (PartialObjectMetadata): for kinds that are large. */
  readonly metadataOnly?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly pageDeadlineMs: number;
}

/** How an answer is asked for as metadata only. Source: api-concepts, "Metadata-only fetches". */
export function acceptOf(metadataOnly: boolean | undefined, isList: boolean): string {
  if (!metadataOnly) return 'application/json';
  return `application/json;as=PartialObjectMetadata${isList ? 'List' : ''};g=meta.k8s.io;v=v1`;
}

export function withQuery(path: string, fields: Readonly<Record<string, string | undefined>>): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(fields)) if (value) query.set(name, value);
  return query.size === 0 ? path : `${path}?${query}`;
}

/**
 * The pages in order. All are of one version of the collection; when the server has forgotten it before the last page
 * (410), the list begins again without pages, so that the second try cannot be overtaken in the same way.
 */
export async function* listPages<T extends KubernetesObject>(
  transport: Transport,
  request: ListRequest,
): AsyncGenerator<Page<T>> {
  let limit: string | undefined = String(PAGE);
  let continuation: string | undefined;
  let isFirst = true;
  for (;;) {
    const path = withQuery(request.path, {
      fieldSelector: request.fieldSelector,
      labelSelector: request.labelSelector,
      limit,
      continue: continuation,
    });
    let answer: unknown;
    try {
      const { signal, pageDeadlineMs: deadlineMs } = request;
      answer = await transport.json({
        method: 'GET',
        path,
        accept: acceptOf(request.metadataOnly, true),
        signal,
        deadlineMs,
      });
    } catch (error) {
      if (!(error instanceof ApiError) || error.code !== 'API_GONE' || continuation === undefined) throw error;
      [limit, continuation, isFirst] = [undefined, undefined, true];
      continue;
    }
    const { items, resourceVersion, next } = readList<T>(answer, operationOf({ method: 'GET', path }));
    yield { items, resourceVersion, isFirst };
    if (next === '') return;
    continuation = next;
    isFirst = false;
  }
}

/** The present version of the collection, of a list of one. */
export async function presentVersion(transport: Transport, request: ListRequest): Promise<string> {
  const { signal, pageDeadlineMs: deadlineMs, fieldSelector, labelSelector } = request;
  const path = withQuery(request.path, { fieldSelector, labelSelector, limit: '1' });
  const accept = acceptOf(request.metadataOnly, true);
  const answer = await transport.json({ method: 'GET', path, accept, signal, deadlineMs });
  return readList(answer, operationOf({ method: 'GET', path })).resourceVersion;
}

function readList<T extends KubernetesObject>(
  answer: unknown,
  operation: string,
): { items: T[]; resourceVersion: string; next: string } {
  const list = answer as {
    apiVersion?: string;
    kind?: string;
    metadata?: { resourceVersion?: string; continue?: string };
    items?: unknown;
  } | null;
  const resourceVersion = list?.metadata?.resourceVersion;
  if (!resourceVersion || (list?.items !== null && !Array.isArray(list?.items))) {
    throw new ApiError('API_UNREACHABLE', operation, `${operation}: the answer is no list`);
  }
  const items = (list.items ?? []) as (T & { kind?: string; apiVersion?: string })[];
  // The items of built-in kinds do not say what they are.
  const kind = list.kind?.replace(/List$/, '');
  for (const item of items) {
    if (kind !== undefined) item.kind ??= kind;
    if (list.apiVersion !== undefined) item.apiVersion ??= list.apiVersion;
    dropManagedFields(item);
  }
  return { items, resourceVersion, next: list.metadata?.continue ?? '' };
}

/** Often half of an object's text, and nobody here reads them. */
export function dropManagedFields(object: KubernetesObject): void {
  delete (object.metadata as { managedFields?: unknown } | undefined)?.managedFields;
}
