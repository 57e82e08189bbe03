/** Keeps the node's own network as the cluster's nodes need it, and the programs on its own devices. Asked now and then. */
import type { Config } from '../config.ts';
import type { Datapath } from '../datapath/datapath.ts';
import { routerAddress } from '../ipam/router.ts';
import type { Prefix } from '../model/address.ts';
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
}

/** Whether anything of the node itself is asked for at all. */
export function needsUpkeep(config: Config): boolean {
  return config.routingMode !== 'none' || config.masquerade || config.services || config.denyCidrsFile !== '';
}

export function createUpkeep(options: UpkeepOptions): Upkeep {
  const { network, realizer, nodeName, log } = options;

  return {
    async run() {
      const others = realizer.isSynced
        ? realizer.desired.nodes.records().filter(({ name }) => name !== nodeName)
        : undefined;
      const self = selfOf(realizer, nodeName, options.podCidrs);
      const { changes, attachment } = await network.reconcile({ self, others });
      for (const change of changes) log.info(change);
      const repaired = await options.datapath.attachNode?.({ ...attachment, cgroup: options.cgroup });
      for (const change of repaired ?? []) log.info(change);
    },
    podMtu: () => network.status()?.podMtu ?? 0,
    problems: () => network.status()?.problems ?? [],
  };
}

/** This node as it is known, with the pod CIDRs it really gives addresses of. */
export function selfOf(
  { desired }: Pick<Realizer, 'desired'>,
  nodeName: string,
  podCidrs: readonly Prefix[],
): NodeRecord {
  const known = desired.nodes.records().find(({ name }) => name === nodeName);
  return { name: nodeName, addresses: known?.addresses ?? [], podCidrs, routerAddresses: podCidrs.map(routerAddress) };
}
