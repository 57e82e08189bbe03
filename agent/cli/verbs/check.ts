/** weir check: whether a cluster, or this machine, is ready for Weir or well with it. Exit code 1 if anything is ×. */
import { existsSync } from 'node:fs';
import packageJson from '../../../package.json' with { type: 'json' };
import type { EndpointsAnswer } from '../../api/endpoints.ts';
import type { StatusAnswer } from '../../api/status.ts';
import { type Agents, findKubeconfig, targetOf, withAgents } from '../agents.ts';
import type { AgentFacts } from '../check/cluster-facts.ts';
import type { Category } from '../check/finding.ts';
import { judgeOwnAgent } from '../check/judge-agents.ts';
import { judgeBefore, judgeCluster } from '../check/judge-cluster.ts';
import { judgeNode } from '../check/judge-node.ts';
import { reportJson, reportText, worst } from '../check/report.ts';
import { type Call, CliError, type Command, EXIT, UsageError } from '../command.ts';
import { AGENT_NAMESPACE, OUTPUT_FLAG, OUTPUTS } from '../flags.ts';
import { json } from '../table.ts';

export const CHECK: Command = {
  words: ['check'],
  operands: [],
  sentence: 'Check that Weir is well, or with --pre that it can be installed; exit code 1 if not',
  flags: [
    { name: 'pre', sentence: 'Before the installation: the cluster, and this machine if it is a node' },
    { name: 'node-only', sentence: 'Only this machine, without a cluster' },
    { name: 'cluster-only', sentence: 'Only the cluster, not this machine' },
    OUTPUT_FLAG,
  ],
  examples: ['weir check --pre', 'weir check', 'weir check --pre --node-only -o json'],
  async run(call) {
    const { flags, io } = call;
    if (flags.on('node-only') && flags.on('cluster-only'))
      throw new UsageError('--node-only and --cluster-only cannot be used together');
    const categories = [...(flags.on('node-only') ? [] : await ofCluster(call)), ...(await ofThisMachine(call))];
    if (categories.length === 0)
      throw new CliError('nothing to check: there is no kubeconfig, no agent, and this machine is no node');
    const asJson = flags.choice('output', OUTPUTS) === 'json';
    await io.out(asJson ? json(reportJson(categories)) : reportText(categories, io.colors));
    return worst(categories) === 'error' ? EXIT.failed : EXIT.ok;
  },
};

async function ofCluster(call: Call): Promise<Category[]> {
  const { flags, io } = call;
  const kubeconfig = findKubeconfig(flags.one('kubeconfig'), io.environment);
  const target = targetOf(call);
  const named = target.kind === 'agent' && (flags.one('server') ?? io.environment.WEIR_SERVER) !== undefined;
  if (kubeconfig === undefined || named) return flags.on('pre') || !isAgentNear(call) ? [] : ofOwnAgent(call);
  const { openCluster } = await import('../cluster/cluster.ts');
  const { gatherCluster } = await import('../check/gather-cluster.ts');
  const cluster = await openCluster(call, kubeconfig);
  try {
    const isPre = flags.on('pre');
    const namespace = flags.one('agent-namespace') ?? AGENT_NAMESPACE;
    const facts = await gatherCluster(cluster.client, namespace, isPre ? 'install' : 'ask');
    if (isPre) return judgeBefore(facts);
    const agents = 'unknown' in facts.version ? 'the API server does not answer' : await askAgents(call, kubeconfig);
    return judgeCluster(facts, agents, packageJson.version);
  } finally {
    cluster.client.close();
  }
}

/** All of the cluster, also on a node. A string: why not. */
async function askAgents(call: Call, kubeconfig: readonly string[]): Promise<AgentFacts | string> {
  try {
    return await withAgents(call, ask, { kind: 'cluster', kubeconfig, nodes: [] });
  } catch (error) {
    return (error as Error).message;
  }
}

async function ask({ ask: askEach }: Agents): Promise<AgentFacts> {
  return {
    status: await askEach((client) => client.get<StatusAnswer>('/v1/status')),
    endpoints: await askEach((client) => client.get<EndpointsAnswer>('/v1/endpoints')),
  };
}

async function ofOwnAgent(call: Call): Promise<Category[]> {
  return judgeOwnAgent((await withAgents(call, ask)).status, packageJson.version);
}

/** There is one to ask: named, or with its socket on this machine. */
function isAgentNear(call: Call): boolean {
  const target = targetOf(call);
  return (
    target.kind === 'agent' &&
    (!target.server.startsWith('unix:') || existsSync(target.server.replace(/^unix:\/*/, '/')))
  );
}

/** Only a machine that is a node, or is said to be one, is judged as one: a laptop's firewall is nobody's business. */
async function ofThisMachine({ flags }: Call): Promise<Category[]> {
  const isNode = process.platform === 'linux' && existsSync('/var/lib/kubelet');
  if (flags.on('cluster-only') || !(flags.on('node-only') || isNode)) return [];
  const { gatherNode } = await import('../check/gather-node.ts');
  return judgeNode(await gatherNode());
}
