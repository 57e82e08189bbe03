/** Looks at the machine the command runs on. Each fact by itself: one that cannot be found out hides no other. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { requireFeatures } from '../../datapath/program/requirements.ts';
import { WeirError } from '../../errors.ts';
import { listChains } from '../../network/nft.ts';
import { findObstacles } from '../../network/obstacles.ts';
import { known } from './finding.ts';
import { type NodeFacts, readDefaultDevices, readKubeProxy, readMounts } from './node-facts.ts';

const CNI_CONFIGURATIONS = '/etc/cni/net.d';
const RUNTIMES = ['/run/containerd/containerd.sock', '/run/crio/crio.sock', '/run/k3s/containerd/containerd.sock'];

export async function gatherNode(): Promise<NodeFacts> {
  return {
    isRoot: process.getuid?.() === 0,
    kernel: release(),
    missing: await known(async () => missingOf((await import('../../../native/index.ts')).features())),
    tcx: await known(async () => (await import('../../../native/index.ts')).features().tcx),
    mounts: await known(() => readMounts(readFileSync('/proc/mounts', 'utf8'))),
    obstacles: await known(() =>
      findObstacles(readDefaultDevices(optional('/proc/net/route'), optional('/proc/net/ipv6_route'))),
    ),
    cniConfigurations: await known(() => (existsSync(CNI_CONFIGURATIONS) ? readdirSync(CNI_CONFIGURATIONS) : [])),
    kubeProxy: await known(async () => readKubeProxy(await listChains(undefined), optional('/proc/net/ip_vs'))),
    paths: await known(() => ({
      kubelet: existsSync('/var/lib/kubelet'),
      runtime: RUNTIMES.some(existsSync),
      cniBin: existsSync('/opt/cni/bin'),
    })),
  };
}

function missingOf(found: Parameters<typeof requireFeatures>[0]): string {
  try {
    requireFeatures(found);
    return '';
  } catch (error) {
    if (error instanceof WeirError) return error.message;
    throw error;
  }
}

/** A file of the kernel that is only there when its part is. */
function optional(path: string): string {
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}
