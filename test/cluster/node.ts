/**
 * One node: a disk (disk.ts), and while it is up network, mount, UTS and control group namespaces of its own with containerd
 * and a kubelet in them. To what runs there it is a machine: /run, /sys/fs/bpf, /var/lib, /etc/cni/net.d and the root of the
 * control groups are its own, so whatever is installed on it has the paths it has anywhere.
 */

import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type CommandOptions, type CommandResult, command, tryCommand } from '../kit/command.ts';
import { Netns } from '../kit/netns.ts';
import { stockFolder } from '../kit/stock.ts';
import { until } from '../kit/until.ts';
import { type Addresses, nodeAddresses } from './addresses.ts';
import { createCgroup, killCgroup, removeCgroup } from './cgroups.ts';
import { CLOCK_RUNTIME, installClock, installedShifts } from './clock.ts';
import { CONTAINERD, configureContainerd } from './containerd.ts';
import type { ControlPlane } from './control-plane.ts';
import { makeDisk } from './disk.ts';
import { provideImages } from './image-store.ts';
import { importImage } from './import-image.ts';
import { configureKubelet } from './kubelet.ts';
import { makeNodeNetns, removeNodeNetns } from './network.ts';
import { CHECKOUT, type ClusterPaths } from './paths.ts';
import { end, endOf, isRunning, joined, launch, type RunningProgram } from './program.ts';
import { type ClusterRecord, type NodeRecord, save } from './record.ts';

const BOOT = fileURLToPath(new URL('node-boot.sh', import.meta.url));
const END_GRACE_MS = 3000;

export class Node {
  readonly name: string;
  /** What is on the cluster's network. */
  readonly addresses: Addresses;
  readonly netns: Netns;
  /** The node's root as the machine sees it: of what is mounted there only the disk shows. */
  readonly disk: string;
  readonly #paths: ClusterPaths;
  readonly #record: ClusterRecord;
  readonly #node: NodeRecord;
  readonly #controlPlane: ControlPlane;

  constructor(paths: ClusterPaths, record: ClusterRecord, node: NodeRecord, controlPlane: ControlPlane) {
    this.name = node.name;
    this.addresses = nodeAddresses(node.number);
    this.netns = new Netns(paths.netns(node.name));
    this.disk = paths.disk(node.name);
    this.#paths = paths;
    this.#record = record;
    this.#node = node;
    this.#controlPlane = controlPlane;
  }

  /** Where a path of the node is for the machine, with what is mounted in the node: "/run/weir/api.sock". Good until the node goes down. */
  path(inside: string): string {
    return join(`/proc/${this.#keeper().pid}/root`, inside);
  }

  /** Ids of its processes, all of them, are in this control group below each hierarchy's mount. */
  get cgroup(): string {
    return this.#paths.cgroup(this.name);
  }

  /** The words that run `words` as a process of the node, in all of its namespaces and its control group. */
  enter(words: readonly string[]): string[] {
    // Folders of the machine that the node does not have.
    const forget = ['env', '--unset=TMPDIR', '--unset=XDG_RUNTIME_DIR'];
    return joined(`${this.cgroup}/system`, [...this.#namespaces(), ...forget], words);
  }

  /** Runs a program on the node, resolves with its stdout; rejects on an exit code other than 0. */
  run(words: readonly string[], options?: CommandOptions): Promise<string> {
    return command(this.enter(words), options);
  }

  /** Runs a program on the node, whatever its exit code. */
  tryRun(words: readonly string[], options?: CommandOptions): Promise<CommandResult> {
    return tryCommand(this.enter(words), options);
  }

  /** Makes the disk, boots, and starts containerd, which has `images`. The kubelet waits for startKubelet, and that for an API server. */
  async install(images: readonly string[]): Promise<void> {
    await makeDisk(this.disk, this.name);
    configureContainerd(this.disk);
    await provideImages(images, join(this.disk, 'var/lib/containerd'));
    await this.boot();
    await this.startContainerd();
  }

  /** Namespaces, but no program but the one that keeps them. */
  async boot(): Promise<void> {
    createCgroup(`${this.cgroup}/system`);
    const netns = await makeNodeNetns(this.#paths, this.#record, this.#node);
    this.#record.programs[this.name] = await launch({
      words: ['unshare', '--mount', '--uts', '--cgroup', 'sh', BOOT, this.name, this.disk, CHECKOUT, stockFolder()],
      cgroup: this.cgroup,
      enter: netns.enter([]),
      log: this.#paths.log(this.name),
    });
    save(this.#record);
    await until(() => isRunning(this.#keeper()) && existsSync(this.path('/run/booted')), {
      what: `${this.name} to boot`,
      detail: () => endOf(this.#paths.log(this.name)),
    });
  }

  async startContainerd(): Promise<void> {
    await this.#start('containerd', CONTAINERD);
    await until(async () => (await this.tryRun(['ctr', 'version'])).code === 0, {
      what: `containerd of ${this.name}`,
      timeoutMs: 30_000,
      detail: () => endOf(this.log('containerd')),
    });
  }

  async startKubelet(): Promise<void> {
    const words = await configureKubelet(this.disk, this.#node, this.#record, this.#controlPlane);
    await this.#start('kubelet', words);
    const isHealthy = async () => {
      // It ends when containerd is not quite ready, for systemd to start it again.
      if (!isRunning(this.#program(`${this.name}-kubelet`))) await this.#start('kubelet', words);
      return (await this.tryRun(['curl', '-sf', '--max-time', '2', 'http://127.0.0.1:10248/healthz'])).code === 0;
    };
    await until(isHealthy, {
      what: `the kubelet of ${this.name}`,
      timeoutMs: 60_000,
      everyMs: 100,
      detail: () => endOf(this.log('kubelet')),
    });
  }

  /** Pods run on while it is away. */
  async stop(program: 'containerd' | 'kubelet'): Promise<void> {
    await end(this.#program(`${this.name}-${program}`), END_GRACE_MS);
  }

  /**
   * Containers of this name that start from now on see a time that is off: "+10m", "-2h"; undefined: the true one again.
   * Restarts containerd; pods run on.
   */
  async setClock(container: string, offset: string | undefined): Promise<void> {
    const { [container]: _, ...others } = installedShifts(this.disk);
    const shifts = offset === undefined ? others : { ...others, [container]: offset };
    installClock(this.disk, shifts);
    configureContainerd(this.disk, Object.keys(shifts).length === 0 ? undefined : CLOCK_RUNTIME);
    await this.stop('containerd');
    await this.startContainerd();
  }

  /** As when the power fails: processes, mounts, interfaces and pins are gone, the disk is as it was. */
  async crash(): Promise<void> {
    await killCgroup(this.cgroup);
    await removeNodeNetns(this.#paths, this.name);
    await removeCgroup(this.cgroup);
  }

  /** A crash, and up again. Pods that were there are started again by the kubelet. */
  async reboot(): Promise<void> {
    await this.crash();
    await this.boot();
    await this.startContainerd();
    await this.startKubelet();
  }

  /** Nothing is left of it on the machine; the API server is another matter (Cluster.removeNode). */
  async remove(): Promise<void> {
    await this.crash();
    rmSync(this.disk, { recursive: true, force: true });
  }

  /** `archive`: a docker-archive. Its image is there for the kubelet when this resolves. */
  async loadImage(archive: string): Promise<void> {
    await importImage(this.enter(['ctr']), archive);
  }

  /**
   * The id of the first process of a running container, also of "weir-agent". Look for processes by this only: nodes share the
   * machine's process ids, so `pidof` on a node finds those of all clusters.
   */
  async processOf(container: string, pod?: string, namespace = 'default'): Promise<number> {
    const label = (name: string, value: string) => `labels."io.kubernetes.${name}"==${value}`;
    const ofPod = pod === undefined ? [] : [label('pod.name', pod), label('pod.namespace', namespace)];
    const filter = [label('container.name', container), ...ofPod].join(',');
    const [ids, tasks] = await Promise.all([
      this.run(['ctr', '-n', 'k8s.io', 'containers', 'ls', '-q', filter]),
      this.run(['ctr', '-n', 'k8s.io', 'tasks', 'ls']),
    ]);
    for (const line of tasks.split('\n')) {
      const [id = '', pid, status] = line.trim().split(/\s+/);
      if (status === 'RUNNING' && ids.split('\n').includes(id)) return Number(pid);
    }
    throw new Error(
      `no container "${container}"${pod === undefined ? '' : ` of pod ${namespace}/${pod}`} runs on ${this.name}`,
    );
  }

  /** Pulls its plug, and puts it in again: no other machine reaches it, what runs on it goes on. */
  async plug(inserted: boolean): Promise<void> {
    await new Netns(this.#paths.netns('lan')).ip(`link set ${this.name} ${inserted ? 'up' : 'down'}`);
  }

  log(program: 'containerd' | 'kubelet'): string {
    return this.#paths.log(`${this.name}-${program}`);
  }

  async #start(program: 'containerd' | 'kubelet', words: readonly string[]): Promise<void> {
    const name = `${this.name}-${program}`;
    this.#record.programs[name] = await launch({
      words,
      cgroup: `${this.cgroup}/system`,
      enter: this.#namespaces(),
      log: this.log(program),
    });
    save(this.#record);
  }

  #namespaces(): string[] {
    return ['nsenter', `--target=${this.#keeper().pid}`, '--mount', '--uts', '--cgroup', '--net', '--'];
  }

  #keeper(): RunningProgram {
    return this.#program(this.name);
  }

  #program(name: string): RunningProgram {
    const program = this.#record.programs[name];
    if (program === undefined) throw new Error(`${name} was never started`);
    return program;
  }
}
