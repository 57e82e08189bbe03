/**
 * The agents a command asks: the one of this machine or of --server, or those of a cluster's nodes, all at once. What a
 * node does not answer is told, never left out in silence.
 */
import { accessSync, constants, existsSync } from 'node:fs';
import type { Agent } from 'node:http';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { type Client, createClient, readServer } from './client.ts';
import type { Cluster } from './cluster/cluster.ts';
import { chooseTarget, type Target } from './cluster/target.ts';
import { type Call, CliError, UsageError } from './command.ts';
import { DEFAULT_SERVER } from './flags.ts';

/** What one agent answered. */
export interface Answer<T> {
  /** '' where only one agent was asked, which may be on any node. */
  readonly node: string;
  readonly value: T;
}

/** A node whose agent could not be asked. */
export interface Silence {
  readonly node: string;
  readonly why: string;
}

export interface Answers<T> {
  /** By node. */
  readonly answers: readonly Answer<T>[];
  readonly silent: readonly Silence[];
}

export interface AgentOfNode {
  readonly node: string;
  /** Undefined: `why` says why. */
  readonly client: Client | undefined;
  readonly why: string;
}

export interface Agents {
  /** Answers come from several nodes and must say from which. */
  readonly areMany: boolean;
  /** Absent when the agent was named, or is on this machine. */
  readonly cluster: Cluster | undefined;
  readonly all: readonly AgentOfNode[];
  /** Looks anew: nodes and pods come and go. A pod that is there still keeps its client. */
  again(): Promise<readonly AgentOfNode[]>;
  /** Rejects if the question is wrong, or if it was for one agent and that one fails. `of`: as again() found them. */
  ask<T>(question: (client: Client, node: string) => Promise<T>, of?: readonly AgentOfNode[]): Promise<Answers<T>>;
}

/** How many are asked at once: each is a process in the agent's container, and a stream through the API server. */
const AT_ONCE = 10;
/** An agent that says nothing for so long is taken for unreachable. Milliseconds. */
const PATIENCE_MS = 15_000;
const SERVICE_ACCOUNT_TOKEN = '/var/run/secrets/kubernetes.io/serviceaccount/token';

/** Finds the agents, and leaves no connection behind whatever `use` does. */
export async function withAgents<T>(
  call: Call,
  use: (agents: Agents) => Promise<T>,
  target: Target = targetOf(call),
): Promise<T> {
  if (target.kind === 'agent') {
    const client = createClient(`the agent at ${target.server}`, readServer(target.server), call.io.signal);
    const all = [{ node: '', client, why: '' }];
    return use(agents(all, undefined, async () => all));
  }
  const { findPlaces, openCluster, PodAgent } = await import('./cluster/cluster.ts');
  const cluster = await openCluster(call, target.kubeconfig);
  const closing = new AbortController();
  const signal = AbortSignal.any([closing.signal, call.io.signal]);
  const ways = new Map<string, Agent>();
  const find = async (): Promise<AgentOfNode[]> => {
    const places = wanted(await findPlaces(cluster, signal), target.nodes);
    return places.map(({ node, pod, why }) => {
      if (pod === undefined) return { node, client: undefined, why };
      const agent = ways.get(pod) ?? new PodAgent(cluster, pod, signal);
      ways.set(pod, agent);
      return { node, client: createClient(`the agent of ${node}`, { agent }, signal), why };
    });
  };
  try {
    return await use(agents(await find(), cluster, find));
  } finally {
    closing.abort();
    for (const agent of ways.values()) agent.destroy();
    cluster.client.close();
  }
}

/** For questions that any agent answers alike: the one asked for, else the first that answers. */
export function withOneAgent<T>(call: Call, question: (client: Client) => Promise<T>): Promise<T> {
  return withAgents(call, ({ all }) => askFirst(all, question));
}

/** The answer of the first that can be reached. What an agent finds wrong with the question is an answer, too. */
export async function askFirst<T>(all: readonly AgentOfNode[], question: (client: Client) => Promise<T>): Promise<T> {
  const reasons: string[] = [];
  for (const { node, client, why } of all) {
    try {
      if (client) return await inTime(question(client));
      reasons.push(`${node}: ${why}`);
    } catch (error) {
      if (all.length === 1 || !(error instanceof CliError) || error.code !== undefined) throw error;
      reasons.push(`${node}: ${error.message}`);
    }
  }
  throw new CliError(`no agent can be asked: ${reasons.join('; ')}`);
}

/** Whom the command line and this machine make it ask. */
export function targetOf({ flags, io }: Call): Target {
  const server = flags.one('server');
  const nodes = flags.all('node');
  const allNodes = flags.on('all-nodes');
  if (server !== undefined && (allNodes || nodes.length > 0))
    throw new UsageError(`--server and ${allNodes ? '--all-nodes' : '--node'} cannot be used together`);
  return chooseTarget({
    server: server ?? io.environment.WEIR_SERVER,
    nodes,
    allNodes,
    clusterNamed: flags.one('kubeconfig') !== undefined || flags.one('context') !== undefined,
    kubeconfig: findKubeconfig(flags.one('kubeconfig'), io.environment),
    defaultServer: DEFAULT_SERVER,
    socket: lookForSocket(),
  });
}

/** The files that name the API server; [] for the pod's own account; undefined for none. */
export function findKubeconfig(
  named: string | undefined,
  environment: Readonly<Record<string, string | undefined>>,
): readonly string[] | undefined {
  if (named !== undefined) return [named];
  const listed = (environment.KUBECONFIG ?? '').split(':').filter((file) => file !== '');
  const there = listed.filter((file) => existsSync(file));
  if (listed.length > 0) return there.length > 0 ? there : listed;
  const usual = join(environment.HOME ?? homedir(), '.kube', 'config');
  if (existsSync(usual)) return [usual];
  return environment.KUBERNETES_SERVICE_HOST && existsSync(SERVICE_ACCOUNT_TOKEN) ? [] : undefined;
}

function lookForSocket(): 'there' | 'absent' | 'closed' {
  try {
    accessSync(readPath(DEFAULT_SERVER), constants.R_OK | constants.W_OK);
    return 'there';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EACCES' ? 'closed' : 'absent';
  }
}

function readPath(server: string): string {
  return server.replace(/^unix:\/\//, '');
}

function wanted<Place extends { readonly node: string }>(places: readonly Place[], nodes: readonly string[]): Place[] {
  const unknown = nodes.filter((node) => !places.some((place) => place.node === node));
  if (unknown.length > 0) {
    const known = places.map(({ node }) => node).join(', ');
    throw new UsageError(`--node: the cluster has no node ${unknown.join(', ')}; nodes: ${known}`);
  }
  return places.filter(({ node }) => nodes.length === 0 || nodes.includes(node));
}

/** One named node answers as if one were there: its own form, and its failure is the command's. */
function agents(all: readonly AgentOfNode[], cluster: Cluster | undefined, again: Agents['again']): Agents {
  const areMany = cluster !== undefined && all.length !== 1;
  return {
    areMany,
    cluster,
    all,
    again,
    async ask<T>(question: (client: Client, node: string) => Promise<T>, of = all) {
      const answers: Answer<T>[] = [];
      const silent: Silence[] = [];
      await eachOf(of, AT_ONCE, async ({ node, client, why }) => {
        try {
          if (!client) throw new CliError(why);
          answers.push({ node, value: await inTime(question(client, node)) });
        } catch (error) {
          if (!(error instanceof CliError)) throw error;
          if (!areMany) throw node === '' ? error : new CliError(`${node}: ${error.message}`, { cause: error });
          silent.push({ node, why: error.message });
        }
      });
      return { answers: byNode(answers), silent: byNode(silent) };
    },
  };
}

function byNode<Row extends { readonly node: string }>(rows: readonly Row[]): Row[] {
  return [...rows].sort((a, b) => (a.node < b.node ? -1 : 1));
}

/** Does all of it, so many at a time; rejects when the first fails. */
async function eachOf<T>(all: readonly T[], atOnce: number, work: (one: T) => Promise<void>): Promise<void> {
  const rest = [...all];
  const worker = async (): Promise<void> => {
    for (let one = rest.shift(); one !== undefined; one = rest.shift()) await work(one);
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, all.length) }, worker));
}

async function inTime<T>(answer: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new CliError(`no answer within ${PATIENCE_MS / 1000} s`)), PATIENCE_MS);
  try {
    return await Promise.race([answer, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
