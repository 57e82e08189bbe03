import { networkName, validAttachments } from './netconf.ts';
import type { VerbHandler } from './request.ts';

/** GC: removes this network's attachments that the runtime does not list. */
export const gc: VerbHandler = async ({ config }, { endpoints }) => {
  await endpoints.gc(networkName(config), validAttachments(config));
  return '';
};
