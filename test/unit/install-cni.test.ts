/** agent/install: what a container runtime finds in its folders, and that it is never half there. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  watch,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import {
  allowCniConfiguration,
  installCniPlugin,
  removeCniConfiguration,
  removeCniPlugin,
  writeCniConfiguration,
} from '../../agent/install/cni.ts';
import { type CniFiles, conflist, toPutAside, toPutBack } from '../../agent/install/cni-files.ts';
import { suite } from '../kit/suite.ts';

const pure = suite('install: which files');

pure('the configuration is for old runtimes and new ones', () => {
  const list = JSON.parse(conflist(['loopback', 'bridge']));
  assert.is(list.cniVersion, '1.0.0');
  assert.ok(list.cniVersions.includes('1.1.0'));
  assert.equal(list.plugins, [{ type: 'weir-cni' }]);
});
pure('hostPort is the reference plugin where it is installed', () => {
  assert.equal(JSON.parse(conflist(['portmap'])).plugins, [
    { type: 'weir-cni' },
    { type: 'portmap', capabilities: { portMappings: true } },
  ]);
});

const ASIDE: readonly [names: readonly string[], aside: readonly string[]][] = [
  [[], []],
  [['05-weir.conflist'], []],
  [
    ['05-weir.conflist', '10-flannel.conflist', '87-podman.conf', 'net.json'],
    ['10-flannel.conflist', '87-podman.conf', 'net.json'],
  ],
  [['README', 'calico-kubeconfig', '.hidden.conflist.new', '10-old.conflist.weir_bak', 'x.cilium_bak'], []],
];
for (const [names, aside] of ASIDE)
  pure(`put aside of ${names.join(' ') || 'nothing'}`, () => {
    assert.equal(
      toPutAside(names, '05-weir.conflist'),
      aside.map((name) => ({ from: name, to: `${name}.weir_bak` })),
    );
  });
pure('back goes what was put aside, unless its name is taken', () => {
  assert.equal(toPutBack(['a.conf.weir_bak', 'b.conf.weir_bak', 'b.conf', '05-weir.conflist']), [
    { from: 'a.conf.weir_bak', to: 'a.conf' },
  ]);
});
pure.run();

const disk = suite('install: on disk');
let folder = '';
let files: CniFiles;
let binary = '';

disk.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), 'wt-install-'));
  binary = join(folder, 'built');
  writeFileSync(binary, 'the plugin', { mode: 0o644 });
  files = {
    binDirectory: join(folder, 'opt/cni/bin'),
    confDirectory: join(folder, 'etc/cni/net.d'),
    confName: '05-weir.conflist',
    exclusive: true,
    socket: '/run/weir/cni.sock',
    queueDirectory: '/var/lib/weir/cni-queue',
    withdrawn: join(folder, 'run/weir/cni-withdrawn'),
  };
  mkdirSync(join(folder, 'run/weir'), { recursive: true });
});
disk.after.each(() => rmSync(folder, { recursive: true, force: true }));

const inConf = (): string[] => readdirSync(files.confDirectory).sort();

disk('the plugin can be run and knows its agent', async () => {
  assert.equal(await installCniPlugin(files, binary), [`installed ${files.binDirectory}/weir-cni`]);
  assert.equal(readdirSync(files.binDirectory).sort(), ['weir-cni', 'weir-cni.socket']);
  assert.is(statSync(join(files.binDirectory, 'weir-cni')).mode & 0o777, 0o755);
  assert.is(
    readFileSync(join(files.binDirectory, 'weir-cni.socket'), 'utf8'),
    '/run/weir/cni.sock\n/var/lib/weir/cni-queue\n',
  );
});

disk('what is as it should be is not written again', async () => {
  await installCniPlugin(files, binary);
  const { ino } = statSync(join(files.binDirectory, 'weir-cni'));
  assert.equal(await installCniPlugin(files, binary), []);
  assert.is(statSync(join(files.binDirectory, 'weir-cni')).ino, ino);
});

disk('a plugin that was changed or cannot be run is replaced, not written into', async () => {
  await installCniPlugin(files, binary);
  const path = join(files.binDirectory, 'weir-cni');
  const { ino } = statSync(path);
  chmodSync(path, 0o644);
  assert.is((await installCniPlugin(files, binary)).length, 1);
  assert.is(statSync(path).mode & 0o777, 0o755);
  // A plugin that runs in this moment keeps the file it was started from.
  assert.is.not(statSync(path).ino, ino);
});

disk('a configuration is there whole or not at all', async () => {
  await installCniPlugin(files, binary);
  mkdirSync(files.confDirectory, { recursive: true });
  const seen = new Set<string>();
  const watcher = watch(files.confDirectory, (_, name) => {
    if (name?.endsWith('.conflist') && existsSync(join(files.confDirectory, name)))
      seen.add(readFileSync(join(files.confDirectory, name), 'utf8'));
  });
  for (let i = 0; i < 20; i++) {
    await writeCniConfiguration(files);
    await removeCniConfiguration(files);
    await allowCniConfiguration(files);
  }
  await writeCniConfiguration(files);
  await new Promise((resolve) => setImmediate(resolve));
  watcher.close();
  assert.equal([...seen], [conflist([])]);
});

disk('others are put aside, and come back', async () => {
  await installCniPlugin(files, binary);
  mkdirSync(files.confDirectory, { recursive: true });
  writeFileSync(join(files.confDirectory, '10-flannel.conflist'), 'flannel');
  writeFileSync(join(files.confDirectory, 'kubeconfig'), 'not a configuration');
  assert.is((await writeCniConfiguration(files)).length, 2);
  assert.equal(inConf(), ['05-weir.conflist', '10-flannel.conflist.weir_bak', 'kubeconfig']);
  assert.equal(await writeCniConfiguration(files), []);
  assert.is((await removeCniConfiguration(files)).length, 2);
  assert.equal(inConf(), ['10-flannel.conflist', 'kubeconfig']);
  assert.is(readFileSync(join(files.confDirectory, '10-flannel.conflist'), 'utf8'), 'flannel');
});

disk('what was removed on purpose is not written again by the agent that runs, but by the next', async () => {
  await installCniPlugin(files, binary);
  mkdirSync(files.confDirectory, { recursive: true });
  writeFileSync(join(files.confDirectory, '10-flannel.conflist'), 'flannel');
  await writeCniConfiguration(files);
  await removeCniConfiguration(files);
  assert.equal(await writeCniConfiguration(files), []);
  assert.equal(inConf(), ['10-flannel.conflist']);
  await allowCniConfiguration(files);
  await writeCniConfiguration(files);
  assert.equal(inConf(), ['05-weir.conflist', '10-flannel.conflist.weir_bak']);
});

disk('removed while the agent writes: it stays removed, whoever is first', async () => {
  await installCniPlugin(files, binary);
  mkdirSync(files.confDirectory, { recursive: true });
  writeFileSync(join(files.confDirectory, '10-flannel.conflist'), 'flannel');
  for (let i = 0; i < 20; i++) {
    await allowCniConfiguration(files);
    await Promise.all([writeCniConfiguration(files), removeCniConfiguration(files)]);
    assert.equal(inConf(), ['10-flannel.conflist']);
  }
});

disk('removal where no agent ever ran', async () => {
  rmSync(join(folder, 'run'), { recursive: true });
  assert.equal(await removeCniConfiguration(files), []);
  assert.equal(existsSync(join(folder, 'run')), false);
});

disk('others stay where they are if it need not be exclusive', async () => {
  files = { ...files, exclusive: false };
  await installCniPlugin(files, binary);
  mkdirSync(files.confDirectory, { recursive: true });
  writeFileSync(join(files.confDirectory, '10-flannel.conflist'), 'flannel');
  await writeCniConfiguration(files);
  assert.equal(inConf(), ['05-weir.conflist', '10-flannel.conflist']);
});

disk('what somebody removed or changed is put right, and portmap is noticed when it comes', async () => {
  await installCniPlugin(files, binary);
  assert.match((await writeCniConfiguration(files)).join(), /hostPort has no effect/);
  writeFileSync(join(files.confDirectory, files.confName), '{}');
  assert.is((await writeCniConfiguration(files)).length, 1);
  writeFileSync(join(files.binDirectory, 'portmap'), '');
  assert.equal(await writeCniConfiguration(files), [`wrote ${files.confDirectory}/05-weir.conflist`]);
});

disk('removal of what is not there is nothing; of the plugin only our two files', async () => {
  assert.equal(await removeCniConfiguration(files), []);
  assert.equal(await removeCniPlugin(files), []);
  await installCniPlugin(files, binary);
  writeFileSync(join(files.binDirectory, 'portmap'), '');
  assert.is((await removeCniPlugin(files)).length, 2);
  assert.equal(readdirSync(files.binDirectory), ['portmap']);
});

disk('a folder that cannot be written says which', async () => {
  writeFileSync(join(folder, 'etc'), '');
  await installCniPlugin(files, binary);
  try {
    await writeCniConfiguration(files);
    assert.unreachable();
  } catch (error) {
    assert.is((error as { code: string }).code, 'INSTALL_FAILED');
    assert.match((error as Error).message, /etc\/cni\/net\.d: ENOTDIR/);
  }
});

disk.run();
