/** Which of a directory's objects are in force: broken, vanished, doubled and moved ones. Pure, no disk. */
import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { formatPath, refKey } from '../../agent/model/object.ts';
import { Folder, type FolderChange } from '../../agent/source/manifests/folder.ts';
import { suite } from '../kit/suite.ts';

const test = suite('source folder');

const policy = (name: string, label = 'web'): string =>
  `apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: ${name}}\nspec: {endpointSelector: {matchLabels: {app: ${label}}}}\n`;
const both = (...documents: string[]): string => documents.join('---\n');

/** A change in words: "+CiliumNetworkPolicy default/a", "-...", "f.yaml:3 path message". */
function show({ changes, problems }: FolderChange): string[] {
  const objects = changes.map((change) =>
    change.type === 'upsert' ? `+${refKey(change.object.ref)}` : `-${refKey(change.ref)}`,
  );
  const said = [...problems].flatMap(([place, list]) =>
    list.length === 0 ? [`${place} clean`] : list.map((p) => `${place}:${p.line} ${formatPath(p.path)} ${p.code}`),
  );
  return [...objects, ...said];
}

function set(folder: Folder, name: string, text: string): string[] {
  folder.setFile(name, name, text);
  return show(folder.take());
}

function remove(folder: Folder, name: string): string[] {
  folder.removeFile(name);
  return show(folder.take());
}

test('objects come, change and go with their file', () => {
  const folder = new Folder();
  assert.equal(set(folder, 'f', both(policy('a'), policy('b'))), [
    '+CiliumNetworkPolicy default/a',
    '+CiliumNetworkPolicy default/b',
  ]);
  assert.equal(
    set(folder, 'f', both(policy('a'), policy('b', 'db'))),
    ['+CiliumNetworkPolicy default/b'],
    'only what changed',
  );
  assert.equal(
    set(folder, 'f', policy('b', 'db')),
    ['-CiliumNetworkPolicy default/a', '+CiliumNetworkPolicy default/b'],
    'its line did',
  );
  assert.equal(remove(folder, 'f'), ['-CiliumNetworkPolicy default/b']);
  assert.equal(set(folder, 'f', '# nothing'), []);
});

test('the same text again is no change', () => {
  const folder = new Folder();
  set(folder, 'f', policy('a'));
  assert.equal(set(folder, 'f', policy('a')), []);
});

test('a syntax error keeps everything of the file in force', () => {
  const folder = new Folder();
  set(folder, 'f', both(policy('a'), policy('b')));
  assert.equal(set(folder, 'f', `${policy('a')}---\nkind: [\n`), ['f:7  yaml-syntax']);
  assert.equal(
    set(folder, 'f', `${policy('a')}---\nkind: [\n\n`),
    ['f:8  yaml-syntax'],
    'still, and the problem is as it is now',
  );
  assert.equal(set(folder, 'f', both(policy('a'), policy('b'))), ['f clean']);
});

test('an object with an error keeps its own previous version, others go on', () => {
  const folder = new Folder();
  const namespace = (label: string): string =>
    `apiVersion: v1\nkind: Namespace\nmetadata: {name: n, labels: {x: ${label}}}\n`;
  set(folder, 'f', both(namespace('a'), policy('a'), policy('b')));
  const changed = set(folder, 'f', both(namespace('1'), policy('a', 'new')));
  assert.equal(changed, [
    '-CiliumNetworkPolicy default/b',
    '+CiliumNetworkPolicy default/a',
    'f:3 metadata.labels.x wrong-type',
  ]);
  assert.equal(set(folder, 'f', policy('a', 'new')), ['-Namespace n', '+CiliumNetworkPolicy default/a', 'f clean']);
});

test('where a name cannot be read, nothing that vanished from the file is deleted', () => {
  const folder = new Folder();
  set(folder, 'f', both(policy('a'), policy('b')));
  assert.equal(set(folder, 'f', both(policy('a'), policy('7'))), ['f:8 metadata.name wrong-type']);
  const kindGone = both(policy('a'), policy('b').replace('CiliumNetworkPolicy', 'CiliumNetworkPolicyy'));
  assert.equal(set(folder, 'f', kindGone), ['f:7 kind unknown-kind']);
});

test('one name twice: the first in order of file and line is in force, whatever came first in time', () => {
  const folder = new Folder();
  set(folder, 'b', policy('x', 'from-b'));
  assert.equal(set(folder, 'c', policy('x', 'from-c')), ['c:3 metadata.name duplicate-object']);
  assert.equal(set(folder, 'a', policy('x', 'from-a')), [
    '+CiliumNetworkPolicy default/x',
    'b:3 metadata.name duplicate-object',
    'c:3 metadata.name duplicate-object',
  ]);
  assert.equal(remove(folder, 'a'), [
    '+CiliumNetworkPolicy default/x',
    'b clean',
    'c:3 metadata.name duplicate-object',
  ]);
  assert.equal(remove(folder, 'b'), ['+CiliumNetworkPolicy default/x', 'c clean']);
});

test('the message about a doubled name names both places', () => {
  const folder = new Folder();
  folder.setFile('a.yaml', '/m/a.yaml', policy('x'));
  folder.setFile('b.yaml', '/m/b.yaml', both(policy('y'), policy('x')));
  const [problem] = folder.take().problems.get('/m/b.yaml') ?? [];
  assert.is(problem?.message, 'CiliumNetworkPolicy default/x is also at /m/a.yaml:3, which is the one in force');
  assert.is(problem?.line, 8);
});

test('a file under another name: the object is delivered with its new place, never deleted', () => {
  const folder = new Folder();
  set(folder, 'a', policy('x'));
  folder.removeFile('a');
  assert.equal(set(folder, 'b', policy('x')), ['+CiliumNetworkPolicy default/x']);
});

test('an unreadable file keeps what it had', () => {
  const folder = new Folder();
  set(folder, 'f', policy('a'));
  folder.setUnreadable('f', 'f', 'EIO');
  assert.equal(show(folder.take()), ['f:undefined  unreadable']);
  assert.equal(remove(folder, 'f'), ['-CiliumNetworkPolicy default/a', 'f clean']);
});

test('a file that is broken at start uses its last good version', () => {
  const folder = new Folder();
  folder.setFile('f', 'f', 'kind: [', policy('a'));
  assert.equal(show(folder.take()), ['+CiliumNetworkPolicy default/a', 'f:1  yaml-syntax']);
  assert.equal(set(folder, 'f', policy('a')), ['f clean']);
});

const texts = [
  '',
  'kind: [',
  policy('a'),
  policy('a', 'two'),
  policy('b'),
  both(policy('a'), policy('b')),
  policy('7'),
];
const operations = fc.array(fc.tuple(fc.constantFrom('1', '2', '3'), fc.nat(texts.length)), { maxLength: 30 });

test('changes add up to what a fresh reading of good files sees', () =>
  fc.assert(
    fc.property(operations, (list) => {
      const folder = new Folder();
      const delivered = new Map<string, string>();
      const files = new Map<string, string>();
      for (const [name, which] of list) {
        const text = texts[which];
        if (text === undefined) folder.removeFile(name);
        else folder.setFile(name, name, text);
        if (text === undefined) files.delete(name);
        else files.set(name, text);
        for (const change of folder.take().changes) {
          if (change.type === 'delete') assert.ok(delivered.delete(refKey(change.ref)), 'deletes only what was there');
          else delivered.set(refKey(change.object.ref), JSON.stringify(change.object));
        }
      }
      for (const [name, text] of [...files]) {
        if (folder.isGood(name)) continue;
        folder.removeFile(name); // broken ones depend on what was before
        files.delete(name);
        assert.ok(text === 'kind: [' || text === policy('7'));
      }
      for (const change of folder.take().changes) {
        if (change.type === 'delete') delivered.delete(refKey(change.ref));
        else delivered.set(refKey(change.object.ref), JSON.stringify(change.object));
      }
      const fresh = new Folder();
      for (const [name, text] of files) fresh.setFile(name, name, text);
      const expected = fresh
        .take()
        .changes.map((c) => (c.type === 'upsert' ? [refKey(c.object.ref), JSON.stringify(c.object)] : []));
      assert.equal([...delivered].sort(), expected.sort());
    }),
    { numRuns: 200 },
  ));

test.run();
