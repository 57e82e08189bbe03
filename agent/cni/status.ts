import { WeirError } from '../errors.ts';
import { parseNetconf } from './netconf.ts';
import type { VerbHandler } from './request.ts';

/** STATUS: success means ADD can work. 50: not yet; 51: not, and pods that run may be affected too. */
export const status: VerbHandler = async ({ config }, { readiness }) => {
  parseNetconf(config);
  const now = readiness();
  if (now.state === 'starting') {
    throw new WeirError('CNI_NOT_AVAILABLE', 'STATUS', `weir-agent is starting: ${now.reason}`);
  }
  if (now.state === 'degraded') {
    throw new WeirError('CNI_NOT_AVAILABLE_LIMITED', 'STATUS', `weir-agent is degraded: ${now.reason}`);
  }
  return '';
};
