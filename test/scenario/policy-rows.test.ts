/** Stories of policies/*.yaml: documents applied and deleted step by step, and the rows each step must leave, as text. */
import { readdirSync, readFileSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { parse, parseDocument } from 'yaml';
import { RESERVED } from '../../agent/model/identity.ts';
import { formatLabel } from '../../agent/model/labels.ts';
import { type Document, refKey } from '../../agent/model/object.ts';
import { podLabels } from '../../agent/model/pod-labels.ts';
import { createEngine } from '../../agent/policy/engine.ts';
import { suite } from '../kit/suite.ts';
import type { RawDocument } from '../oracle/scenario.ts';
import { dump } from './policy-dump.ts';
import { documentOf } from './policy-world.ts';

interface Story {
  readonly pods: Readonly<Record<string, Readonly<Record<string, string>>>>;
  /** The pod whose policy is shown. */
  readonly subject: string;
  readonly steps: readonly {
    readonly apply?: RawDocument;
    /** A file with the document, from test/scenario. */
    readonly file?: string;
    /** refKey of a document applied before. */
    readonly delete?: string;
    readonly rows: string;
  }[];
}

const FOLDER = new URL('./policies/', import.meta.url);
const test = suite('policy: stories');

for (const name of readdirSync(FOLDER).sort()) {
  const text = readFileSync(new URL(name, FOLDER), 'utf8');
  const title = /^# (.*)$/m.exec(text)?.[1] ?? name;
  test(`${name}: ${title}`, () => tell(parseDocument(text).toJS() as Story, name));
}

function tell(story: Story, name: string): void {
  const engine = createEngine();
  const names = new Map(RESERVED.map(({ number, labels }) => [number, reservedName([...labels][0] ?? ['', ''])]));
  let subject = '';
  for (const [i, [pod, labels]] of Object.entries(story.pods).entries()) {
    const [namespace = ''] = pod.split('/');
    const own = { name: namespace, labels: { 'kubernetes.io/metadata.name': namespace } };
    const all = podLabels({ namespace, labels, serviceAccount: 'default' }, own, { clusterName: 'default' });
    engine.upsertIdentity(300 + i, all);
    names.set(300 + i, pod);
    if (pod === story.subject) subject = engine.addSubject({ identity: 300 + i, labels: all, namedPorts: [] });
  }
  const applied = new Map<string, Document>();
  for (const [i, step] of story.steps.entries()) {
    const raw =
      step.apply ?? (step.file && (parse(readFileSync(new URL(step.file, import.meta.url), 'utf8')) as RawDocument));
    if (raw) {
      const document = inDefault(raw);
      applied.set(refKey(document.ref), document);
      engine.upsertDocument(document);
    }
    if (step.delete) engine.removeDocument((applied.get(step.delete) as Document).ref);
    engine.take();
    assert.is(dump(engine, subject, names), step.rows.trimEnd(), `${name}, step ${i + 1}`);
  }
}

/** As kubectl would: a namespaced document without a namespace goes to "default". */
function inDefault(raw: RawDocument): Document {
  const clusterwide = /Clusterwide|Cluster|Admin/.test(raw.kind);
  return documentOf(clusterwide ? raw : { ...raw, metadata: { namespace: 'default', ...raw.metadata } });
}

function reservedName([key, value]: readonly [string, string]): string {
  return formatLabel(key, value).replace('reserved:', '');
}

test.run();
