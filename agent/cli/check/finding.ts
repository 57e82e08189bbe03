/** What `weir check` says of one thing it looked at. The names of results and of JSON fields are linkerd check's. */

/** success √, warning ‼ (it works, but somebody should look), error × (something does not work, or will not). */
export type Result = 'success' | 'warning' | 'error';

export interface Finding {
  /** What ought to be so: "all nodes have pod CIDRs". */
  readonly description: string;
  readonly result: Result;
  /** Why it is not so; absent for a success. */
  readonly error?: string;
  /** What to do. */
  readonly hint?: string;
}

export interface Category {
  readonly categoryName: string;
  readonly checks: readonly Finding[];
}

/** A fact that could be found out, or why not. */
export type Known<T> = { readonly value: T } | { readonly unknown: string };

export async function known<T>(find: () => T | Promise<T>): Promise<Known<T>> {
  try {
    return { value: await find() };
  } catch (error) {
    return { unknown: error instanceof Error ? error.message : String(error) };
  }
}

/** A finding over a fact. What could not be found out is a warning of its own: never taken for well. */
export function judge<T>(
  description: string,
  fact: Known<T>,
  decide: (value: T) => Omit<Finding, 'description'>,
): Finding {
  if ('unknown' in fact) {
    const error = `could not be found out: ${fact.unknown}`;
    return { description, result: 'warning', error };
  }
  return { description, ...decide(fact.value) };
}

export const fine = { result: 'success' } as const;
export const failed = (error: string, hint: string) => ({ result: 'error', error, hint }) as const;
export const odd = (error: string, hint: string) => ({ result: 'warning', error, hint }) as const;

/** The first few, and how many more. */
export function some(names: readonly string[], most = 5): string {
  const more = names.length - most;
  return more <= 0 ? names.join(', ') : `${names.slice(0, most).join(', ')} and ${more} more`;
}
