/** Endpoints whose pod is not there any more although no DEL came: force-deleted pods, reboots, hands on the node. */
import type { EndpointsOptions } from './options.ts';
import type { RecordedEndpoint } from './record.ts';

/** Why each such pod is gone, by endpoint id. Where that cannot be told, the pod counts as there. Repairs what can be. */
export async function findGone(
  records: readonly RecordedEndpoint[],
  { datapath, netnsExists, log }: Pick<EndpointsOptions, 'datapath' | 'netnsExists' | 'log'>,
): Promise<Map<number, string>> {
  const gone = new Map<number, string>();
  for (const { id, netns } of records) {
    try {
      if (!(await netnsExists(netns))) gone.set(id, `its namespace ${netns} is gone`);
    } catch (cause) {
      log.error('cannot tell whether a namespace exists; its endpoint is kept', { endpoint: id, netns, cause });
    }
  }
  const present = records.filter(({ id }) => !gone.has(id));
  for (const { endpoint, what, repaired } of await datapath.repair(present)) {
    if (what === 'device gone' && !repaired) gone.set(endpoint, 'its interface on the node is gone');
    else log.warn(`endpoint ${endpoint}: ${what}`, { endpoint, repaired });
  }
  return gone;
}
