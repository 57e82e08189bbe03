/** One request in, one reply out: never throws, whatever the bytes are. */
import { asWeirError, type WeirError } from '../errors.ts';
import { add } from './add.ts';
import { check } from './check.ts';
import { del } from './del.ts';
import { type Invocation, parseEnvironment, type Verb } from './environment.ts';
import { parseFrame, type Reply } from './frame.ts';
import { gc } from './gc.ts';
import { decodeConfig } from './netconf.ts';
import type { CniParts, VerbHandler } from './request.ts';
import { errorResult } from './result.ts';
import { status } from './status.ts';
import { acceptVersion, NEWEST_VERSION, toVersion, versionAnswer } from './version.ts';

const HANDLERS: Record<Exclude<Verb, 'VERSION'>, VerbHandler> = {
  ADD: add,
  DEL: del,
  CHECK: check,
  GC: gc,
  STATUS: status,
};

/** `onError` is told of every request that failed, with what was asked if it got that far. */
export async function answer(
  frame: Uint8Array,
  parts: CniParts,
  onError: (invocation: Invocation | undefined, error: WeirError) => void,
): Promise<Reply> {
  let version = NEWEST_VERSION;
  let invocation: Invocation | undefined;
  try {
    const { environment, stdin } = parseFrame(frame);
    invocation = parseEnvironment(environment);
    const { verb } = invocation;
    const config = decodeConfig(stdin);
    if (verb === 'VERSION') return { exit: 0, text: versionAnswer(config) };
    version = toVersion(config.cniVersion) ?? version;
    acceptVersion(config.cniVersion, verb);
    return { exit: 0, text: await HANDLERS[verb]({ invocation, version, config }, parts) };
  } catch (thrown) {
    const error = asWeirError(thrown, invocation?.verb ?? 'read a CNI request');
    onError(invocation, error);
    return { exit: 1, text: errorResult(version, error) };
  }
}
