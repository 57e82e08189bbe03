/**
 * The distribution's `ptp` plugin as the cluster's network, beside which Weir is measured and with which the harness tests
 * itself: addresses from each node's podCIDRs by host-local, and a route on every node to every other.
 */
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { installPlugins } from './disk.ts';
import { setSysctls } from './network.ts';
import type { Node } from './node.ts';

/** By node name. */
export type PodCidrs = ReadonlyMap<string, readonly string[]>;

export async function configurePtp(nodes: readonly Node[], podCidrs: PodCidrs): Promise<void> {
  await Promise.all(
    nodes.map(async (node) => {
      await setSysctls(node.netns, ['net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1']);
      for (const other of nodes)
        if (other !== node)
          for (const cidr of podCidrs.get(other.name) ?? [])
            await node.netns.ip(
              `route replace ${cidr} via ${cidr.includes(':') ? other.addresses.v6 : other.addresses.v4}`,
            );
      installPlugins(node.disk, ['ptp', 'host-local']);
      writeConflist(node.disk, podCidrs.get(node.name) ?? []);
    }),
  );
}

/** In one step, for containerd watches the folder. */
function writeConflist(disk: string, cidrs: readonly string[]): void {
  const folder = join(disk, 'etc/cni/net.d');
  mkdirSync(folder, { recursive: true });
  const conflist = {
    cniVersion: '1.0.0',
    name: 'ptp',
    plugins: [
      {
        type: 'ptp',
        mtu: 1500,
        ipam: {
          type: 'host-local',
          ranges: cidrs.map((subnet) => [{ subnet }]),
          routes: cidrs.map((cidr) => ({ dst: cidr.includes(':') ? '::/0' : '0.0.0.0/0' })),
        },
      },
      { type: 'portmap', capabilities: { portMappings: true } },
    ],
  };
  writeFileSync(join(folder, '.10-ptp.new'), JSON.stringify(conflist));
  renameSync(join(folder, '.10-ptp.new'), join(folder, '10-ptp.conflist'));
}
