/** W8: from rename() of a manifest to the first packet that is judged by it, with 100 endpoints; against `nft -f`. */
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Netns } from '../kit/netns.ts';
import { NodeUnderTest } from '../kit/node.ts';
import type { Bench } from './bench.ts';
import { type Figure, figureOf, noiseOf, quantile } from './figure.ts';
import { FLEET_NAMESPACE, fleetManifest, weirCni } from './fleet.ts';
import { FlipWatcher } from './flip-watcher.ts';
import { contest, numbers, type Sample } from './rounds.ts';
import { routed } from './site.ts';

const PODS = 100;
const PROBE_PORT = 5300;
/** Of each kind, allow and deny, in one round. */
const FLIPS = 20;

/** Something that can let the probes through, or not. */
interface Switch {
  readonly name: string;
  readonly watcher: FlipWatcher;
  /** Resolves with the monotonic time, in ns, at which the change was asked for. */
  set(allowed: boolean): Promise<bigint>;
}

export async function policyFlip(bench: Bench): Promise<Figure[]> {
  const rounds = Math.min(bench.rounds, 5);
  await using node = await NodeUnderTest.start('w8', {
    manifests: { 'fleet.yaml': fleetManifest(PODS), 'policy.yaml': policy(false) },
  });
  const ours = await weirSwitch(bench, node);
  const nft = await nftSwitch(bench);
  try {
    const result = await contest({ ours: flips(ours), baseline: flips(nft) }, rounds);
    return ['allow', 'deny'].flatMap((kind) =>
      ['P50', 'P99'].map((percentile) => {
        const key = `${kind}${percentile}`;
        const [before, after] = [numbers(result.baseline, key), numbers(result.again, key)];
        const baseline = before.map((value, i) => (value + (after[i] ?? value)) / 2);
        const goal = percentile === 'P99' ? { goal: { oursAtMost: 10 } } : {};
        return figureOf(
          {
            workload: 'W8',
            metric: `file to ${kind === 'allow' ? 'allowed' : 'denied'} packet ${percentile.toLowerCase()}`,
            unit: 'ms',
            better: 'less',
            ...goal,
          },
          { ours: numbers(result.ours, key), baseline, baselineName: 'nft -f', noise: noiseOf(before, after) },
        );
      }),
    );
  } finally {
    ours.watcher.close();
    nft.watcher.close();
  }
}

function flips(target: Switch) {
  const run = async (): Promise<Sample> => {
    const times = { allow: [] as number[], deny: [] as number[] };
    for (let i = 0; i < FLIPS; i++)
      for (const kind of ['allow', 'deny'] as const) {
        const flipped = target.watcher.next(kind === 'allow' ? 'up' : 'down');
        const asked = await target.set(kind === 'allow');
        times[kind].push(Number((await flipped) - asked) / 1e6);
      }
    const { allow, deny } = times;
    return {
      allowP50: quantile(allow, 0.5),
      allowP99: quantile(allow, 0.99),
      denyP50: quantile(deny, 0.5),
      denyP99: quantile(deny, 0.99),
    };
  };
  return { name: target.name, run };
}

/** Isolates every pod of the fleet, so that 100 endpoints are concerned. */
function policy(allowed: boolean): string {
  const port = allowed ? PROBE_PORT : PROBE_PORT + 1;
  return `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: fleet, namespace: ${FLEET_NAMESPACE} }
spec:
  endpointSelector: { matchLabels: { app: pod } }
  ingress:
    - fromEndpoints: [{ matchLabels: { number: "0" } }]
      toPorts: [{ ports: [{ port: "${port}", protocol: UDP }] }]
`;
}

async function weirSwitch(bench: Bench, node: NodeUnderTest): Promise<Switch> {
  const pods: Netns[] = await Promise.all(Array.from({ length: PODS }, (_, i) => node.bed.netns(`pod-${i}`)));
  const cni = weirCni(node, bench.load);
  for (const [number, netns] of pods.entries()) await cni.call('ADD', netns, number);
  const [from, to] = [pods[0], pods[1]];
  if (from === undefined || to === undefined) throw new Error('the fleet has no pods');
  const address = /inet (\S+)\//.exec(await to.ip('-4 -o address show dev eth0'))?.[1] ?? '';
  const watcher = await FlipWatcher.start(bench.load, node.bed, { from, to, address, port: PROBE_PORT });
  return {
    name: 'Weir',
    watcher,
    async set(allowed) {
      const written = join(node.folder, 'policy.new');
      await writeFile(written, policy(allowed));
      const asked = process.hrtime.bigint();
      await rename(written, join(node.manifests, 'policy.yaml'));
      return asked;
    },
  };
}

/** The same number of pods in the rules; one pair of them has traffic. */
async function nftSwitch(bench: Bench): Promise<Switch> {
  const site = await routed(bench.bed, 'nft');
  const rules = (allowed: boolean) => `
table inet pods {}
delete table inet pods
table inet pods {
  map fleet {
    type ipv4_addr . inet_service : verdict
    elements = { ${[site.ipv4, ...Array.from({ length: PODS - 1 }, (_, i) => `10.67.0.${i + 1}`)]
      .map((address) => `${address} . ${allowed ? PROBE_PORT : PROBE_PORT + 1} : accept`)
      .join(', ')} }
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
    ip daddr . udp dport vmap @fleet
  }
}`;
  const watcher = await FlipWatcher.start(bench.load, bench.bed, {
    from: site.client,
    to: site.server,
    address: site.ipv4,
    port: PROBE_PORT,
  });
  return {
    name: 'nft -f',
    watcher,
    async set(allowed) {
      const asked = process.hrtime.bigint();
      await site.node.run(['nft', '-f', '-'], { input: rules(allowed) });
      return asked;
    },
  };
}
