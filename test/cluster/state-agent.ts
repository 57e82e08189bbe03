/**
 * One node's part of the cluster's state as a process of its own: does what it reads from stdin, a JSON object a line, and says
 * on stdout what is so. Used by state.test.ts.
 *
 *     node state-agent.ts KUBECONFIG NODE STATE_DIRECTORY
 */
import { createInterface } from 'node:readline';
import { createClusterState } from '../../agent/cluster/state.ts';
import { createClient } from '../../agent/kubernetes/client.ts';
import { connect } from '../../agent/kubernetes/connection.ts';
import type { Address } from '../../agent/model/address.ts';
import { createLogger } from '../../agent/run/log.ts';

export type Order =
  | { readonly do: 'acquire'; readonly set: number }
  | { readonly do: 'release'; readonly set: number }
  | {
      readonly do: 'announce';
      readonly pods: readonly { readonly uid: string; readonly address: string; readonly number: number }[];
    };
export type Word =
  | { readonly is: 'synced' }
  | { readonly is: 'used'; readonly set: number; readonly number: number }
  | { readonly is: 'refused'; readonly set: number; readonly code: string; readonly retryable: boolean }
  | { readonly is: 'announced'; readonly uid: string; readonly accepted: boolean }
  /** What another node publishes, as this one has it. */
  | { readonly is: 'peers'; readonly slice: string; readonly uids: readonly string[] }
  | { readonly is: 'renumbered'; readonly app: string };

const [kubeconfig = '', nodeName = '', stateDirectory = ''] = process.argv.slice(2);
const say = (word: Word): void => void process.stdout.write(`${JSON.stringify(word)}\n`);
const labelsOf = (set: number) => new Map([['k8s:app', `app-${set}`]]);

const end = new AbortController();
const backoff = { firstMs: 20, maxMs: 300 };
const client = createClient({
  connection: await connect({ kubeconfig }),
  rate: { perSecond: 1000, burst: 1000 },
  watchTimes: { backoff },
});
const state = await createClusterState({
  ...{ client, nodeName, stateDirectory, namespace: 'kube-system', signal: end.signal },
  log: createLogger({ level: 'error', format: 'text' }),
  // Far less than an agent uses, so that much is collected while the test looks.
  ...{ identityGraceMs: 200, claimGraceMs: 700, identityWaitMs: 2000 },
  onChanges(changes) {
    for (const change of changes) {
      const isUpsert = change.type === 'upsert';
      if (isUpsert && change.object.kind === 'WeirEndpointSlice') {
        const { ref, value } = change.object;
        say({ is: 'peers', slice: ref.name, uids: value.endpoints.map(({ uid }) => uid) });
      } else if (!isUpsert && change.kind === 'WeirEndpointSlice') {
        say({ is: 'peers', slice: change.ref.name, uids: [] });
      }
    }
  },
  onSynced: () => say({ is: 'synced' }),
  onRenumbered: (labels) => say({ is: 'renumbered', app: labels.get('k8s:app') ?? '' }),
});
const host = nodeName.slice(-1);
state.describe({
  addresses: [`192.0.2.${host}`],
  podCidrs: [`10.0.${host}.0/24`],
  routerAddresses: [`10.0.${host}.1`],
});
setInterval(() => void state.identities.collect(), 200).unref();

async function obey(order: Order): Promise<void> {
  if (order.do === 'release') {
    state.identities.release(labelsOf(order.set));
  } else if (order.do === 'acquire') {
    const { set } = order;
    await state.identities.acquire(labelsOf(set)).then(
      (number) => say({ is: 'used', set, number }),
      ({ code, retryable }) => say({ is: 'refused', set, code, retryable }),
    );
  } else {
    const { pods } = order;
    state.endpoints.announce(
      pods.map(({ uid, address, number }) => ({
        ...{ uid, addresses: [address as Address], identity: number, namespace: 'shop', pod: uid },
        ...{ namedPorts: [{ name: 'http', protocol: 'TCP' as const, port: 80 }], workload: undefined },
      })),
    );
    await Promise.all(
      pods.map(async ({ uid }) => say({ is: 'announced', uid, accepted: await state.endpoints.announced(uid, 5000) })),
    );
  }
}

createInterface({ input: process.stdin })
  .on('line', (line) => void obey(JSON.parse(line) as Order))
  .on('close', async () => {
    end.abort();
    await state.stopped;
    client.close();
  });
