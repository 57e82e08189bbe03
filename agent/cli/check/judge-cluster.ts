/** Whether a cluster can get Weir (--pre), and whether it is well with it. Pure. */
import { NOT_READY_TAINT } from '../../cluster/objects.ts';
import type { AgentFacts, ClusterFacts, NodeInCluster, PodInCluster } from './cluster-facts.ts';
import { type Category, type Finding, failed, fine, judge, odd, some } from './finding.ts';
import { agentChecks } from './judge-agents.ts';

/** Least minor of Kubernetes 1 the chart needs. */
const LEAST_MINOR = 30;
const LEAST_KERNEL = [5, 10] as const;

/** DaemonSets of other network plugins, by how their names begin. */
const OTHER_PLUGINS =
  /^(cilium|calico-node|kube-flannel|weave-net|antrea-agent|kube-router|canal|aws-node|kindnet|azure-cni)/;

export const DEFINITIONS = [
  'ciliumcidrgroups.cilium.io',
  'ciliumclusterwidenetworkpolicies.cilium.io',
  'ciliumnetworkpolicies.cilium.io',
  'weirdenylists.weir.dev',
  'weirendpointslices.weir.dev',
  'weiridentities.weir.dev',
  'weiridentityranges.weir.dev',
  'weirnodes.weir.dev',
] as const;

/** Before there is Weir. */
export function judgeBefore(facts: ClusterFacts): Category[] {
  return [
    { categoryName: 'kubernetes-api', checks: apiChecks(facts) },
    { categoryName: 'kubernetes-permissions', checks: permissionChecks(facts, 'to install the chart') },
    {
      categoryName: 'kubernetes-nodes',
      checks: [
        podCidrCheck(facts),
        kernelCheck(facts),
        otherPluginCheck(facts),
        removalCheck(facts),
        kubeProxyCheck(facts),
        olderPods(facts),
      ],
    },
  ];
}

/** With Weir. `agents` is undefined where they cannot be asked at all, for the reason given. */
export function judgeCluster(facts: ClusterFacts, agents: AgentFacts | string, version: string): Category[] {
  const asked =
    typeof agents === 'string'
      ? [
          {
            description: 'agents can be asked',
            ...failed(agents, 'see the permissions above; agents run as DaemonSet weir'),
          },
        ]
      : agentChecks(agents, version);
  return [
    { categoryName: 'kubernetes-api', checks: apiChecks(facts) },
    { categoryName: 'kubernetes-permissions', checks: permissionChecks(facts, 'to ask agents') },
    {
      categoryName: 'weir-install',
      checks: [definitionsCheck(facts), daemonSetCheck(facts), removalCheck(facts), otherPluginCheck(facts)],
    },
    { categoryName: 'weir-nodes', checks: [podCidrCheck(facts), nodesReady(facts), taintCheck(facts)] },
    { categoryName: 'weir-agents', checks: asked },
    ...(typeof agents === 'string' ? [] : [{ categoryName: 'weir-pods', checks: [unwiredPods(facts, agents)] }]),
  ];
}

function apiChecks({ version, server }: ClusterFacts): Finding[] {
  if ('unknown' in version) {
    const hint = 'is the kubeconfig for this cluster, and its API server up? --context chooses another';
    return [{ description: `API server ${server} answers`, ...failed(version.unknown, hint) }];
  }
  const minor = Number(/^v1\.(\d+)/.exec(version.value)?.[1] ?? Number.NaN);
  const description = `Kubernetes is at least 1.${LEAST_MINOR}`;
  const isNew = minor >= LEAST_MINOR;
  return [
    { description: `API server ${server} answers`, ...fine },
    { description, ...(isNew ? fine : failed(`it is ${version.value}`, 'upgrade the control plane')) },
  ];
}

function permissionChecks({ permissions }: ClusterFacts, purpose: string): Finding[] {
  return [
    judge(`you may do what is needed ${purpose}`, permissions, (all) => {
      const missing = all.filter(({ allowed }) => !allowed).map(({ what }) => what);
      if (missing.length === 0) return fine;
      return failed(
        `you may not: ${missing.join(', ')}`,
        'ask for a role that allows it; docs/cli.md has one for this command',
      );
    }),
  ];
}

function podCidrCheck({ nodes }: ClusterFacts): Finding {
  return judge('every node has pod CIDRs', nodes, (all) => {
    const without = all.filter(({ spec }) => (spec?.podCIDRs ?? []).length === 0).map(nameOf);
    const hint =
      'kube-controller-manager gives them with --allocate-node-cidrs and --cluster-cidr (kubeadm: --pod-network-cidr)';
    return without.length === 0 ? fine : failed(`without: ${some(without)}`, hint);
  });
}

function kernelCheck({ nodes }: ClusterFacts): Finding {
  return judge(`every node has Linux ${LEAST_KERNEL.join('.')} or later`, nodes, (all) => {
    const old = all.flatMap((node) => {
      const kernel = node.status?.nodeInfo?.kernelVersion ?? '';
      const [major = 0, minor = 0] = kernel.split('.').map((part) => Number.parseInt(part, 10));
      const isOld = major < LEAST_KERNEL[0] || (major === LEAST_KERNEL[0] && minor < LEAST_KERNEL[1]);
      return isOld ? [`${nameOf(node)} (${kernel || 'unknown'})`] : [];
    });
    return old.length === 0
      ? fine
      : failed(some(old), 'boot those nodes with a newer kernel; weir check --pre on a node says what it lacks');
  });
}

function otherPluginCheck({ daemonSets }: ClusterFacts): Finding {
  return judge('no other network plugin is installed', daemonSets, (all) => {
    const others = all.filter(({ metadata }) => OTHER_PLUGINS.test(metadata.name ?? '')).map(pathOf);
    const hint = 'remove it: two plugins wire the same pods, and both believe in their own rules';
    return others.length === 0 ? fine : failed(`DaemonSets: ${some(others)}`, hint);
  });
}

/** What `helm uninstall` leaves when it gave up on a node: it would take the next installation off nodes that restart. */
function removalCheck({ daemonSets }: ClusterFacts): Finding {
  return judge('no removal of Weir goes on', daemonSets, (all) => {
    const [cleanup] = all.filter(({ metadata }) => metadata.name === 'weir-cleanup');
    if (!cleanup) return fine;
    return failed(
      `DaemonSet ${pathOf(cleanup)} takes Weir off every node it reaches`,
      `an uninstallation that did not end left it: kubectl -n ${cleanup.metadata.namespace} delete daemonset weir-cleanup`,
    );
  });
}

function kubeProxyCheck({ daemonSets }: ClusterFacts): Finding {
  return judge('no kube-proxy is installed', daemonSets, (all) => {
    const found = all.filter(({ metadata }) => metadata.name === 'kube-proxy').map(pathOf);
    const hint =
      'it may stay, for NodePort and LoadBalancer, which Weir does not serve yet; pods’ ClusterIPs are Weir’s';
    return found.length === 0 ? fine : odd(`DaemonSet ${some(found)} is there`, hint);
  });
}

/** Running now, so wired by somebody else. */
function olderPods({ pods, daemonSets, namespace }: ClusterFacts): Finding {
  return judge('no pod is older than Weir', pods, (all) => {
    const isInstalled = 'value' in daemonSets && daemonSets.value.some((one) => pathOf(one) === `${namespace}/weir`);
    if (isInstalled) return odd('Weir is installed already', 'weir check, without --pre, knows which pods it wires');
    const older = all.filter(isWired).map(pathOf);
    const hint =
      'they keep the network they have and no policy holds for them until they are made anew: kubectl delete pod, or rollout restart';
    return older.length === 0 ? fine : odd(`${older.length} pods run already: ${some(older.sort())}`, hint);
  });
}

function definitionsCheck({ definitions }: ClusterFacts): Finding {
  return judge('all CRDs are there', definitions, (all) => {
    const established = new Set(
      all
        .filter(({ status }) =>
          status?.conditions?.some(({ type, status: is }) => type === 'Established' && is === 'True'),
        )
        .map(nameOf),
    );
    const missing = DEFINITIONS.filter((name) => !established.has(name));
    return missing.length === 0
      ? fine
      : failed(`missing: ${missing.join(', ')}`, 'helm upgrade applies them; by hand: kubectl apply -f crds/');
  });
}

function daemonSetCheck({ daemonSets, namespace }: ClusterFacts): Finding {
  return judge('DaemonSet weir is ready on every node', daemonSets, (all) => {
    const weir = all.find(({ metadata }) => metadata.name === 'weir' && metadata.namespace === namespace);
    if (!weir)
      return failed(
        `there is none in ${namespace}`,
        'helm install weir charts/weir; another namespace: --agent-namespace',
      );
    const { desiredNumberScheduled: wanted = 0, numberReady: ready = 0 } = weir.status ?? {};
    if (wanted > 0 && ready >= wanted) return fine;
    return failed(`${ready} of ${wanted} are`, `kubectl -n ${namespace} describe pod -l k8s-app=weir`);
  });
}

function nodesReady({ nodes }: ClusterFacts): Finding {
  return judge('every node is Ready', nodes, (all) => {
    const not = all.filter((node) => !hasCondition(node, 'Ready', 'True')).map(nameOf);
    return not.length === 0
      ? fine
      : failed(`not Ready: ${some(not)}`, 'kubectl describe node says why; the network is one reason of several');
  });
}

function taintCheck({ nodes }: ClusterFacts): Finding {
  return judge('no node waits for its agent', nodes, (all) => {
    const waiting = all.filter(
      (node) =>
        node.spec?.taints?.some(({ key }) => key === NOT_READY_TAINT) ||
        hasCondition(node, 'NetworkUnavailable', 'True'),
    );
    if (waiting.length === 0) return fine;
    const error = `tainted ${NOT_READY_TAINT} or NetworkUnavailable: ${some(waiting.map(nameOf))}`;
    return failed(error, 'the agent of a node takes both away once it can serve: weir status says what it waits for');
  });
}

/** Pods on nodes whose agents answered that no agent wired: they are older than Weir, or another plugin's. */
function unwiredPods({ pods }: ClusterFacts, { endpoints }: AgentFacts): Finding {
  return judge('every pod is wired by Weir', pods, (all) => {
    const asked = new Set(endpoints.answers.map(({ node }) => node));
    const wired = new Set(
      endpoints.answers.flatMap(({ value }) =>
        value.endpoints.map(({ namespace, podName }) => `${namespace}/${podName}`),
      ),
    );
    const not = all
      .filter((pod) => isWired(pod) && asked.has(pod.spec?.nodeName ?? '') && !wired.has(pathOf(pod)))
      .map(pathOf);
    if (not.length === 0) return fine;
    const hint = 'no policy holds for them: make them anew (kubectl delete pod, or rollout restart)';
    return odd(`${not.length} are not, for they are older or another plugin’s: ${some(not.sort())}`, hint);
  });
}

/** Has a network of its own, right now. */
function isWired({ spec, status, metadata }: PodInCluster): boolean {
  return spec?.hostNetwork !== true && status?.phase === 'Running' && metadata.deletionTimestamp === undefined;
}

function hasCondition({ status }: NodeInCluster, type: string, is: string): boolean {
  return status?.conditions?.some((condition) => condition.type === type && condition.status === is) === true;
}

function nameOf({ metadata }: { readonly metadata: { readonly name?: string } }): string {
  return metadata.name ?? '';
}

function pathOf({ metadata }: { readonly metadata: { readonly name?: string; readonly namespace?: string } }): string {
  return `${metadata.namespace ?? ''}/${metadata.name ?? ''}`;
}
