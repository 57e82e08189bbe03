/** Peer.Notify: whoever follows what is told knows the peers there are, whatever happened between two looks. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { type ChangeNotification, changes, type HubbleNode, type Peer, peersOf } from '../../agent/api/hubble/peers.ts';
import type { HubbleServer } from '../../agent/api/hubble/server.ts';
import { type Address, parseAddress } from '../../agent/model/address.ts';
import { HubbleClient } from '../kit/hubble-grpc.ts';
import { suite } from '../kit/suite.ts';
import { makeHistory } from './flow-records.ts';
import { hubbleAlone } from './hubble-alone.ts';

const address = (text: string): Address => parseAddress(text) as Address;
const node = (name: string, ...addresses: string[]): HubbleNode => ({ name, addresses: addresses.map(address) });

const names = suite('hubble peers: names and addresses');
names('a peer is its node at the port of the TLS listener, with the name in its certificate', () => {
  const nodes = [node('node-1.example', '192.0.2.1', '2001:db8::1'), node('node-2', '2001:db8::2'), node('waiting')];
  assert.equal(peersOf(nodes, { cluster: 'default', port: 4244 }), [
    {
      name: 'node-1.example',
      address: '192.0.2.1:4244',
      serverName: 'node-1-example.default.hubble-grpc.cilium.io',
    },
    { name: 'node-2', address: '[2001:db8::2]:4244', serverName: 'node-2.default.hubble-grpc.cilium.io' },
  ]);
  const [named] = peersOf([node('a.b', '192.0.2.1')], { cluster: 'west.1', port: 1 });
  assert.equal([named?.name, named?.serverName], ['west.1/a.b', 'a-b.west-1.hubble-grpc.cilium.io']);
});
names.run();

const news = suite('hubble peers: changes');
const peer = fc.record({
  name: fc.constantFrom('a', 'b', 'c', 'd'),
  address: fc.constantFrom('192.0.2.1:1', '192.0.2.2:1', '192.0.2.3:1'),
  serverName: fc.constant('x'),
});
const peers = fc.uniqueArray(peer, { selector: ({ name }) => name });

/** What a reader makes of them; it is a fault to be told of what is known, or of what is not. */
function hear(known: Map<string, string>, heard: readonly ChangeNotification[]): void {
  for (const { name, address: at, type } of heard) {
    assert.is(known.has(name), type !== 1, `${name}: ${type}`);
    if (type === 2) known.delete(name);
    else {
      assert.is.not(known.get(name), at, 'told what it knew');
      known.set(name, at);
    }
  }
}

news('whoever hears all of them knows exactly the peers there are', () => {
  fc.assert(
    fc.property(fc.array(peers), (states) => {
      const known = new Map<string, string>();
      let told: ReadonlyMap<string, Peer> = new Map();
      for (const now of states) {
        hear(known, changes(told, now));
        told = new Map(now.map((one) => [one.name, one]));
        assert.equal(known, new Map(now.map((one) => [one.name, one.address])));
      }
    }),
  );
});
news.run();

const stream = suite('hubble peers: Peer.Notify');
async function served(
  nodes: () => readonly HubbleNode[],
  use: (client: HubbleClient, server: HubbleServer, folder: string) => Promise<void>,
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'wt-peers-'));
  const server = await hubbleAlone({
    flows: makeHistory(10).history,
    version: '1.2.3',
    socket: join(folder, 'hubble.sock'),
    nodes,
    nodeLabels: () => ({ zone: 'a' }),
  });
  const client = new HubbleClient(server.at[0] as string);
  try {
    await use(client, server, folder);
  } finally {
    client.close();
    await server.close();
    await rm(folder, { recursive: true });
  }
}

stream('an agent without TLS tells of itself, at its socket, and the stream stays open until it stops', async () => {
  await served(
    () => [node('node-2', '192.0.2.2')],
    async (client, server, folder) => {
      const open = client.stream<ChangeNotification>('Notify', {});
      await open.has(1);
      server.changed();
      assert.equal(open.lines, [{ name: 'node-1', address: `unix://${folder}/hubble.sock`, type: 1 }]);
      await server.close();
      assert.match(await open.ended, /^14 /);
    },
  );
});
stream.run();
