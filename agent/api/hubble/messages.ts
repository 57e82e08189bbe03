/**
 * Hubble's messages as JavaScript objects: fields by their names in proto/, enums as numbers, 64-bit numbers as numbers
 * (exact to 2^53), absent fields absent.
 */
import type { MethodDefinition } from '@grpc/grpc-js';
import protobuf from 'protobufjs/light.js';
import { MESSAGES } from './messages.gen.ts';

const root = protobuf.Root.fromJSON(MESSAGES as protobuf.INamespace).resolveAll();

export const FLOW = root.lookupType('flow.Flow');
export const FLOW_FILTER = root.lookupType('flow.FlowFilter');
export const STRUCT = root.lookupType('google.protobuf.Struct');
export const GET_FLOWS_RESPONSE = root.lookupType('observer.GetFlowsResponse');

/** google.protobuf.Timestamp. */
export interface Timestamp {
  readonly seconds?: number;
  readonly nanos?: number;
}

/** Fields as proto/flow.proto has them. */
export interface FlowFilter {
  readonly [field: string]: unknown;
  /** Fields that proto/flow.proto does not know, as they came. */
  readonly $unknowns?: readonly Uint8Array[];
}

export interface GetFlowsRequest {
  readonly number?: number;
  readonly follow?: boolean;
  readonly first?: boolean;
  readonly whitelist?: readonly FlowFilter[];
  readonly blacklist?: readonly FlowFilter[];
  readonly since?: Timestamp | undefined;
  readonly until?: Timestamp | undefined;
  readonly field_mask?: { readonly paths?: readonly string[] };
  readonly extensions?: unknown;
  readonly $unknowns?: readonly Uint8Array[];
}

/** ms since 1970 with fraction. */
export function timestampMs({ seconds = 0, nanos = 0 }: Timestamp): number {
  return seconds * 1000 + nanos / 1e6;
}

/** Whole microseconds, as the HTTP API tells time. */
export function timestamp(ms: number): Timestamp {
  const micros = Math.round(ms * 1000);
  const seconds = Math.floor(micros / 1e6);
  return { seconds, nanos: (micros - seconds * 1e6) * 1000 };
}

/** A call as grpc-js wants it described; a Buffer is taken as the message already encoded. */
export type CallDefinitions = Record<string, MethodDefinition<object, object | Buffer>>;

/** The calls of a service by name. */
export function callsOf(name: string): CallDefinitions {
  const service = root.lookupService(name);
  const definitions = service.methodsArray.map((method) => {
    const request = service.lookupType(method.requestType);
    const response = service.lookupType(method.responseType);
    return [
      method.name,
      {
        path: `/${name}/${method.name}`,
        requestStream: false,
        responseStream: method.responseStream === true,
        requestSerialize: (message: object) => encode(request, message),
        requestDeserialize: (bytes: Buffer) => decode(request, bytes),
        responseSerialize: (message: object | Buffer) =>
          Buffer.isBuffer(message) ? message : encode(response, message),
        responseDeserialize: (bytes: Buffer) => decode(response, bytes),
      },
    ] as const;
  });
  return Object.fromEntries(definitions);
}

export function encode(type: protobuf.Type, message: object): Buffer {
  const bytes = type.encode(message as protobuf.Message).finish();
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Bytes that are no such message: throws, and grpc-js answers INTERNAL. */
export function decode(type: protobuf.Type, bytes: Uint8Array): object {
  const reader = protobuf.Reader.create(bytes);
  reader.discardUnknown = false;
  return plain(type.decode(reader));
}

/** The numbers of the names that a field of FlowFilter may have; undefined: it is no enum. */
export function filterEnum(field: string): Readonly<Record<string, number>> | undefined {
  const type = FLOW_FILTER.fields[field]?.resolve().resolvedType;
  return type instanceof protobuf.Enum ? type.values : undefined;
}

/** A FlowFilter written as JSON, enums by number. Its fields must have been verified. */
export function filterFromJson(json: Record<string, unknown>): FlowFilter {
  return plain(FLOW_FILTER.fromObject(json)) as FlowFilter;
}

/** Without the empty lists that stand for absent fields. */
function plain(message: protobuf.Message): object {
  const fields: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(message)) {
    if (!Array.isArray(value)) fields[name] = plainValue(value);
    else if (value.length > 0) fields[name] = value.map(plainValue);
  }
  if (message.$unknowns !== undefined) fields.$unknowns = message.$unknowns;
  return fields;
}

function plainValue(value: unknown): unknown {
  if (isLong(value)) return value.toNumber();
  return value instanceof protobuf.Message ? plain(value) : value;
}

function isLong(value: unknown): value is { toNumber(): number } {
  return typeof value === 'object' && value !== null && 'toNumber' in value;
}
