/**
 * What goes over the socket between weir-cni and the agent (cni/README.md).
 *
 *     request   KEY=value\0 for each CNI_* variable, \0, stdin as it came, end of writing
 *     reply     one exit byte, then what goes to stdout unread; a newline ends it
 */
import { WeirError } from '../errors.ts';

/** As in cni/weir_cni.c. */
export const ENVIRONMENT_MAX_BYTES = 64 << 10;
export const STDIN_MAX_BYTES = 1 << 20;
export const FRAME_MAX_BYTES = ENVIRONMENT_MAX_BYTES + 1 + STDIN_MAX_BYTES;
/** The specification has six variables. */
const MOST_VARIABLES = 32;

export interface Frame {
  readonly environment: ReadonlyMap<string, string>;
  readonly stdin: Uint8Array;
}

export interface Reply {
  /** Exit status of weir-cni, 0 to 255. */
  readonly exit: number;
  /** For its stdout; '' for nothing. */
  readonly text: string;
}

/** @throws CNI_DECODE, saying where the frame is not one; TOO_LARGE */
export function parseFrame(bytes: Uint8Array): Frame {
  if (bytes.length > FRAME_MAX_BYTES) throw tooLarge();
  const environment = new Map<string, string>();
  let at = 0;
  for (;;) {
    const end = bytes.indexOf(0, at);
    if (end < 0) throw malformed('the variables do not end in an empty string');
    if (end > ENVIRONMENT_MAX_BYTES) throw malformed(`the variables exceed ${ENVIRONMENT_MAX_BYTES} bytes`);
    if (end === at) return { environment, stdin: bytes.subarray(at + 1) };
    const entry = decodeUtf8(bytes.subarray(at, end));
    const [, name, value] = /^(CNI_[A-Z0-9_]+)=(.*)$/s.exec(entry ?? '') ?? [];
    if (name === undefined || value === undefined)
      throw malformed(`byte ${at} does not begin a CNI_NAME=value in UTF-8`);
    if (environment.has(name)) throw malformed(`${name} stands in it twice`);
    environment.set(name, value);
    if (environment.size > MOST_VARIABLES) throw malformed(`it has more than ${MOST_VARIABLES} variables`);
    at = end + 1;
  }
}

export function encodeReply({ exit, text }: Reply): Uint8Array {
  const body = Buffer.from(text === '' || text.endsWith('\n') ? text : `${text}\n`);
  return Buffer.concat([Uint8Array.of(exit), body]);
}

export function tooLarge(): WeirError {
  return new WeirError('TOO_LARGE', 'read a CNI request', `a request has at most ${FRAME_MAX_BYTES} bytes`);
}

/** Undefined if the bytes are not UTF-8. */
export function decodeUtf8(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

function malformed(why: string): WeirError {
  return new WeirError('CNI_DECODE', 'read a CNI request', `not a request of weir-cni: ${why}`);
}
