/** `metadata` of any object. */
import type { ObjectRef } from '../../model/object.ts';
import type { Field, TextRule } from './field.ts';
import { ANNOTATION_KEY, ANY_TEXT, LABEL_KEY, LABEL_NAME, LABEL_VALUE } from './syntax.ts';

/** Where `kubectl apply` puts an object that names no namespace, unless its context says otherwise. */
const DEFAULT_NAMESPACE = 'default';

/** The name of the object, or undefined if it cannot be read (reported). */
export function readRef(
  object: Field,
  kind: { readonly apiVersion: string; readonly kind: string; readonly namespaced: boolean; readonly name: TextRule },
): ObjectRef | undefined {
  const metadata = object.at('metadata');
  const name = metadata.at('name').requiredText(kind.name);
  const written = metadata.at('namespace').text(LABEL_NAME);
  const namespaceIsWrong = written === undefined && !metadata.at('namespace').absent;
  const uid = metadata.at('uid').text() ?? '';
  if (name === undefined || namespaceIsWrong) return undefined;
  if (!kind.namespaced && written !== undefined) {
    metadata.at('namespace').warn('ignored-field', `a ${kind.kind} belongs to no namespace: this one is ignored`);
  }
  const namespace = kind.namespaced ? (written ?? DEFAULT_NAMESPACE) : '';
  return { apiVersion: kind.apiVersion, kind: kind.kind, namespace, name, uid };
}

export function readLabels(object: Field): Readonly<Record<string, string>> {
  return object.at('metadata').at('labels').texts(LABEL_KEY, LABEL_VALUE);
}

export function readAnnotations(object: Field): Readonly<Record<string, string>> {
  return object.at('metadata').at('annotations').texts(ANNOTATION_KEY, ANY_TEXT);
}
