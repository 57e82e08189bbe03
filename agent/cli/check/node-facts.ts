/** What is found out about the machine the command runs on, to be judged by judge-node.ts. */
import type { Problem } from '../../model/object.ts';
import type { Known } from './finding.ts';

export interface NodeFacts {
  readonly isRoot: boolean;
  /** "6.18.0". */
  readonly kernel: string;
  /** Why the programs could not be loaded by this kernel; '' when they can. */
  readonly missing: Known<string>;
  /** tcx links are there (Linux 6.6). */
  readonly tcx: Known<boolean>;
  readonly mounts: Known<readonly Mount[]>;
  /** What other software set up that gets in the way (agent/network/obstacles.ts). */
  readonly obstacles: Known<readonly Problem[]>;
  /** File names in the folder of CNI configurations. */
  readonly cniConfigurations: Known<readonly string[]>;
  /** Where rules of a kube-proxy were found: "nftables", "iptables", "IPVS". */
  readonly kubeProxy: Known<readonly string[]>;
  readonly paths: Known<Readonly<Record<NodePath, boolean>>>;
}

export interface Mount {
  readonly folder: string;
  readonly type: string;
}

/** Whether these are there. */
export type NodePath = 'kubelet' | 'runtime' | 'cniBin';

/** /proc/mounts: device, folder, type, ... with blanks as \040. */
export function readMounts(text: string): Mount[] {
  return text
    .split('\n')
    .map((line) => line.split(' '))
    .filter((words) => words.length >= 3)
    .map(([, folder = '', type = '']) => ({ folder: folder.replaceAll('\\040', ' '), type }));
}

/** Devices of default routes: /proc/net/route (destination and mask 0), /proc/net/ipv6_route (::/0). */
export function readDefaultDevices(route: string, route6: string): string[] {
  const v4 = route
    .split('\n')
    .slice(1)
    .map((line) => line.split('\t'))
    .filter(([, destination, , , , , , mask]) => destination === '00000000' && mask === '00000000')
    .map(([device = '']) => device);
  const v6 = route6
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([destination, length]) => destination === '0'.repeat(32) && length === '00')
    .map((words) => words.at(-1) ?? '');
  return [...new Set([...v4, ...v6])].filter((device) => device !== '' && device !== 'lo');
}

/** Who has kube-proxy's chains: in `nft -j list chains`, which shows iptables-nft's too; names of `ipvs` are virtual servers. */
export function readKubeProxy(chains: unknown, ipvs: string): string[] {
  const { nftables } = chains as { readonly nftables: readonly { readonly chain?: Record<string, unknown> }[] };
  const found = new Set<string>();
  for (const { chain } of nftables) {
    if (chain?.name === 'KUBE-SERVICES') found.add('iptables');
    if (chain?.table === 'kube-proxy') found.add('nftables');
  }
  if (/^(TCP|UDP|SCTP)\s/m.test(ipvs)) found.add('IPVS');
  return [...found];
}
