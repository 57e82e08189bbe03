/**
 * Links, addresses, routes, neighbours and sysctls, in this namespace or in another. Each function is a batch of one:
 * its fields are described in netlink/, its errors in netlink/batch.ts. All run on a worker thread.
 */
import { batch, type NetlinkOp, type OperationName, type Operations, type ResultOf } from './netlink/batch.ts';

/** Where an operation is done: a path such as /run/netns/x; absent: this process's own namespace. */
export interface InNamespace {
  readonly netns?: string | undefined;
}

function single<Name extends OperationName>(op: Name) {
  return async (fields: Parameters<Operations[Name]>[0] & InNamespace): Promise<ResultOf<Name>> => {
    const { netns, ...rest } = fields;
    const [result] = await batch(netns, [{ op, ...rest } as NetlinkOp]);
    return result as ResultOf<Name>;
  };
}

export { batch };
export const linkCreateVeth = single('linkCreateVeth');
export const linkCreate = single('linkCreate');
export const linkGet = single('linkGet');
export const linkList = single('linkList');
export const linkSet = single('linkSet');
export const linkDelete = single('linkDelete');
export const addressAdd = single('addressAdd');
export const addressDelete = single('addressDelete');
export const addressList = single('addressList');
export const routeAdd = single('routeAdd');
export const routeDelete = single('routeDelete');
export const routeList = single('routeList');
export const neighbourAdd = single('neighbourAdd');
export const neighbourDelete = single('neighbourDelete');
export const neighbourList = single('neighbourList');
export const sysctlSet = single('sysctlSet');
export const sysctlGet = single('sysctlGet');
export const nftablesGeneration = single('nftablesGeneration');

export type { AddressAdd, AddressDelete, InterfaceAddress } from './netlink/address.ts';
export type { NetlinkOp } from './netlink/batch.ts';
export type { Link, LinkChoice, LinkCreate, LinkCreateVeth, LinkSet } from './netlink/link.ts';
export type { Neighbour, NeighbourAdd, NeighbourDelete } from './netlink/neighbour.ts';
export type { Route, RouteAdd } from './netlink/route.ts';
