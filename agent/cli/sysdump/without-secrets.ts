/** What the API server answers, without what is nobody's business: values of variables, and copies of whole objects. Pure. */

export const LEFT_OUT = '(left out)';

/** Fields that repeat the object, or say only who wrote it. */
const DROPPED: ReadonlySet<string> = new Set(['managedFields', 'kubectl.kubernetes.io/last-applied-configuration']);

/** A copy: of each entry of `env` only the name stays, and where its value comes from; of Secrets only their names. */
export function withoutSecrets(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutSecrets);
  if (typeof value !== 'object' || value === null) return value;
  const fields = Object.entries(value).filter(([name]) => !DROPPED.has(name));
  const isSecret = (value as { readonly kind?: unknown }).kind === 'Secret';
  return Object.fromEntries(
    fields.map(([name, inner]) => {
      if (isSecret && (name === 'data' || name === 'stringData')) return [name, LEFT_OUT];
      if (name === 'env' && Array.isArray(inner)) return [name, inner.map(variable)];
      return [name, withoutSecrets(inner)];
    }),
  );
}

function variable(entry: unknown): unknown {
  if (typeof entry !== 'object' || entry === null || !('value' in entry)) return withoutSecrets(entry);
  return { ...entry, value: LEFT_OUT };
}
