/** A node's containerd. Every path in its configuration is the default one: the node's root is its own. */
import { mkdirSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export const PAUSE_IMAGE = 'weir.test/pause:1';
export const CONTAINERD_SOCKET = '/run/containerd/containerd.sock';

/** linux/magic.h. An overlay cannot be the upper layer of an overlay. */
const OVERLAYFS_MAGIC = 0x794c7630;

export const CONTAINERD = ['containerd', '--log-level', 'info'];

/** `runtime`: another program than the runc on PATH. */
export function configureContainerd(disk: string, runtime?: string): void {
  const snapshotter = statfsSync(disk).type === OVERLAYFS_MAGIC ? 'native' : 'overlayfs';
  mkdirSync(join(disk, 'etc/containerd'), { recursive: true });
  mkdirSync(join(disk, 'etc/cni/net.d'), { recursive: true });
  writeFileSync(
    join(disk, 'etc/containerd/config.toml'),
    `version = 2

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
BinaryName = "${runtime ?? ''}"
`,
  );
}
