/** What a network plugin can leave on a node, as text to compare: before its installation and after its removal. */
import { fileURLToPath } from 'node:url';
import type { Node } from './node.ts';

const TCX_PROGRAMS = fileURLToPath(new URL('tcx-programs.ts', import.meta.url));

/** Name of a part, and the command that prints it. Counters and what changes by itself are left out. */
const PARTS: Readonly<Record<string, string>> = {
  links: "ip -o link | sed -E 's/^[0-9]+: //; s/ qdisc .*//'",
  addresses: "ip -o address | sed -E 's/ valid_lft.*//; s/^[0-9]+: //'",
  // Anycast: what the kernel adds while IPv6 forwarding is on, which stays on.
  routes: '{ ip route show table all; ip -6 route show table all; } | grep -v "^anycast"',
  rules: 'ip rule; ip -6 rule',
  neighbours: 'ip neighbour show nud permanent; ip -6 neighbour show nud permanent',
  nftables: 'nft list ruleset',
  'programs on devices': 'bpftool net | grep -v -E "^(|flow_dissector:|netfilter:)$"',
  'tcx programs': `${process.execPath} ${TCX_PROGRAMS}`,
  'programs on control groups': 'bpftool cgroup tree "$(findmnt -n -t cgroup2 -o TARGET | head -n 1)"',
  pins: 'find /sys/fs/bpf -mindepth 1 | sort',
  'files of CNI': 'find /etc/cni /opt/cni /var/lib/cni -type f -not -path "/var/lib/cni/results/*" 2> /dev/null | sort',
  sockets: 'find /run/weir -mindepth 1 2> /dev/null | sort',
  state: 'find /var/lib/weir -mindepth 1 2> /dev/null | sort',
};

export type NodeState = Readonly<Record<string, string>>;

export async function nodeState(node: Node): Promise<NodeState> {
  const state: Record<string, string> = {};
  for (const [part, script] of Object.entries(PARTS)) {
    // grep says 1 when nothing is left to say.
    state[part] = await node.run(['sh', '-c', `{ ${script}; } || [ $? = 1 ]`]);
  }
  return state;
}
