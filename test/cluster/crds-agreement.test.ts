/**
 * The API server and the parser agree on what a policy may say: for our own documents, for random ones, and for random ones
 * with something broken. Where a schema cannot see it (`beyondSchemas`) the parser alone refuses; it never is the other way round.
 * A fresh seed per run, printed; `WEIR_SEED=n` repeats one, `WEIR_TEST_LONG=1` asks 10,000 documents.
 */
import { globSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { parseAllDocuments } from 'yaml';
import type { Document, Problem } from '../../agent/model/object.ts';
import { parse } from '../../agent/policy/parse/parse.ts';
import { privileged } from '../kit/privileged.ts';
import { random as seeded } from '../kit/random.ts';
import { suite } from '../kit/suite.ts';
import { cidrGroup, ciliumPolicy } from '../oracle/generate/cilium.ts';
import { type ApiServer, startApiServer } from './api-server.ts';
import { breakDocument } from './crds-break.ts';
import { refusalOf } from './crds-refusal.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const LONG = process.env.WEIR_TEST_LONG === '1';
const DOCUMENTS = LONG ? 5000 : 400;
const SEED = Number(process.env.WEIR_SEED ?? Math.floor(Math.random() * 2 ** 31));
/** Requests at once. */
const LANES = 4;

const test = privileged(suite('crds and parser agree'), 'api-server');

let api: ApiServer;
test.before(async () => {
  api = await startApiServer('agree');
  await api.apply(`${ROOT}/crds`);
});
test.after(() => api?.stop());

interface Raw {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
}

/** The parser's errors. */
function errors(raw: Raw): Problem[] {
  const { apiVersion, kind, metadata } = raw;
  const ref = { apiVersion, kind, namespace: metadata.namespace ?? '', name: metadata.name, uid: '' };
  const document: Document = { ref, annotations: {}, raw, origin: { place: '', line: () => undefined } };
  const { problems } = parse(document, { clusterName: 'default', cidrKinds: ['outside'] });
  return problems.filter(({ severity }) => severity === 'error');
}

/** Valid Cilium that is not built yet, or what no schema of a CRD can say. */
function beyondSchemas({ code, path, message }: Problem): boolean {
  switch (code) {
    case 'unsupported-field':
    case 'label-not-in-identity':
      return true;
    case 'bad-label': // Keys of a map have no schema.
      return path.at(-2) === 'matchLabels' && !message.endsWith('nothing can have it');
    case 'bad-cidr': // Arithmetic, here and in the next.
      return message.includes('does not lie inside');
    case 'out-of-range':
      return path.at(-1) === 'endPort' && message.includes('(port) or more');
    default:
      return false;
  }
}

/** Only upper case in the CRD, as in Cilium's; the parser also reads what was meant. */
const upperCase = (raw: unknown): Raw =>
  JSON.parse(JSON.stringify(raw), (key, value) =>
    key === 'protocol' && typeof value === 'string' ? value.toUpperCase() : value,
  );

/** In the namespace that the API server has. */
function placed(raw: unknown): Raw {
  const { metadata, ...rest } = upperCase(raw);
  const namespace = rest.kind === 'CiliumNetworkPolicy' ? { namespace: 'default' } : {};
  return { ...rest, metadata: { ...metadata, ...namespace } };
}

async function disagreement(raw: Raw): Promise<string | undefined> {
  const refusal = await refusalOf(api, raw);
  const seen = errors(raw).filter((problem) => !beyondSchemas(problem));
  if ((refusal === undefined) === (seen.length === 0)) return undefined;
  const parser = seen.map(({ message }) => message).join('\n') || 'nothing wrong';
  return `${JSON.stringify(raw)}\nAPI server: ${refusal ?? 'takes it'}\nparser: ${parser}`;
}

async function forAll(documents: readonly Raw[]): Promise<void> {
  const queue = [...documents];
  const found: string[] = [];
  const lane = async (): Promise<void> => {
    for (let raw = queue.pop(); raw !== undefined; raw = queue.pop()) {
      const one = await disagreement(raw);
      if (one !== undefined) found.push(one);
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  assert.is(found.length, 0, `${found.length} of ${documents.length}:\n${found.slice(0, 5).join('\n\n')}`);
}

/** What people find in this repository: manifests, stories, and what the pages show. */
function ownDocuments(): Raw[] {
  const files = globSync('{demo,test/fixtures,test/scenario}/**/*.yaml', { cwd: ROOT });
  const pages = globSync(['README.md', 'docs/**/*.md', 'demo/*.md'], { cwd: ROOT });
  const read = (file: string): string => readFileSync(`${ROOT}/${file}`, 'utf8');
  const blocks = pages.flatMap((page) => [...read(page).matchAll(/^```ya?ml\n(.*?)^```/gms)].map(([, text]) => text));
  const objects = [...files.map(read), ...blocks].flatMap((text) =>
    parseAllDocuments(text ?? '').flatMap((document) => objectsIn(document.toJS())),
  );
  return objects.filter(({ apiVersion }) => apiVersion.startsWith('cilium.io/'));
}

/** The object itself, or those a story applies. */
function objectsIn(value: unknown): Raw[] {
  if (typeof value !== 'object' || value === null) return [];
  if ('apiVersion' in value && 'metadata' in value) return [value as Raw];
  return Object.values(value).flatMap(objectsIn);
}

test('on the documents of this repository', async () => {
  const documents = ownDocuments();
  assert.ok(documents.length >= 6, `only ${documents.length} were found`);
  await forAll(documents.map(placed));
});

test(`on ${DOCUMENTS} random documents, seed ${SEED}`, async () => {
  const documents = Array.from({ length: DOCUMENTS }, (_, i) => placed(randomDocument(SEED + i)));
  const clean = documents.filter((raw) => errors(raw).length === 0);
  assert.ok(clean.length > DOCUMENTS * 0.8, 'most are valid');
  await forAll(documents);
});

test(`on ${DOCUMENTS} random documents with something broken, seed ${SEED}`, async () => {
  const broken = Array.from({ length: DOCUMENTS }, (_, i) =>
    placed(breakDocument(placed(randomDocument(SEED + i)), seeded(SEED - i))),
  );
  // Inside what is not supported yet the API server knows more than the parser.
  const judged = broken.filter((raw) => !errors(raw).some(({ code }) => code === 'unsupported-field'));
  const refused = judged.filter((raw) => errors(raw).length > 0);
  assert.ok(refused.length > DOCUMENTS * 0.4, `only ${refused.length} are refused`);
  await forAll(judged);
});

function randomDocument(seed: number): unknown {
  const random = seeded(seed);
  return random.chance(0.1) ? cidrGroup(random, `group${seed}`) : ciliumPolicy(random, `policy${seed}`);
}

test.run();
