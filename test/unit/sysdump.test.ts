/** weir sysdump: an archive that tar reads, with what can be had and why the rest cannot, and nothing secret in it. */
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { type ArchiveFile, writeArchive } from '../../agent/cli/sysdump/archive.ts';
import { gather } from '../../agent/cli/sysdump/gather.ts';
import { SYSDUMP } from '../../agent/cli/sysdump/sysdump.ts';
import { LEFT_OUT, withoutSecrets } from '../../agent/cli/sysdump/without-secrets.ts';
import { command } from '../kit/command.ts';
import { suite } from '../kit/suite.ts';
import { FakeCluster } from './cli-cluster.ts';

const archive = suite('sysdump: the archive');
let folder: string;
archive.before.each(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wt-sysdump-'));
});
archive.after.each(() => rm(folder, { recursive: true, force: true }));

async function* each(files: readonly ArchiveFile[]): AsyncGenerator<ArchiveFile> {
  yield* files;
}

archive('tar unpacks what was put in, long names and odd sizes too', async () => {
  const path = join(folder, 'a.tar.gz');
  const files = [
    { name: 'top/empty', content: '' },
    { name: 'top/block', content: 'x'.repeat(512) },
    { name: 'top/more', content: Buffer.from([0, 1, 255, ...Buffer.from('ü')]) },
    { name: `top/${'n'.repeat(90)}/${'f'.repeat(99)}`, content: 'long' },
  ];
  const now = new Date('2026-01-02T03:04:05Z');
  await writeArchive(path, each(files), now);
  assert.is((await stat(path)).mode & 0o777, 0o600);
  await command(['tar', '-xzf', path, '-C', folder]);
  for (const { name, content } of files) {
    assert.equal(await readFile(join(folder, name)), Buffer.from(content));
    assert.equal((await stat(join(folder, name))).mtime, now);
  }
});

archive('a file that is there already is left alone', async () => {
  const path = join(folder, 'a.tar.gz');
  await writeArchive(path, each([]), new Date());
  const error = await writeArchive(path, each([]), new Date()).then(
    () => '',
    (cause: { code: string }) => cause.code,
  );
  assert.is(error, 'EEXIST');
});
archive.run();

const secrets = suite('sysdump: secrets');
secrets('values of variables, data of Secrets and copies of objects are left out, and nothing else', () => {
  const pod = {
    kind: 'Pod',
    metadata: {
      name: 'weir-x',
      managedFields: [{ manager: 'kubectl' }],
      annotations: { note: 'kept', 'kubectl.kubernetes.io/last-applied-configuration': '{"env":[{"value":"s3cret"}]}' },
    },
    spec: {
      containers: [
        {
          env: [
            { name: 'TOKEN', value: 's3cret' },
            { name: 'NODE', valueFrom: { fieldRef: { fieldPath: 'spec.nodeName' } } },
          ],
        },
      ],
    },
  };
  const secret = { kind: 'Secret', metadata: { name: 's' }, data: { key: 's3cret' }, stringData: { key: 's3cret' } };
  const shown = JSON.stringify(withoutSecrets([pod, secret]));
  assert.not.match(shown, /s3cret|managedFields|last-applied/);
  assert.equal(withoutSecrets([pod, secret]), [
    {
      kind: 'Pod',
      metadata: { name: 'weir-x', annotations: { note: 'kept' } },
      spec: {
        containers: [
          {
            env: [
              { name: 'TOKEN', value: LEFT_OUT },
              { name: 'NODE', valueFrom: { fieldRef: { fieldPath: 'spec.nodeName' } } },
            ],
          },
        ],
      },
    },
    { kind: 'Secret', metadata: { name: 's' }, data: LEFT_OUT, stringData: LEFT_OUT },
  ]);
});

secrets('wherever a variable stands, its value is not in what is written', () => {
  const hidden = { env: [{ name: 'A', value: 's3cret' }] };
  const around = fc.letrec<{ tree: unknown }>((tie) => ({
    tree: fc.oneof(
      { depthSize: 'small' },
      fc.constant(hidden),
      fc.array(tie('tree'), { maxLength: 3 }),
      fc.dictionary(fc.constantFrom('spec', 'items', 'env', 'x'), tie('tree'), { maxKeys: 3 }),
    ),
  })).tree;
  fc.assert(fc.property(around, (tree) => !JSON.stringify(withoutSecrets(tree) ?? null).includes('s3cret')));
});
secrets.run();

const gathering = suite('sysdump: what is gathered');
gathering('what an agent does not answer is told in its place; others are asked all the same', async () => {
  const answering = {
    get: async (path: string) => ({ path }),
    text: async (path: string) => path,
  };
  const silent = {
    get: () => Promise.reject(new Error('the agent of node2 does not answer')),
    text: () => Promise.reject(new Error('the agent of node2 does not answer')),
  };
  const agents = {
    areMany: true,
    cluster: undefined,
    all: [
      { node: 'node1', client: answering, why: '' },
      { node: 'node2', client: silent, why: '' },
      { node: 'node3', client: undefined, why: 'no agent runs there' },
    ],
  } as unknown as Parameters<typeof gather>[0];
  const problems: string[] = [];
  const files = new Map<string, string>();
  for await (const { name, content } of gather(agents, (what) => problems.push(what))) files.set(name, String(content));
  assert.equal(JSON.parse(files.get('nodes/node1/status.json') ?? ''), { path: '/v1/status' });
  assert.is(files.get('nodes/node1/metrics.txt'), '/metrics');
  assert.is(files.get('nodes/node2/flows.json.missing.txt'), 'the agent of node2 does not answer\n');
  assert.is(files.get('nodes/node3/map-ct.json.missing.txt'), 'no agent runs there\n');
  assert.is(problems.length, (2 * files.size) / 3);
});
gathering.run();

const verb = suite('weir sysdump');
verb('an archive that cannot be written is told in a sentence; one that is there is left alone', async () => {
  const fake = new FakeCluster();
  try {
    await fake.start(['node1']);
    const missing = await fake.weir([SYSDUMP], `sysdump --file ${join(fake.folder, 'not-there', 'a.tar.gz')}`);
    assert.equal([missing.code, missing.out], [1, '']);
    assert.match(missing.err, /^weir: ENOENT: no such file or directory, open '.*a.tar.gz'\n$/);
    const present = await fake.weir([SYSDUMP], `sysdump --file ${fake.kubeconfig}`);
    assert.match(present.err, /^weir: EEXIST: file already exists, open '.*kubeconfig'\n$/);
    assert.match(await readFile(fake.kubeconfig, 'utf8'), /current-context/);
  } finally {
    await fake.stop();
  }
});
verb.run();
