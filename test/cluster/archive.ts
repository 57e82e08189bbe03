/**
 * Writes a docker-archive (a tar of manifest.json, a configuration and one layer: the format of `docker save`) from a folder
 * and says what runs in it. No image registry is asked for anything.
 */
import { createHash } from 'node:crypto';
import { createReadStream, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { command } from '../kit/command.ts';

export interface ImageContent {
  /** "weir.test/busybox:1" */
  readonly name: string;
  /** The root of its file system. */
  readonly root: string;
  readonly entrypoint: readonly string[];
  /** Its arguments where a pod names none. */
  readonly arguments?: readonly string[];
}

/** `staging`: an empty folder for its parts. */
export async function writeImage(image: ImageContent, staging: string, archive: string): Promise<void> {
  mkdirSync(staging, { recursive: true });
  const layer = join(staging, 'layer.tar');
  // The same content makes the same bytes.
  const stable = ['--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner'];
  await command(['tar', ...stable, '-cf', layer, '-C', image.root, '.']);
  const configuration = {
    architecture: process.arch === 'x64' ? 'amd64' : process.arch,
    os: 'linux',
    config: {
      Entrypoint: image.entrypoint,
      Cmd: image.arguments,
      Env: ['PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin'],
    },
    rootfs: { type: 'layers', diff_ids: [`sha256:${await sha256(layer)}`] },
  };
  writeFileSync(join(staging, 'config.json'), JSON.stringify(configuration));
  writeFileSync(
    join(staging, 'manifest.json'),
    JSON.stringify([{ Config: 'config.json', RepoTags: [image.name], Layers: ['layer.tar'] }]),
  );
  await command(['tar', ...stable, '-cf', archive, '-C', staging, 'manifest.json', 'config.json', 'layer.tar']);
}

async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk);
  return hash.digest('hex');
}
