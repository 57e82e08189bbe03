/** Keeps the node's own network as the cluster's nodes need it, and the programs on its own devices. Asked now and then. */
import type { Datapath } from '../datapath/datapath.ts';
import type { Address, Prefix } from '../model/address.ts';
import type { NodeRecord, Problem } from '../model/object.ts';
import type { Network } from '../network/network.ts';
import type { Logger } from '../run/log.ts';
import type { Realizer } from './realizer.ts';

export interface UpkeepOptions {
  readonly network: Network;
  readonly datapath: Pick<Datapath, 'attachNode'>;
  readonly realizer: Pick<Realizer, 'desired' | 'isSynced'>;
  readonly nodeName: string;
  readonly podCidrs: readonly Prefix[];
  /** The cgroup whose processes reach Services when they connect; undefined: none do. */
  readonly cgroup: string | undefined;
  readonly log: Logger;
}

export interface Upkeep {
  /** Looks at everything once and puts right what is not as it should be. */
  run(): Promise<void>;
  /** MTU of pods that ask for none, bytes; 0 before the first run. */
  podMtu(): number;
  problems(): readonly Problem[];
  /** What the node's own record says. */
  self(): NodeRecord;
}

export function createUpkeep(options: UpkeepOptions): Upkeep {
  const { network, realizer, nodeName, log } = options;

  function self(): NodeRecord {
    const known = realizer.desired.nodes.records().find(({ name }) => name === nodeName);
    const none: readonly Address[] = [];
    return { name: nodeName, addresses: none, routerAddresses: none, ...known, podCidrs: options.podCidrs };
  }

  return {
    async run() {
      const others = realizer.isSynced
        ? realizer.desired.nodes.records().filter(({ name }) => name !== nodeName)
        : undefined;
      const { changes, attachment } = await network.reconcile({ self: self(), others });
      for (const change of changes) log.info(change);
      const repaired = await options.datapath.attachNode?.({ ...attachment, cgroup: options.cgroup });
      for (const change of repaired ?? []) log.info(change);
    },
    podMtu: () => network.status()?.podMtu ?? 0,
    problems: () => network.status()?.problems ?? [],
    self,
  };
}
