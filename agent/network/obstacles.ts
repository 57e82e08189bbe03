/**
 * What other software has set up on the node that gets in the way of pods' packets. Looked for when somebody asks (weir
 * check), not all the time: the rules of a node with kube-proxy are long.
 */
import { batch, sysctlGet } from '../../native/index.ts';
import type { Problem } from '../model/object.ts';
import { NFT_TABLE } from './names.ts';
import { listChains, listTable } from './nft.ts';
import { error, warning } from './problem.ts';

/** A chain through which forwarded packets go. */
export interface ForwardChain {
  readonly family: string;
  readonly table: string;
  readonly name: string;
  readonly policy: 'accept' | 'drop';
}

/** Devices of other network plugins, which own the same things: pods, routes, the tunnel's port. */
const OTHER_PLUGINS: readonly (readonly [name: RegExp, plugin: string])[] = [
  [/^(cilium_(host|net|vxlan)|lxc[0-9a-f]{8,})$/, 'Cilium'],
  [/^(cali[0-9a-f]{8,}|vxlan\.calico|tunl0)$/, 'Calico'],
  [/^(flannel(\.\d+|-v6\.\d+)?)$/, 'Flannel'],
  [/^(cni0|cbr0)$/, 'the bridge plugin or Flannel'],
  [/^(weave|vethwe-.*)$/, 'Weave'],
  [/^(antrea-gw0|antrea-tun0)$/, 'Antrea'],
  [/^kube-bridge$/, 'kube-router'],
];

/** `netns`: the node's, a path; absent: this process's own. `uplinks`: as {@link NetworkStatus} names them. */
export async function findObstacles(uplinks: readonly string[], netns?: string): Promise<Problem[]> {
  const chains = readForwardChains(await listChains(netns));
  const problems: Problem[] = [];
  for (const chain of chains) {
    const text = chain.policy === 'drop' ? await listTable(chain.family, chain.table, netns) : '';
    problems.push(...forwardProblems(chain, text));
  }
  const [links] = await batch(netns, [{ op: 'linkList' }]);
  problems.push(...pluginProblems(links.map(({ name }) => name)));
  const strictest = Number(await sysctlGet({ key: 'net/ipv4/conf/all/rp_filter', netns }));
  for (const name of uplinks.filter((uplink) => links.some((link) => link.name === uplink))) {
    const own = Number(await sysctlGet({ key: `net/ipv4/conf/${name}/rp_filter`, netns }));
    if (Math.max(own, strictest) === STRICT) problems.push(reversePathProblem(name));
  }
  return problems;
}

/** The base chains of the forward hook in `nft -j list chains`, without ours. */
export function readForwardChains(listed: unknown): ForwardChain[] {
  const { nftables } = listed as { readonly nftables: readonly { readonly chain?: Record<string, unknown> }[] };
  return nftables.flatMap(({ chain }): ForwardChain[] => {
    if (chain?.hook !== 'forward' || chain.table === NFT_TABLE) return [];
    const { family, table, name, policy } = chain as Record<string, string>;
    return [
      { family: family ?? '', table: table ?? '', name: name ?? '', policy: policy === 'drop' ? 'drop' : 'accept' },
    ];
  });
}

/**
 * An accept of ours would not help: a packet must be accepted by every table. `text`: the table as nft prints it; a rule
 * in it that accepts our devices is taken for the answer to this problem.
 */
export function forwardProblems({ family, table, name, policy }: ForwardChain, text: string): Problem[] {
  if (table === 'firewalld') {
    const message =
      'firewalld refuses forwarded packets of devices in no zone of its own: firewall-cmd --permanent --zone=trusted --add-interface=weir+, and the pod CIDRs as --add-source';
    return [warning('firewalld', message)];
  }
  if (policy !== 'drop' || /iifname "weir\*".*accept/.test(text)) return [];
  const by = `chain ${name} of nftables table ${family} ${table} drops forwarded packets that it does not accept, as Docker and ufw set it up`;
  const iptables = family === 'ip6' ? 'ip6tables' : 'iptables';
  const remedy =
    table === 'filter'
      ? `${iptables} -I ${name} -i weir+ -j ACCEPT, and the same with -o`
      : `accept iifname "weir*" and oifname "weir*" there`;
  return [error('forward-drop', `${by}: pods do not reach other machines by the stack. ${remedy}`)];
}

export function pluginProblems(devices: readonly string[]): Problem[] {
  return devices.flatMap((device) => {
    const plugin = OTHER_PLUGINS.find(([name]) => name.test(device))?.[1];
    return plugin === undefined
      ? []
      : [warning('other-plugin', `device ${device} is there: left by ${plugin}? Its pods and routes are not Weir's`)];
  });
}

const STRICT = 1;

function reversePathProblem(uplink: string): Problem {
  const message = `net.ipv4.conf.${uplink}.rp_filter is 1 (strict): a packet is dropped when its way back leads by another device, as it may with several uplinks; 2 (loose) is enough`;
  return warning('reverse-path-filter', message);
}
