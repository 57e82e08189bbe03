/** Keeps the node's own network as the cluster's nodes need it, and the programs on its own devices. Asked now and then. */
import type { Config } from '../config/config.ts';
import type { Datapath } from '../datapath/datapath.ts';
import type { Address, Prefix } from '../model/address.ts';
import type { NodeRecord, Problem } from '../model/object.ts';
import { routerAddress } from '../model/router-address.ts';
import type { Network } from '../network/network.ts';
import { followMtu } from '../network/pod-mtu.ts';
import type { Logger } from '../run/log.ts';
import { createDenial } from './denial.ts';
import type { Realizer } from './realizer.ts';

export interface UpkeepOptions {
  readonly network: Network;
  readonly datapath: Pick<Datapath, 'attachNode' | 'setDenyCidrs'>;
  readonly realizer: Pick<Realizer, 'desired' | 'isSynced'>;
  readonly nodeName: string;
  readonly podCidrs: readonly Prefix[];
  /** The node's addresses as they were told before the source had anything. */
  readonly addresses: readonly Address[];
  /** --deny-cidrs-file; '' for none. */
  readonly denyFile: string;
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
  const { network, datapath, realizer, log } = options;
  const { desired } = realizer;
  let lastMtu: number | undefined;

  function otherRecords(): NodeRecord[] {
    return desired.nodes.records().filter(({ name }) => name !== options.nodeName);
  }

  const denial = createDenial({
    lists: desired.denied,
    file: options.denyFile,
    set: async (prefixes) => datapath.setDenyCidrs?.(prefixes),
  });

  /** Pods that were wired before follow a change of the uplink's MTU (faults.md 35). */
  async function adjustMtu(podMtu: number): Promise<void> {
    if (podMtu === lastMtu) return;
    const pods = [...desired.members.values()].map(({ record }) => record);
    const changed = await followMtu(pods, { from: lastMtu, to: podMtu });
    if (changed > 0) log.info('pods follow the MTU of the way to other nodes', { mtu: podMtu, pods: changed });
    lastMtu = podMtu;
  }

  return {
    async run() {
      const self = selfOf(realizer, options);
      const { changes, attachment, podMtu } = await network.reconcile({
        self,
        others: realizer.isSynced ? otherRecords() : undefined,
      });
      let failure: unknown;
      // What is not attached keeps nothing else from being put right: a shorter deny list may be what makes room.
      const attached = await datapath
        .attachNode?.({ ...attachment, cgroup: options.cgroup })
        .catch((cause: unknown) => {
          failure = cause;
        });
      for (const change of [...changes, ...(attached ?? [])]) log.info(change);
      // Nor does a pod whose MTU cannot be set; the next run tries it again.
      await adjustMtu(podMtu).catch((cause: unknown) => {
        failure ??= cause;
      });
      if (realizer.isSynced) {
        const nodes = [self, ...otherRecords()].flatMap(({ addresses }) => addresses);
        await denial.update([...nodes, ...desired.nodes.apiServers()]);
      }
      if (failure) throw failure;
    },
    podMtu: () => network.status()?.podMtu ?? 0,
    problems: () => [...(network.status()?.problems ?? []), ...denial.problems()],
  };
}

/** This node as it is known, with the pod CIDRs it really gives addresses of. */
export function selfOf(
  { desired }: Pick<Realizer, 'desired'>,
  { nodeName, podCidrs, addresses }: Pick<UpkeepOptions, 'nodeName' | 'podCidrs' | 'addresses'>,
): NodeRecord {
  const known = desired.nodes.records().find(({ name }) => name === nodeName)?.addresses ?? [];
  return {
    name: nodeName,
    addresses: known.length > 0 ? known : addresses,
    podCidrs,
    routerAddresses: podCidrs.map(routerAddress),
  };
}
