import type { VerbHandler } from './request.ts';

/** DEL: what is gone, or never was, is no error. Needs neither the namespace nor a right configuration. */
export const del: VerbHandler = async ({ invocation }, { endpoints }) => {
  await endpoints.del(invocation);
  return '';
};
