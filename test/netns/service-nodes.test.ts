/** Services whose backends are on another node: through the tunnel and over the network, for pods and for processes. */
import { mkdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { DatapathRows, ServiceRow } from '../../agent/datapath/datapath.ts';
import { cgroupDirectory } from '../../agent/datapath/program/cgroup.ts';
import { type Address, parseAddress } from '../../agent/model/address.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { Peer } from '../kit/traffic.ts';
import { until } from '../kit/until.ts';
import { Cluster, type NodePod } from './nodes-rig.ts';

process.env.WEIR_TEST_SERVICES = '1'; // For the datapath processes of the rig.
const VIPS = ['10.96.0.1', 'fd96::1'] as const;
const at = (text: string): Address => parseAddress(text) as Address;

function servicesOf(backend: NodePod): ServiceRow[] {
  return VIPS.flatMap((vip, i): ServiceRow[] => {
    const address = i === 0 ? backend.ipv4 : backend.ipv6;
    return [
      {
        frontend: { address: at(vip), protocol: 'TCP', port: 80 },
        backends: [{ address, port: 8080 }],
        affinitySeconds: 0,
      },
      {
        frontend: { address: at(vip), protocol: 'UDP', port: 53 },
        backends: [{ address, port: 5353 }],
        affinitySeconds: 0,
      },
    ];
  });
}

for (const mode of ['tunnel', 'native'] as const) {
  const test = privileged(suite(`Services between nodes, ${mode}`), 'root', 'btf', 'bpffs');
  let cluster: Cluster;
  let client: NodePod;
  let local: NodePod;
  let cgroup: string;

  test.before(async () => {
    cluster = await Cluster.start(`svc${mode}`, 2, { mode });
    cgroup = join(await cgroupDirectory(''), cluster.bed.name('group'));
    mkdirSync(cgroup);
    // Its own MTU is too large for the tunnel: what from_pod answers must name the virtual address to be understood.
    client = await cluster.pod(cluster.node1, 2, { mtu: 1500 });
    local = await cluster.pod(cluster.node1, 3);
    const backend = await cluster.pod(cluster.node2, 2, { mtu: 1500 });
    await backend.peer.serveTcp(8080);
    await backend.peer.serveUdp(5353);
    for (const node of cluster.nodes) {
      const rows: DatapathRows = { ...cluster.rows(node), services: servicesOf(backend) };
      await node.replace(rows);
      await node.attach({ ...cluster.attachment(node), ...(node === cluster.node1 && { cgroup }) });
    }
  });
  test.after(async () => {
    await cluster?.close();
    if (cgroup) await until(() => removed(cgroup), { what: 'the cgroup to be empty' });
  });

  for (const vip of VIPS) {
    test(`pods reach ${vip}, also with more than fits in a packet`, async () => {
      for (const pod of [client, local]) {
        assert.is(await pod.peer.tcp({ address: vip, port: 80 }), 'ok');
        assert.is(await pod.peer.udp({ address: vip, port: 53 }), 'ok');
        const connection = await pod.peer.open({ address: vip, port: 80 });
        assert.is(await pod.peer.say(connection, 'x'.repeat(1 << 20), 15_000), 'ok');
        await pod.peer.hangUp(connection);
      }
    });

    test(`processes of a node reach ${vip}`, async () => {
      const enter = cluster.node1.netns.enter([]);
      const host = await Peer.start(['sh', '-c', `echo $$ > ${cgroup}/cgroup.procs && exec "$@"`, 'sh', ...enter]);
      try {
        assert.is(await host.tcp({ address: vip, port: 80 }), 'ok');
        assert.is(await host.udp({ address: vip, port: 53 }), 'ok');
      } finally {
        await host.close();
      }
    });
  }
  test.run();
}

function removed(directory: string): boolean {
  try {
    rmdirSync(directory);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT';
  }
}
