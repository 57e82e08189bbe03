/**
 * Where a cluster is on the machine: one folder, namespaces and control groups that carry its name. So several can be there
 * at once, and what is left of one after a crash can be found and removed by its name alone.
 */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The checkout. Nodes see it at the same path, read-only. */
export const CHECKOUT = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');

/** A folder per cluster. On disk, for containerd's snapshots want a file system that can be the upper layer of an overlay. */
export const CLUSTERS = '/var/lib/weir-clusters';

/** What links, namespaces and groups may be named after; their own parts are added, and namespaces are files. */
const NAME = /^[a-z][a-z0-9-]{0,39}$/;

export class ClusterPaths {
  readonly name: string;

  /** @throws {TypeError} for a name that could not be part of a namespace's name. */
  constructor(name: string) {
    if (!NAME.test(name))
      throw new TypeError(
        `cluster name "${name}": expected 1 to 40 of a-z, 0-9 and -, beginning with a letter, such as "weir"`,
      );
    this.name = name;
  }

  get folder(): string {
    return join(CLUSTERS, this.name);
  }
  /** What record.ts keeps: enough to take the cluster down without the process that started it. */
  get record(): string {
    return join(this.folder, 'cluster.json');
  }
  get certificates(): string {
    return join(this.folder, 'certificates');
  }
  get etcd(): string {
    return join(this.folder, 'etcd');
  }
  get helm(): string {
    return join(this.folder, 'helm');
  }
  /** For people and tests on the machine itself. */
  get kubeconfig(): string {
    return join(this.folder, 'kubeconfig');
  }
  /** Output of a program, "etcd" or "node1-kubelet". */
  log(program: string): string {
    return join(this.folder, 'logs', `${program}.log`);
  }
  /** The file system a node sees as its own root: its disk, which outlives a reboot. */
  disk(node: string): string {
    return join(this.folder, 'nodes', node);
  }
  /** A namespace's name in /run/netns: of the switch ("lan"), the control plane, a node or the world. */
  netns(part: string): string {
    return `${this.name}-${part}`;
  }
  /** A control group, from the root of each hierarchy. */
  cgroup(part: string): string {
    return `/${this.name}/${part}`;
  }
}
