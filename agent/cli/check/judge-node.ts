/** Whether a machine can be a node with Weir, and what will get in its way. Pure. */
import { type Category, type Finding, failed, fine, judge, odd, some } from './finding.ts';
import type { NodeFacts } from './node-facts.ts';

/** What the obstacles mean, by the codes of agent/network/obstacles.ts. */
const OBSTACLES: readonly { readonly code: string; readonly description: string; readonly hint: string }[] = [
  {
    code: 'forward-drop',
    description: 'nobody drops forwarded packets (FORWARD chain)',
    hint: 'accept packets of weir+ devices in that chain, or take off what set it up',
  },
  {
    code: 'firewalld',
    description: 'firewalld lets packets of pods through',
    hint: 'put the pods’ devices and addresses into the zone "trusted"',
  },
  {
    code: 'other-plugin',
    description: 'no other network plugin left devices',
    hint: 'remove the other plugin and its devices, or reboot the node after removing it',
  },
  {
    code: 'reverse-path-filter',
    description: 'rp_filter is not strict on uplinks',
    hint: 'sysctl -w net.ipv4.conf.all.rp_filter=2, and for the device named',
  },
];

export function judgeNode(facts: NodeFacts): Category[] {
  return [
    { categoryName: 'kernel', checks: kernelChecks(facts) },
    { categoryName: 'node-network', checks: networkChecks(facts) },
    { categoryName: 'node-runtime', checks: runtimeChecks(facts) },
  ];
}

function kernelChecks({ isRoot, kernel, missing, tcx, mounts }: NodeFacts): Finding[] {
  if (!isRoot) {
    const error = 'only root may try what the kernel can do';
    return [{ description: `kernel ${kernel} has what the programs need`, ...odd(error, 'run it as root on a node') }];
  }
  return [
    judge(`kernel ${kernel} has what the programs need`, missing, (what) =>
      what === '' ? fine : failed(what, 'docs/install.md lists kernels that do; distributions have newer ones'),
    ),
    judge('kernel has tcx links', tcx, (has) =>
      has
        ? fine
        : odd('it has not (Linux 6.6 has): clsact filters are used', 'works; other programs may come before ours'),
    ),
    judge('BPF file system is mounted at /sys/fs/bpf', mounts, (all) =>
      all.some(({ folder, type }) => folder === '/sys/fs/bpf' && type === 'bpf')
        ? fine
        : odd('it is not', 'the chart mounts it (bpf.autoMount.enabled); by hand: mount -t bpf bpf /sys/fs/bpf'),
    ),
    judge('control groups v2 are mounted', mounts, (all) =>
      all.some(({ type }) => type === 'cgroup2')
        ? fine
        : failed(
            'they are not: host processes would not reach Services',
            'boot with systemd.unified_cgroup_hierarchy=1',
          ),
    ),
  ];
}

function networkChecks({ obstacles, kubeProxy }: NodeFacts): Finding[] {
  const checks: Finding[] = OBSTACLES.map(({ code, description, hint }) =>
    judge(description, obstacles, (problems) => {
      const found = problems.filter((problem) => problem.code === code);
      if (found.length === 0) return fine;
      const text = found.map(({ message }) => message).join('; ');
      return found.some(({ severity }) => severity === 'error') ? failed(text, hint) : odd(text, hint);
    }),
  );
  checks.push(
    judge('no kube-proxy translates Services', kubeProxy, (found) =>
      found.length === 0
        ? fine
        : odd(
            `rules of a kube-proxy are there (${found.join(', ')})`,
            'it may stay for NodePort and LoadBalancer; if it is gone already, its rules go with: kube-proxy --cleanup',
          ),
    ),
  );
  return checks;
}

function runtimeChecks({ cniConfigurations, paths }: NodeFacts): Finding[] {
  return [
    judge('kubelet is installed', paths, ({ kubelet }) =>
      kubelet ? fine : odd('there is no /var/lib/kubelet', 'is this machine a node?'),
    ),
    judge('a container runtime is running', paths, ({ runtime }) =>
      runtime ? fine : odd('there is no socket of containerd or CRI-O', 'start the runtime'),
    ),
    judge('CNI plugins are in /opt/cni/bin', paths, ({ cniBin }) =>
      cniBin
        ? fine
        : odd(
            'there is no such folder: it will be made',
            'for hostPort and loopback: package containernetworking-plugins',
          ),
    ),
    judge('no other CNI configuration', cniConfigurations, (files) => {
      const others = files.filter((name) => /\.(conf|conflist|json)$/.test(name) && !/^\d+-weir\./.test(name));
      if (others.length === 0) return fine;
      const error = `/etc/cni/net.d has ${some([...others].sort())}: pods it wires are not Weir's`;
      return odd(error, 'cni.exclusive (the default) renames them to *.weir_bak; remove what made them');
    }),
  ];
}
