/** A node's containerd. Every path in its configuration is the default one: the node's root is its own. */
import { existsSync, mkdirSync, statfsSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

export const PAUSE_IMAGE = 'weir.test/pause:1';
export const CONTAINERD_SOCKET = '/run/containerd/containerd.sock';

/** linux/magic.h. An overlay cannot be the upper layer of an overlay. */
const OVERLAYFS_MAGIC = 0x794c7630;

export const CONTAINERD = ['containerd', '--log-level', 'info'];

/** `runtime`: another program than the runc on PATH. */
export function configureContainerd(disk: string, runtime?: string): void {
  mkdirSync(join(disk, 'etc/containerd'), { recursive: true });
  mkdirSync(join(disk, 'etc/cni/net.d'), { recursive: true });
  writeFileSync(join(disk, 'etc/containerd/config.toml'), containerdSettings(disk, undefined, runtime));
}

export interface ContainerdPaths {
  readonly root: string;
  readonly state: string;
  readonly socket: string;
}

/** `where`: a folder of the file system that snapshots will be on. `paths`: other than the usual ones. */
export function containerdSettings(where: string, paths?: ContainerdPaths, runtime = ''): string {
  const snapshotter = onOverlay(where) ? 'native' : 'overlayfs';
  const places =
    paths === undefined
      ? ''
      : `root = "${paths.root}"
state = "${paths.state}"

[grpc]
address = "${paths.socket}"
`;
  return `version = 2
${places}
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "${PAUSE_IMAGE}"
# A process here may not lower it below its own.
restrict_oom_score_adj = true
disable_apparmor = true

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "${snapshotter}"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "${runtime}"
`;
}

function onOverlay(path: string): boolean {
  const existing = existsSync(path) ? path : dirname(path);
  return statfsSync(existing).type === OVERLAYFS_MAGIC;
}
