import { networkName, validAttachments } from './netconf.ts';
import type { VerbHandler } from './request.ts';

/** GC: removes this network's attachments that the runtime does not list. Without a list nothing is known to be stale. */
export const gc: VerbHandler = async ({ config }, { endpoints }) => {
  const [network, valid] = [networkName(config), validAttachments(config)];
  if (valid) await endpoints.gc(network, valid);
  return '';
};
