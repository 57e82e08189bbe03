/**
 * A real Kubernetes of N nodes on this machine: API server, controllers, scheduler, kubelets, containerd and runc as anywhere,
 * each node in namespaces of its own (node.ts), all of it removed by down().
 *
 *     await using cluster = await startCluster({ name: 'wt-policy-123', nodes: 2, cni: 'ptp' });
 *     await cluster.kubectl('apply', '-f', file);
 *     await cluster.nodes[0].run(['ip', 'route']);
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, realpathSync, rmdirSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type CommandOptions, type CommandResult, command, tryCommand } from '../kit/command.ts';
import { endOnSignals, Netns } from '../kit/netns.ts';
import { stockProgram } from '../kit/stock.ts';
import { until } from '../kit/until.ts';
import { DNS_SERVICE, families } from './addresses.ts';
import { createCgroup, killCgroup, removeCgroup } from './cgroups.ts';
import { ControlPlane } from './control-plane.ts';
import { baseImages } from './images.ts';
import { makeNetwork, removeNetwork } from './network.ts';
import { Node } from './node.ts';
import { CLUSTERS, ClusterPaths } from './paths.ts';
import { configurePtp } from './ptp.ts';
import { type ClusterRecord, claimNumber, clusters, load, releaseNumber, save } from './record.ts';

/** `npm run cluster`. */
const COMMAND = fileURLToPath(new URL('run.ts', import.meta.url));
const DNS_MANIFEST = fileURLToPath(new URL('dns.yaml', import.meta.url));

export interface ClusterOptions {
  /** Part of the name of everything it makes. Tests: clusterName('part'). */
  readonly name: string;
  readonly nodes: number;
  /** Default true. */
  readonly dualStack?: boolean;
  /** `none`: nodes stay NotReady until somebody installs something, such as charts/weir. */
  readonly cni: 'none' | 'ptp';
  /** That nodes register with: "node.weir.dev/agent-not-ready=:NoSchedule". */
  readonly taints?: readonly string[];
  /** More docker-archives for every node, those that join later too. */
  readonly images?: readonly string[];
  /** True: it outlives this process. Otherwise it is taken down when the process ends, however that happens. */
  readonly keep?: boolean;
  /** A line for each step. */
  readonly onProgress?: (line: string) => void;
}

let made = 0;
/** A name that no other test has, and whose process the check for leftovers recognises. */
export function clusterName(part: string): string {
  made += 1;
  return `wt-${part}-${process.pid}-${made}`;
}

export async function startCluster(options: ClusterOptions): Promise<Cluster> {
  await removeOrphans();
  const cluster = Cluster.create(options);
  if (options.keep !== true) removeAtExit(options.name);
  try {
    await cluster.up(options.nodes);
  } catch (error) {
    await cluster.down();
    throw error;
  }
  return cluster;
}

/** A cluster that is up already. */
export function openCluster(name: string): Cluster {
  return new Cluster(load(name));
}

/** Test clusters whose process was killed before it could take them down: its id is in the name (clusterName). */
async function removeOrphans(): Promise<void> {
  for (const name of clusters()) {
    const owner = /^wt-.*-(\d+)-\d+$/.exec(name)?.[1];
    if (owner !== undefined && !existsSync(`/proc/${owner}`)) await removeCluster(name);
  }
}

const toRemove = new Set<string>();
let listening = false;
/** In a process of its own, for what runs while a process exits cannot wait. */
function removeAtExit(name: string): void {
  toRemove.add(name);
  if (listening) return;
  listening = true;
  endOnSignals();
  process.on('exit', () => {
    for (const each of toRemove)
      spawnSync(process.execPath, [COMMAND, 'down', '--name', each], { stdio: ['ignore', 'ignore', 'inherit'] });
  });
}

/** Removes a cluster by name, whatever is left of it. */
export async function removeCluster(name: string): Promise<void> {
  const paths = new ClusterPaths(name);
  const link = existsSync(paths.record) ? load(name).machineLink : undefined;
  await killCgroup(`/${name}`);
  await removeNetwork(paths, link);
  await removeCgroup(`/${name}`);
  rmSync(paths.folder, { recursive: true, force: true });
  releaseNumber(name);
  toRemove.delete(name);
  if (clusters().length === 0) removeIfEmpty(CLUSTERS);
}

export class Cluster implements AsyncDisposable {
  readonly name: string;
  readonly paths: ClusterPaths;
  readonly controlPlane: ControlPlane;
  /** Beyond the router, reachable only from addresses of nodes: addresses.ts WORLD. */
  readonly world: Netns;
  /** The switch between nodes, which is the router to the world: each node's port has its name. */
  readonly lan: Netns;
  nodes: Node[];
  readonly #record: ClusterRecord;
  readonly #onProgress: (line: string) => void;

  constructor(record: ClusterRecord, onProgress: (line: string) => void = () => {}) {
    this.name = record.name;
    this.paths = new ClusterPaths(record.name);
    this.controlPlane = new ControlPlane(this.paths, record);
    this.world = new Netns(this.paths.netns('world'));
    this.lan = new Netns(this.paths.netns('lan'));
    this.nodes = record.nodes.map((node) => new Node(this.paths, record, node, this.controlPlane));
    this.#record = record;
    this.#onProgress = onProgress;
  }

  /** Claims its name; nothing runs yet. */
  static create(options: ClusterOptions): Cluster {
    const { name, dualStack = true, cni, taints = [], images = [], onProgress } = options;
    const paths = new ClusterPaths(name);
    mkdirSync(CLUSTERS, { recursive: true });
    try {
      mkdirSync(paths.folder);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      throw new Error(
        `a cluster "${name}" is there already: take it down first (npm run cluster -- down --name ${name})`,
      );
    }
    const number = claimNumber(name);
    const machineLink = name.startsWith('wt-') ? `wt${process.pid}x${number}` : `cluster${number}`;
    const record = {
      name,
      number,
      dualStack,
      cni,
      taints,
      images: [...images],
      machineLink,
      nodes: [],
      nextNode: 1,
      programs: {},
    };
    save(record);
    return new Cluster(record, onProgress);
  }

  /** Starts everything that a fresh cluster has. */
  async up(nodes: number): Promise<void> {
    this.#onProgress('network namespaces, certificates');
    createCgroup(this.paths.cgroup('control-plane'));
    await makeNetwork(this.paths, this.#record);
    await this.controlPlane.prepare();
    this.#onProgress(`etcd and the control plane; ${nodes} nodes with containerd and images`);
    const joining = Array.from({ length: nodes }, () => this.#newNode());
    const images = await this.#images();
    await allEnded([this.controlPlane.start(), ...joining.map((node) => node.install(images))]);
    this.#onProgress('kubelets');
    await allEnded([this.#join(joining), this.#applyDns()]);
  }

  /**
   * A further node; resolves when the API server knows it and, with ptp, it is Ready. `podCidrs`: those it is to have, in
   * place of the controller manager's choice.
   */
  async addNode(podCidrs: readonly string[] = []): Promise<Node> {
    const node = this.#newNode();
    await node.install(await this.#images());
    if (podCidrs.length > 0) {
      const spec = { podCIDR: podCidrs[0], podCIDRs: podCidrs };
      await this.apply(JSON.stringify({ apiVersion: 'v1', kind: 'Node', metadata: { name: node.name }, spec }));
    }
    await this.#join([node]);
    return node;
  }

  /** Routes to the pods of every node, for a namespace on the cluster's network: as where the network knows the pods. */
  async routeToPods(netns: Netns): Promise<void> {
    const podCidrs = await this.#podCidrs();
    for (const { name, addresses } of this.nodes)
      for (const cidr of podCidrs.get(name) ?? [])
        await netns.ip(`route replace ${cidr} via ${cidr.includes(':') ? addresses.v6 : addresses.v4}`);
  }

  /** Drains it, removes it from the API server, and then from the machine. */
  async removeNode(node: Node): Promise<void> {
    await this.kubectl(
      'drain',
      node.name,
      '--ignore-daemonsets',
      '--delete-emptydir-data',
      '--force',
      '--grace-period=1',
      '--timeout=60s',
    );
    await node.stop('kubelet');
    await this.kubectl('delete', 'node', node.name);
    await node.remove();
    this.nodes = this.nodes.filter((other) => other !== node);
    this.#record.nodes = this.#record.nodes.filter(({ name }) => name !== node.name);
    save(this.#record);
  }

  /** Takes all of it away. */
  async down(): Promise<void> {
    await removeCluster(this.name);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.down();
  }

  /** Usable from the machine's own network namespace too. */
  get kubeconfig(): string {
    return this.paths.kubeconfig;
  }

  /** stdout of kubectl; rejects on an exit code other than 0. */
  kubectl(...args: string[]): Promise<string> {
    return command([stockProgram('kubectl'), ...args], this.#clientOptions());
  }

  tryKubectl(...args: string[]): Promise<CommandResult> {
    return tryCommand([stockProgram('kubectl'), ...args], this.#clientOptions());
  }

  /** Applies manifests that are at hand as text. */
  apply(manifests: string): Promise<string> {
    return command([stockProgram('kubectl'), 'apply', '-f', '-'], { ...this.#clientOptions(), input: manifests });
  }

  /** What `kubectl get ARGS -o json` says. */
  async get<T>(...args: string[]): Promise<T> {
    return JSON.parse(await this.kubectl('get', ...args, '-o', 'json'));
  }

  helm(...args: string[]): Promise<string> {
    return command([stockProgram('helm'), ...args], { ...this.#clientOptions(), timeoutMs: 300_000 });
  }

  /** Into every node, and those that join later. A file (not a link to one) that was loaded before is not loaded again. */
  async loadImage(archive: string): Promise<void> {
    const file = realpathSync(archive);
    if (this.#record.images.includes(file)) return;
    this.#record.images.push(file);
    save(this.#record);
    await Promise.all(this.nodes.map((node) => node.loadImage(file)));
  }

  /** Resolves when all nodes are Ready. */
  async ready(timeoutMs = 60_000): Promise<void> {
    await this.kubectl('wait', '--for=condition=Ready', 'nodes', '--all', `--timeout=${Math.ceil(timeoutMs / 1000)}s`);
  }

  #newNode(): Node {
    const number = this.#record.nextNode++;
    const record = { name: `node${number}`, number };
    const node = new Node(this.paths, this.#record, record, this.controlPlane);
    this.#record.nodes.push(record);
    this.nodes.push(node);
    save(this.#record);
    return node;
  }

  async #images(): Promise<string[]> {
    return [...(await baseImages()), ...this.#record.images];
  }

  async #join(joining: readonly Node[]): Promise<void> {
    await Promise.all(joining.map((node) => node.startKubelet()));
    await this.#afterJoining();
  }

  /** The controller manager gives a node its podCIDRs a moment after it registers. */
  async #afterJoining(): Promise<void> {
    const podCidrs = await until(
      async () => {
        const known = await this.#podCidrs();
        return this.nodes.every(({ name }) => known.has(name)) && known;
      },
      { what: 'nodes to register and get their podCIDRs', timeoutMs: 60_000, everyMs: 250 },
    );
    if (this.#record.cni !== 'ptp') return;
    await configurePtp(this.nodes, podCidrs);
    this.#onProgress('waiting for nodes to be Ready');
    await this.ready();
  }

  async #podCidrs(): Promise<Map<string, string[]>> {
    const { items } = await this.get<{ items: { metadata: { name: string }; spec: { podCIDRs?: string[] } }[] }>(
      'nodes',
    );
    return new Map(
      items.flatMap(({ metadata, spec }) => (spec.podCIDRs === undefined ? [] : [[metadata.name, spec.podCIDRs]])),
    );
  }

  async #applyDns(): Promise<void> {
    const addresses = JSON.stringify(families(DNS_SERVICE, this.#record.dualStack));
    const manifest = readFileSync(DNS_MANIFEST, 'utf8');
    await this.apply(manifest.replace('CLUSTER_IPS', addresses).replace('CLUSTER_IP', DNS_SERVICE.v4));
  }

  #clientOptions(): CommandOptions {
    const helm = {
      HELM_CACHE_HOME: this.paths.helm,
      HELM_CONFIG_HOME: this.paths.helm,
      HELM_DATA_HOME: this.paths.helm,
    };
    return { env: { KUBECONFIG: this.kubeconfig, ...helm }, timeoutMs: 120_000 };
  }
}

/** As Promise.all, but nothing is under way any more when it rejects: what is half there can be removed. */
async function allEnded(work: readonly Promise<unknown>[]): Promise<void> {
  await Promise.allSettled(work);
  await Promise.all(work);
}

function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch (error) {
    if (!['ENOENT', 'ENOTEMPTY'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}
