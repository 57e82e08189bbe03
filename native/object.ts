import type { RawRefusal } from './addon.ts';
import { addon } from './addon.ts';
import { KernelError } from './error.ts';
import type { MapHandle, ProgramHandle } from './handle.ts';
import { closeFd } from './handle.ts';

export interface ObjectOptions {
  /** `const volatile` globals by name; integers must fit the variable's size, other types take their exact bytes. */
  readonly rodata?: Readonly<Record<string, number | bigint | boolean | Uint8Array>>;
  /** Map name -> pin path. Where the file exists, that map is used instead of a new one; its shape must be the same. */
  readonly reuse?: Readonly<Record<string, string>>;
  readonly maxEntries?: Readonly<Record<string, number>>;
  /** Of the verifier: 0 (default) logs only what is refused, 1 everything, 2 more. */
  readonly logLevel?: number;
}

export interface LoadedObject {
  readonly maps: Readonly<Record<string, MapHandle>>;
  readonly programs: Readonly<Record<string, ProgramHandle>>;
  /** Closes the descriptors of all maps and programs; what is pinned or attached stays in the kernel. */
  close(): void;
}

/** Lines of the verifier's log that are kept: the refused instruction and the path that led to it. */
const LOG_TAIL_LINES = 60;

/**
 * Loads all programs of a compiled BPF object, with its maps. Pins nothing, also where the object asks for it.
 * Runs on the JS thread for as long as the verifier takes.
 * @throws KernelError; when the verifier refuses, `log` is the end of what it says.
 */
export function openObject(path: string, options: ObjectOptions = {}): LoadedObject {
  const rodata = Object.entries(options.rodata ?? {}).map(([name, value]): [string, bigint | Uint8Array] => {
    if (value instanceof Uint8Array) return [name, value];
    if (typeof value === 'number' && !Number.isSafeInteger(value)) {
      throw new RangeError(`object load ${path}: rodata ${name} must be an integer, got ${value}`);
    }
    return [name, BigInt(value)];
  });
  for (const [name, count] of Object.entries(options.maxEntries ?? {})) {
    if (!Number.isInteger(count) || count < 1 || count > 0xffffffff) {
      throw new RangeError(`object load ${path}: maxEntries of ${name} must be 1 to 2^32-1, got ${count}`);
    }
  }
  const result = addon.openObject(
    path,
    rodata,
    Object.entries(options.reuse ?? {}),
    Object.entries(options.maxEntries ?? {}),
    options.logLevel ?? 0,
  );
  if ('status' in result) throw refusal(path, result);

  const maps: Record<string, MapHandle> = {};
  for (const map of result.maps) maps[map.name] = { kind: 'map', ...map };
  const programs: Record<string, ProgramHandle> = {};
  for (const program of result.programs) programs[program.name] = { kind: 'program', ...program };
  let open = true;
  return {
    maps,
    programs,
    close() {
      if (!open) return;
      open = false;
      for (const handle of [...result.maps, ...result.programs]) closeFd(handle.fd);
    },
  };
}

function refusal(path: string, { status, step, subject, expected, found, log }: RawRefusal): KernelError {
  const absent = -status === 2; /* ENOENT */
  const tail = verifierTail(log);
  switch (step) {
    case 'rodata':
      return new KernelError(`object load ${path}`, -status, {
        detail: absent
          ? `no const volatile variable "${subject}"; there are: ${found || 'none'}`
          : `variable "${subject}" takes ${expected || 'another type'}${found ? `, got ${found}` : ''}`,
      });
    case 'maxEntries':
      return new KernelError(`object load ${path}`, -status, { detail: `no map "${subject}" to size` });
    case 'reuse':
      return new KernelError('map reuse', -status, {
        detail: absent
          ? `no map "${subject}" in ${path}`
          : `${subject}: the object has ${expected || 'a map'}, the pin has ${found || 'something else'}`,
      });
    case 'open':
      return new KernelError(`object open ${path}`, -status, { detail: lastLine(tail), log: tail });
    case 'load':
      return new KernelError(`object load ${path}`, -status, { detail: lastLine(tail), log: tail });
  }
}

/** The end of the verifier's log of the program that was refused; without one, of libbpf's own messages. */
export function verifierTail(log: string): string {
  const verifier = /-- BEGIN PROG LOAD LOG --\n([\s\S]*?)-- END PROG LOAD LOG --/.exec(log)?.[1] ?? log;
  const program = /prog '([^']*)': -- BEGIN PROG LOAD LOG --/.exec(log)?.[1];
  const lines = verifier
    .split('\n')
    .filter(
      (line) => line.trim() !== '' && !/^processed \d+ insns|^peak_states|^verification time|^stack depth/.test(line),
    );
  const left = lines.length - LOG_TAIL_LINES;
  return [
    ...(program === undefined ? [] : [`program ${program}:`]),
    ...(left > 0 ? [`(${left} lines before these)`] : []),
    ...lines.slice(-LOG_TAIL_LINES),
  ].join('\n');
}

function lastLine(text: string): string {
  return text.slice(text.lastIndexOf('\n') + 1);
}
