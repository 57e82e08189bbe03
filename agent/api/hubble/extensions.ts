/**
 * What Hubble's Flow has no field for, in its field `extensions`: the same `weir` that the HTTP API shows, as a
 * google.protobuf.Struct, which the stock client can print. It is sent to those who ask for it by name, for it makes a flow
 * three times as long.
 */
import type { StoredFlow } from '../../flow/decode.ts';
import { weirPart } from '../../flow/present.ts';
import { encode, STRUCT } from './messages.ts';

const TYPE_URL = 'type.googleapis.com/google.protobuf.Struct';

/** google.protobuf.Any. */
export function extensions(flow: StoredFlow): { readonly type_url: string; readonly value: Uint8Array } {
  return { type_url: TYPE_URL, value: encode(STRUCT, asStruct(weirPart(flow))) };
}

/** google.protobuf.Struct of what JSON.stringify would write. */
export function asStruct(value: object): object {
  const fields = Object.entries(value).filter(([, inner]) => inner !== undefined);
  return { fields: Object.fromEntries(fields.map(([name, inner]) => [name, asValue(inner)])) };
}

/** google.protobuf.Value. */
function asValue(value: unknown): object {
  if (typeof value === 'string') return { stringValue: value };
  if (typeof value === 'number') return { numberValue: value };
  if (typeof value === 'boolean') return { boolValue: value };
  if (Array.isArray(value)) return { listValue: { values: value.map(asValue) } };
  if (typeof value === 'object' && value !== null) return { structValue: asStruct(value) };
  throw new TypeError(`a flow has no ${typeof value}`);
}
