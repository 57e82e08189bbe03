import { WeirError } from '../errors.ts';
import { parseCniArgs } from './cni-args.ts';
import { parseNetconf } from './netconf.ts';
import type { VerbHandler } from './request.ts';
import { addResult } from './result.ts';

/** ADD: answers when the pod's programs, policy and identity are in force. */
export const add: VerbHandler = async ({ invocation, version, config }, { endpoints, queue, readiness }) => {
  const netconf = parseNetconf(config);
  if (netconf.prevResult) {
    const message = 'prevResult: weir-cni makes the interface itself and must be the first plugin of the list';
    throw new WeirError('CNI_INVALID_CONFIG', 'ADD', message);
  }
  const pod = parseCniArgs(invocation.args);
  const now = readiness();
  if (now.state === 'starting') throw new WeirError('CNI_TRY_AGAIN', 'ADD', `weir-agent is starting: ${now.reason}`);
  // A DEL of the same container that was kept while we were away came first and is applied first.
  await queue.replay(invocation);
  const { containerId, interfaceName, netns } = invocation;
  const added = await endpoints.add({
    containerId,
    interfaceName,
    netns,
    network: netconf.name,
    pod,
    mtu: netconf.mtu,
  });
  return addResult(version, added, netconf.dns);
};
