/** A CustomResourceDefinition around the schema of its objects. */
import { type Schema, text } from './schema.ts';

export interface Column {
  readonly name: string;
  readonly type: 'string' | 'integer' | 'date' | 'boolean';
  readonly jsonPath: string;
  readonly description?: string;
  /** 1: only with `-o wide`. */
  readonly priority?: number;
}

export interface Version {
  readonly name: string;
  /** What people are told who still use it. */
  readonly deprecation?: string;
}

export interface Definition {
  readonly group: string;
  readonly kind: string;
  readonly plural: string;
  readonly shortNames: readonly string[];
  readonly categories?: readonly string[];
  readonly scope: 'Namespaced' | 'Cluster';
  /** The first one is stored; all are served and have the same schema. */
  readonly versions: readonly [Version, ...Version[]];
  readonly columns: readonly Column[];
  /** Of the whole object, without apiVersion, kind and metadata. With `status` among its fields that is a subresource. */
  readonly schema: Schema;
}

export const AGE: Column = { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' };

/** The name of the definition, and of its file. */
export function definitionName({ plural, group }: Definition): string {
  return `${plural}.${group}`;
}

/** The object to send to the API server. */
export function customResourceDefinition(definition: Definition): object {
  const { group, kind, plural, shortNames, categories, scope, versions } = definition;
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: definitionName(definition), labels: { 'app.kubernetes.io/part-of': 'weir' } },
    spec: {
      group,
      scope,
      names: {
        kind,
        listKind: `${kind}List`,
        plural,
        singular: kind.toLowerCase(),
        shortNames,
        ...(categories && { categories }),
      },
      versions: versions.map((version, index) => ({
        name: version.name,
        served: true,
        storage: index === 0,
        ...(version.deprecation && { deprecated: true, deprecationWarning: version.deprecation }),
        additionalPrinterColumns: definition.columns,
        ...(definition.schema.properties?.status && { subresources: { status: {} } }),
        schema: { openAPIV3Schema: withMeta(definition.schema) },
      })),
    },
  };
}

function withMeta(schema: Schema): Schema {
  const meta = {
    apiVersion: text('Version of the schema this object is written in.'),
    kind: text('What kind of object this is.'),
    metadata: { type: 'object' as const },
  };
  return { ...schema, properties: { ...meta, ...schema.properties } };
}
