import type { RecordedEndpoint } from '../endpoint/record.ts';
import { WeirError } from '../errors.ts';
import { hostPrefix } from '../model/address.ts';
import { isObject, parseNetconf, type Raw } from './netconf.ts';
import type { VerbHandler } from './request.ts';

/** CHECK: what ADD answered must still stand in prevResult and be true. What other plugins added is theirs. */
export const check: VerbHandler = async ({ invocation, config }, { endpoints }) => {
  const { prevResult } = parseNetconf(config);
  if (!prevResult) throw new WeirError('CNI_INVALID_CONFIG', 'CHECK', 'prevResult is missing, which CHECK needs');
  const { containerId, interfaceName, netns } = invocation;
  const wrong = await endpoints.check({ containerId, interfaceName, netns });
  const record = endpoints.find(invocation);
  if (record) wrong.push(...missingFrom(prevResult, record));
  if (wrong.length > 0) throw new WeirError('ENDPOINT_CHECK_FAILED', 'CHECK', wrong.join('; '));
  return '';
};

/** What of the endpoint does not stand in the result, as text. */
export function missingFrom(result: Raw, record: RecordedEndpoint): string[] {
  const interfaces = objects(result.interfaces);
  const ips = objects(result.ips);
  const wrong: string[] = [];
  const own = interfaces.findIndex(({ name, sandbox }) => name === record.interfaceName && sandbox === record.netns);
  if (own < 0) wrong.push(`prevResult has no interface ${record.interfaceName} in ${record.netns}`);
  else if (String(interfaces[own]?.mac).toLowerCase() !== record.mac) {
    wrong.push(
      `prevResult gives ${record.interfaceName} the MAC address ${interfaces[own]?.mac}, it has ${record.mac}`,
    );
  }
  if (!interfaces.some(({ name, sandbox }) => name === record.hostInterface && (sandbox ?? '') === '')) {
    wrong.push(`prevResult has no interface ${record.hostInterface} on the node`);
  }
  for (const address of record.addresses.map(hostPrefix)) {
    if (!ips.some((ip) => ip.address === address)) wrong.push(`prevResult has no address ${address}`);
  }
  const ours = new Set<string>(record.addresses.map(hostPrefix));
  for (const ip of ips) {
    if (ip.interface === own && !ours.has(String(ip.address))) {
      wrong.push(`prevResult gives ${record.interfaceName} the address ${ip.address}, which it was not given`);
    }
  }
  return wrong;
}

function objects(value: unknown): Raw[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}
