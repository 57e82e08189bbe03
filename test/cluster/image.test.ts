/** The image: its programs run in it, it has what they need, and no compiler. Unpacked into a folder that becomes the root. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import packageJson from '../../package.json' with { type: 'json' };
import { type CommandResult, command, tryCommand } from '../kit/command.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { buildImage, IMAGE_ARCHIVE } from './image.ts';

const test = privileged(suite('image'), 'root', 'image');

interface Archive {
  readonly names: readonly string[];
  readonly root: string;
  readonly config: { readonly Entrypoint: readonly string[] };
}
let archive: Archive;

/** Unpacks a docker-archive: its layers, the lowest first. Ours have no whiteouts that matter to what is looked at. */
async function unpack(file: string, folder: string): Promise<Archive> {
  await command(['tar', '-xf', file, '-C', folder]);
  const [manifest] = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8'));
  const root = join(folder, 'root');
  await command(['mkdir', root]);
  for (const layer of manifest.Layers) await command(['tar', '-xf', join(folder, layer), '-C', root]);
  const { config } = JSON.parse(readFileSync(join(folder, manifest.Config), 'utf8'));
  return { names: manifest.RepoTags, root, config };
}

function inside(...words: string[]): Promise<CommandResult> {
  const namespaces = ['unshare', '--fork', '--pid', '--mount', '--mount-proc', `--root=${archive.root}`];
  return tryCommand([...namespaces, ...words], {
    env: { PATH: '/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' },
  });
}

let folder: string;
test.before(async () => {
  await buildImage();
  folder = mkdtempSync(join(tmpdir(), 'wt-image-'));
  archive = await unpack(IMAGE_ARCHIVE, folder);
});
test.after(() => rmSync(folder, { recursive: true, force: true }));

test('has the name that the chart asks for', () => {
  assert.equal(archive.names, [`docker.io/weir/weir:${packageJson.version}`]);
});

test('can be read by any user, whatever the umask that its checkout was made with', async () => {
  const { stdout } = await tryCommand(['find', join(archive.root, 'usr/lib/weir'), '-type', 'f', '!', '-perm', '-o=r']);
  assert.is(stdout, '');
});

test('starts the agent', async () => {
  const [program = '', ...rest] = archive.config.Entrypoint;
  const { code, stdout, stderr } = await inside(program, ...rest, '--help');
  assert.is(code, 0, stderr);
  assert.match(stdout, /--pin-directory/);
});

test('has the command line', async () => {
  const { code, stdout, stderr } = await inside('weir', '--help');
  assert.is(code, 0, stderr);
  assert.match(stdout, /weir observe/);
});

test('has a CNI plugin that runs without any library', async () => {
  const { code, stdout } = await inside('env', 'CNI_COMMAND=VERSION', '/usr/lib/weir/cni/build/weir-cni');
  assert.is(code, 0);
  assert.match(stdout, /"supportedVersions"/);
});

test('has the programs, and every library the addon asks for', async () => {
  assert.ok(existsSync(join(archive.root, 'usr/lib/weir/bpf/build/pod.bpf.o')));
  const addon = '/usr/lib/weir/native/build/Release/weir_native.node';
  const { code, stderr } = await inside('node', '-e', `process.dlopen({ exports: {} }, ${JSON.stringify(addon)})`);
  assert.is(code, 0, stderr);
});

test('has what the agent starts', async () => {
  for (const program of ['nft', 'mount']) {
    const { code, stderr } = await inside(program, '--version');
    assert.is(code, 0, stderr);
  }
});

test('has no compiler, no package lists, no TypeScript', () => {
  const found = execFileSync('find', [
    archive.root,
    ...['(', '-name', 'gcc*', '-o', '-name', 'cc1', '-o', '-name', 'clang*', '-o', '-name', '*.ts', ')'],
    ...['-not', '-path', '*/share/gcc*', '-not', '-path', '*/lib/gcc*', '-not', '-name', 'gcc-*-base*'],
  ]);
  assert.is(String(found), '');
  assert.not(existsSync(join(archive.root, 'usr/bin/cc')));
});

test('of the same contents is not built twice', async () => {
  assert.match(await buildImage(), /up to date/);
});

test.run();
