/**
 * YAML or JSON text -> the objects written in it, each knowing its lines. Size, depth and aliases are bounded, so that a
 * file costs no more than it should whatever is in it.
 */
import { hash } from 'node:crypto';
import { Composer, type Document, isAlias, isMap, isNode, isScalar, isSeq, LineCounter, Parser, visit } from 'yaml';
import { formatPath, type Origin, type Path, type Problem } from '../../model/object.ts';

/** Largest file that is read, in UTF-16 code units: ten times the largest object an API server stores (1.5 MiB). */
export const LARGEST_FILE = 16 * 1024 * 1024;
/** Deepest nesting, counted as the parser does (about one a level). Policies need 12. */
const DEEPEST = 100;
/** How often the aliases of a document may unfold, nested ones multiplied. */
const MOST_ALIASES = 1000;

/** One object as it was written. */
export interface WrittenObject {
  readonly raw: unknown;
  readonly origin: Origin;
  /** Same text on the same line of the same file: nothing about the object has changed. */
  readonly fingerprint: string;
}

export interface ParsedFile {
  readonly objects: readonly WrittenObject[];
  /** Syntax errors: then there are no objects, for nobody can tell where a broken document ends. */
  readonly problems: readonly Problem[];
}

/** Stops at the limit while parsing, before a deep document can exhaust stack or memory. */
class BoundedParser extends Parser {
  override *next(source: string): ReturnType<Parser['next']> {
    yield* super.next(source);
    if (this.stack.length > DEEPEST) throw new TooDeep(this.offset);
  }
}

class TooDeep extends Error {
  readonly offset: number;
  constructor(offset: number) {
    super();
    this.offset = offset;
  }
}

/** @param place the file's name for messages */
export function parseManifest(text: string, place: string): ParsedFile {
  const lines = new LineCounter();
  const problem = (code: string, message: string, offset: number | undefined): Problem => ({
    severity: 'error',
    code,
    message,
    path: [],
    place,
    line: offset === undefined ? undefined : lines.linePos(offset).line,
  });
  const broken = (...problems: Problem[]): ParsedFile => ({ objects: [], problems });
  if (text.length > LARGEST_FILE) {
    return broken(problem('too-large', `the file has ${text.length} characters, more than ${LARGEST_FILE}`, undefined));
  }

  let documents: Document.Parsed[];
  try {
    documents = compose(text, lines);
  } catch (error) {
    if (!(error instanceof TooDeep)) throw error;
    return broken(problem('too-deep', `nested deeper than ${DEEPEST} levels`, error.offset));
  }
  const errors = documents.flatMap((document) => [...document.errors, ...document.warnings]);
  if (errors.length > 0) {
    return broken(...errors.map((error) => problem(codeOf(error.code), sentence(error.message), error.pos[0])));
  }

  const objects: WrittenObject[] = [];
  for (const document of documents) {
    if (document.contents === null || (isScalar(document.contents) && document.contents.value === null)) continue;
    const alias = brokenAlias(document);
    if (alias) return broken(problem('yaml-syntax', alias.message, alias.offset));
    const value = plainValue(document);
    if (!value) {
      return broken(problem('too-many-aliases', `aliases unfold more than ${MOST_ALIASES} times`, document.range[0]));
    }
    objects.push(...writtenObjects(value.raw, place, new Source(text, document, lines)));
  }
  return { objects, problems: [] };
}

/** One object, or the items of a List. */
function writtenObjects(raw: unknown, place: string, source: Source): WrittenObject[] {
  const written = (value: unknown, at: Path): WrittenObject => ({
    raw: value,
    origin: new WrittenOrigin(place, source, at),
    fingerprint: `${place}:${source.firstLine}:${formatPath(at)}:${source.digest}`,
  });
  if (!isKubernetesList(raw)) return [written(raw, [])];
  const { apiVersion, kind } = raw;
  // In a NetworkPolicyList as the API server writes it, the items do not repeat what they are.
  const told = kind === 'List' ? {} : { apiVersion, kind: kind.slice(0, -'List'.length) };
  const whole = (item: unknown) => (isPlainObject(item) && item.kind === undefined ? { ...told, ...item } : item);
  return raw.items.map((item, i) => written(whole(item), ['items', i]));
}

function compose(text: string, lines: LineCounter): Document.Parsed[] {
  const parser = new BoundedParser(lines.addNewLine);
  // "<<" is no part of YAML 1.2, but kubectl understands it and people use it.
  const composer = new Composer({ keepSourceTokens: false, merge: true });
  return [...composer.compose(parser.parse(text))] as Document.Parsed[];
}

function codeOf(code: string): string {
  return code === 'DUPLICATE_KEY' ? 'duplicate-key' : 'yaml-syntax';
}

function sentence(message: string): string {
  return message === 'Map keys must be unique' ? 'this key stands twice in the same mapping' : message;
}

/** The first alias that stands for nothing, or for something it is itself part of (which would never end). */
function brokenAlias(document: Document.Parsed): { readonly message: string; readonly offset: number } | undefined {
  const anchors = new Set<string>();
  let broken: { message: string; offset: number } | undefined;
  visit(document, {
    Node(_, node, parents) {
      if (!isAlias(node)) {
        if (node.anchor !== undefined) anchors.add(node.anchor);
        return undefined;
      }
      const around = parents.some((parent) => isNode(parent) && !isAlias(parent) && parent.anchor === node.source);
      if (!around && anchors.has(node.source)) return undefined;
      const message = around
        ? `*${node.source} is inside what it stands for`
        : `no &${node.source} before *${node.source}`;
      broken = { message, offset: node.range?.[0] ?? 0 };
      return visit.BREAK;
    },
  });
  return broken;
}

/** The values, shared where aliases share them; undefined if unfolding them would cost too much. */
function plainValue(document: Document.Parsed): { readonly raw: unknown } | undefined {
  try {
    return { raw: document.toJS({ maxAliasCount: MOST_ALIASES }) };
  } catch (error) {
    if (error instanceof ReferenceError) return undefined; // "Excessive alias count": the only one left
    throw error;
  }
}

interface KubernetesList {
  readonly apiVersion?: unknown;
  readonly kind: string;
  readonly items: readonly unknown[];
}

function isPlainObject(raw: unknown): raw is { readonly [field: string]: unknown } {
  return typeof raw === 'object' && raw !== null && !Array.isArray(raw);
}

function isKubernetesList(raw: unknown): raw is KubernetesList {
  if (!isPlainObject(raw)) return false;
  const { kind, items } = raw;
  return typeof kind === 'string' && kind.endsWith('List') && Array.isArray(items);
}

interface Tree {
  readonly document: Document.Parsed;
  readonly lines: LineCounter;
  /** Line of the file that the tree's first line is, less one. */
  readonly linesBefore: number;
}

/**
 * The text of one document. Its syntax tree is ten times as large and is needed only to find lines for messages, so the
 * garbage collector may take it; then it is made anew.
 */
class Source {
  readonly text: string;
  /** Counted from 1. */
  readonly firstLine: number;
  readonly digest: string;
  #tree: WeakRef<Tree>;

  constructor(file: string, document: Document.Parsed, lines: LineCounter) {
    const [start, , end] = document.range;
    this.text = file.slice(start, end);
    this.firstLine = lines.linePos(start).line;
    this.digest = hash('sha256', this.text, 'base64');
    this.#tree = new WeakRef({ document, lines, linesBefore: 0 });
  }

  /** The line in the file of the node at the path, or of its nearest parent that is there. */
  line(path: Path): number {
    const tree = this.#tree.deref() ?? this.#parseAgain();
    return tree.linesBefore + tree.lines.linePos(offsetOf(tree.document, path)).line;
  }

  #parseAgain(): Tree {
    const lines = new LineCounter();
    const document = compose(this.text, lines)[0] as Document.Parsed;
    const tree = { document, lines, linesBefore: this.firstLine - 1 };
    this.#tree = new WeakRef(tree);
    return tree;
  }
}

class WrittenOrigin implements Origin {
  readonly place: string;
  readonly #source: Source;
  readonly #prefix: Path;

  constructor(place: string, source: Source, prefix: Path) {
    this.place = place;
    this.#source = source;
    this.#prefix = prefix;
  }

  line(path: Path): number {
    return this.#source.line([...this.#prefix, ...path]);
  }
}

/** Where in the text the key or item at the path starts. */
function offsetOf(document: Document.Parsed, path: Path): number {
  let node: unknown = document.contents;
  let offset = isNode(node) ? (node.range?.[0] ?? 0) : 0;
  for (const step of path) {
    if (isAlias(node)) node = node.resolve(document);
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => (isScalar(key) ? String(key.value) : String(key)) === String(step));
      if (!pair) return offset;
      if (isNode(pair.key)) offset = pair.key.range?.[0] ?? offset;
      node = pair.value;
    } else if (isSeq(node) && typeof step === 'number') {
      const item = node.items[step];
      if (!isNode(item)) return offset;
      offset = item.range?.[0] ?? offset;
      node = item;
    } else {
      return offset;
    }
  }
  return offset;
}
