/** Prints the tcx programs of this network namespace, a line each: Debian 12's bpftool does not know of tcx. Run on a node. */
import { linkList, queryTcx } from '../../native/index.ts';

for (const { name, index } of await linkList({}))
  for (const direction of ['ingress', 'egress'] as const)
    for (const { programId } of queryTcx(index, direction)) console.log(`${name} ${direction} ${programId}`);
