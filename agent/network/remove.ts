/** Taking Weir's network off a node: what is ours, and only that. Usable without an agent. */
import { batch, linkDelete } from '../../native/index.ts';
import { isOurs } from './found.ts';
import { deletionOf } from './kernel.ts';
import { NFT_TABLE, OWN_DEVICES } from './names.ts';
import { createRules } from './nft.ts';

/**
 * What there is of ours in the namespace (`netns`: a path; absent: this process's own), one sentence each: empty after
 * {@link removeNetwork}, and on a node where no agent ever ran.
 */
export async function listOwnNetwork(netns?: string): Promise<string[]> {
  const { devices, routes, hasRules } = await findOwn(netns);
  return [
    ...devices.map(({ name }) => `device ${name}`),
    ...routes.map(({ dst, table }) => `route ${dst} in table ${table}`),
    ...(hasRules ? [`nftables table inet ${NFT_TABLE}`] : []),
  ];
}

/**
 * Removes devices, routes and rules. Forwarding stays on: whether it was on before nobody knows any more, and others may
 * need it. @returns what was removed
 * @throws KernelError, WeirError NETWORK_FAILED
 */
export async function removeNetwork(netns?: string): Promise<string[]> {
  const removed = await listOwnNetwork(netns);
  const { devices, hasRules } = await findOwn(netns);
  for (const { name } of devices) await linkDelete({ name, netns });
  // Those that led through the devices went with them.
  const { routes } = await findOwn(netns);
  await batch(netns, routes.map(deletionOf));
  if (hasRules) await createRules(netns).delete();
  return removed;
}

async function findOwn(netns: string | undefined) {
  const [links, routes] = await batch(netns, [{ op: 'linkList' }, { op: 'routeList' }]);
  const { rules } = await createRules(netns).state();
  return {
    devices: links.filter(({ name }) => OWN_DEVICES.includes(name)),
    routes: routes.filter((route) => isOurs(route)),
    hasRules: rules !== 'absent',
  };
}
