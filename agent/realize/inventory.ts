/** The objects the source has delivered, as they are now. Nothing here decides anything. */
import type { Document, Namespace, Node, ObjectRef, Pod, Service, SourceChange } from '../model/object.ts';
import { refKey } from '../model/object.ts';

export interface Inventory {
  readonly namespaces: ReadonlyMap<string, Namespace>;
  /** By {@link podKey}. */
  readonly pods: ReadonlyMap<string, Pod>;
  readonly nodes: ReadonlyMap<string, Node>;
  readonly services: ReadonlyMap<string, Service>;
  /** By refKey. */
  readonly documents: ReadonlyMap<string, Document>;
  /** Takes a change over. */
  apply(change: SourceChange): void;
}

/** "namespace/name". */
export function podKey(namespace: string, name: string): string {
  return `${namespace}/${name}`;
}

export function createInventory(): Inventory {
  const namespaces = new Map<string, Namespace>();
  const pods = new Map<string, Pod>();
  const nodes = new Map<string, Node>();
  const services = new Map<string, Service>();
  const documents = new Map<string, Document>();

  function remove(kind: (SourceChange & { type: 'delete' })['kind'], ref: ObjectRef): void {
    if (kind === 'Namespace') namespaces.delete(ref.name);
    else if (kind === 'Pod') pods.delete(podKey(ref.namespace, ref.name));
    else if (kind === 'Node') nodes.delete(ref.name);
    else if (kind === 'Service') services.delete(podKey(ref.namespace, ref.name));
    else if (kind === 'Document') documents.delete(refKey(ref));
  }

  return {
    namespaces,
    pods,
    nodes,
    services,
    documents,
    apply(change) {
      if (change.type === 'delete') return remove(change.kind, change.ref);
      const { object } = change;
      if (object.kind === 'Namespace') namespaces.set(object.ref.name, object.value);
      else if (object.kind === 'Pod') pods.set(podKey(object.ref.namespace, object.ref.name), object.value);
      else if (object.kind === 'Node') nodes.set(object.ref.name, object.value);
      else if (object.kind === 'Service') services.set(podKey(object.ref.namespace, object.ref.name), object.value);
      else if (object.kind === 'Document') documents.set(refKey(object.ref), object.value);
    },
  };
}
