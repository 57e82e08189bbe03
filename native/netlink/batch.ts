import { addon } from '../addon.ts';
import { KernelError } from '../error.ts';
import { addressAdd, addressDelete, addressList } from './address.ts';
import { linkCreate, linkCreateVeth, linkDelete, linkGet, linkList, linkSet } from './link.ts';
import { neighbourAdd, neighbourDelete, neighbourList } from './neighbour.ts';
import { nftablesGeneration } from './nftables.ts';
import type { Request } from './request.ts';
import { routeAdd, routeDelete, routeList } from './route.ts';
import { sysctlGet, sysctlSet } from './sysctl.ts';

/** Every operation by name; each composes messages from its fields and knows how to read the answers. */
const OPERATIONS = {
  linkCreateVeth,
  linkCreate,
  linkGet,
  linkList,
  linkSet,
  linkDelete,
  addressAdd,
  addressDelete,
  addressList,
  routeAdd,
  routeDelete,
  routeList,
  neighbourAdd,
  neighbourDelete,
  neighbourList,
  sysctlSet,
  sysctlGet,
  nftablesGeneration,
};
export type Operations = typeof OPERATIONS;
export type OperationName = keyof Operations;

/** An operation of a batch: its name and its fields, `{ op: 'linkSet', index: 5, up: true }`. */
export type NetlinkOp = {
  [Name in OperationName]: { readonly op: Name } & Parameters<Operations[Name]>[0];
}[OperationName];

export type ResultOf<Name extends OperationName> =
  ReturnType<Operations[Name]> extends Request<infer Result> ? Result : never;
type BatchResults<Ops extends readonly NetlinkOp[]> = { -readonly [Index in keyof Ops]: ResultOf<Ops[Index]['op']> };

/**
 * Several operations one after the other in one namespace: one hop to a worker thread, one entry into `netns` (a path
 * such as /run/netns/x; undefined: this process's own). The first that fails ends the batch; those before it stay done.
 * @returns the results in order.
 * @throws KernelError with `index`, the failed operation, and `log`, what the kernel said; RangeError for bad arguments,
 * before anything is done.
 */
export async function batch<const Ops extends readonly NetlinkOp[]>(
  netns: string | undefined,
  ops: Ops,
): Promise<BatchResults<Ops>> {
  const requests: Request<unknown>[] = [];
  try {
    for (const op of ops) requests.push((OPERATIONS[op.op] as (fields: NetlinkOp) => Request<unknown>)(op));
    const answers = await addon.exchange(
      netns ?? '',
      requests.flatMap(({ steps }) => steps),
    );
    if (typeof answers === 'number') throw new KernelError(`enter network namespace ${netns}`, -answers, { index: 0 });
    let at = 0;
    return requests.map(({ name, steps, result }, index) => {
      const own = answers.slice(at, at + steps.length);
      at += steps.length;
      const failed = own.find(({ status }, i) => status < 0 && !steps[i]?.accepted?.includes(-status));
      if (failed) throw new KernelError(name, -failed.status, { index, detail: failed.text, log: failed.text });
      return result(own);
    }) as BatchResults<Ops>;
  } finally {
    for (const { release } of requests) release?.();
  }
}
