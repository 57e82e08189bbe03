/**
 * Sources whose packets the node drops where they arrive: all WeirDenyLists and a file, as one set. A prefix that covers an
 * address of a node or an API server is left out and told of: it would cut the node off from those who could take it back.
 */
import { readFile } from 'node:fs/promises';
import { type Address, addressBytes, formatPrefix, type Prefix, parsePrefix } from '../model/address.ts';
import type { DenyList, Problem } from '../model/object.ts';

export interface DenyLists {
  upsert(list: DenyList): void;
  remove(name: string): void;
  /** Each prefix once, with the name of a list that has it. The same object until something changes. */
  prefixes(): ReadonlyMap<Prefix, string>;
}

export function createDenyLists(): DenyLists {
  const lists = new Map<string, readonly Prefix[]>();
  let all: Map<Prefix, string> | undefined;
  return {
    upsert({ name, prefixes }) {
      lists.set(name, prefixes);
      all = undefined;
    },
    remove(name) {
      lists.delete(name);
      all = undefined;
    },
    prefixes() {
      all ??= new Map(
        [...lists].flatMap(([name, prefixes]) => prefixes.map((prefix) => [prefix, `WeirDenyList ${name}`] as const)),
      );
      return all;
    },
  };
}

export interface Denied {
  /** Sorted. */
  readonly prefixes: readonly Prefix[];
  readonly problems: readonly Problem[];
}

/** What is denied when these must stay reachable. */
export function withoutOwn(wanted: ReadonlyMap<Prefix, string>, keep: readonly Address[]): Denied {
  const problems: Problem[] = [];
  const spared = new Set<Prefix>();
  for (const address of keep) {
    for (const prefix of covering(address)) {
      const place = wanted.get(prefix);
      if (place === undefined || spared.has(prefix)) continue;
      spared.add(prefix);
      problems.push(problem(place, `${prefix} is not denied: it covers ${address}, an address of the cluster itself`));
    }
  }
  return { prefixes: [...wanted.keys()].filter((prefix) => !spared.has(prefix)).sort(), problems };
}

/** Every prefix the address is in: lists have a hundred thousand, an address has 33 or 129. */
function covering(address: Address): Prefix[] {
  const bytes = addressBytes(address);
  return Array.from({ length: bytes.length * 8 + 1 }, (_, length) => formatPrefix(bytes, length));
}

/**
 * The file of --deny-cidrs-file: a prefix a line, `#` begins a comment. What cannot be read is a problem, and the rest
 * counts; a file that is not there is a problem too, and says what it said `before`, if it was read at all: editors put a
 * new one in its place, and nobody is let in meanwhile.
 */
export async function readDenyFile(path: string, before?: DenyFile['prefixes']): Promise<DenyFile> {
  try {
    return parseDenyFile(path, await readFile(path, 'utf8'));
  } catch (error) {
    const then = before ? `what ${path} said before stays denied` : `nothing of ${path} is denied`;
    return { prefixes: before ?? new Map(), problems: [problem(path, `${then}: ${(error as Error).message}`)] };
  }
}

export interface DenyFile {
  /** With the path of the file. */
  readonly prefixes: ReadonlyMap<Prefix, string>;
  readonly problems: readonly Problem[];
}

function parseDenyFile(path: string, text: string): DenyFile {
  const prefixes = new Map<Prefix, string>();
  const problems: Problem[] = [];
  for (const [i, line] of text.split('\n').entries()) {
    const word = line.replace(/#.*/, '').trim();
    if (word === '') continue;
    const prefix = parsePrefix(word);
    if (prefix) prefixes.set(prefix, path);
    else problems.push(problem(path, `expected a prefix such as 203.0.113.0/24, found ${JSON.stringify(word)}`, i + 1));
  }
  return { prefixes, problems };
}

function problem(place: string, message: string, line?: number): Problem {
  return { severity: 'error', code: 'deny-list', message, path: [], place, line };
}
