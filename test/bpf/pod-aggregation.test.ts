/** How many events a connection is worth at each level, and whose level counts (enum aggregation, bpf/abi/event.h). */
import * as assert from 'uvu/assert';
import { Aggregation, EventType } from '../../agent/datapath/layout.gen.ts';
import { DatapathFixture, type Run, type TestPod } from '../kit/datapath-fixture.ts';
import { setIdentity, setPolicy } from '../kit/datapath-policy.ts';
import { tcp, udp } from '../kit/packet.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';

const OPEN = 16;
const test = privileged(suite('aggregation'), 'root');
const datapath = DatapathFixture.open();
setPolicy(datapath, OPEN, {});
for (const identity of [1001, 1002]) setIdentity(datapath, identity);
const client = datapath.pod({ identity: 1001, policy: OPEN, ipv4: '10.9.0.2' });
const server = datapath.pod({ identity: 1002, policy: OPEN, ipv4: '10.9.0.3' });
test.after(() => datapath[Symbol.dispose]());

const {
  AGGREGATION_OF_NODE: OF_NODE,
  AGGREGATION_NONE: NONE,
  AGGREGATION_LOW: LOW,
  AGGREGATION_MEDIUM: MEDIUM,
  AGGREGATION_MAXIMUM: MAXIMUM,
} = Aggregation;
const WORDS: Readonly<Record<number, string>> = {
  [EventType.EVENT_NEW]: 'new',
  [EventType.EVENT_REPLY]: 'reply',
  [EventType.EVENT_UPDATE]: 'update',
  [EventType.EVENT_END]: 'end',
};
const word = ({ events }: Run): string => events.map(({ type }) => WORDS[type]).join('+') || '-';

function setLevel(pod: TestPod, aggregation: number): void {
  datapath.setEndpoint(pod, { aggregation });
  datapath.bumpEpoch(); // as the agent does for every change of a row
}

let nextPort = 20_000;
/** What each packet of a whole connection is worth, in order. */
async function connection(): Promise<string> {
  const there = { from: client.ipv4, to: server.ipv4, sport: nextPort++, dport: 80 };
  const back = { from: server.ipv4, to: client.ipv4, sport: 80, dport: there.sport };
  const steps = [
    [client, tcp(there).syn()],
    [server, tcp(back).synAck()],
    [client, tcp(there).ack()],
    [client, tcp(there).data(10)],
    [server, tcp(back).data(10)],
    [server, tcp(back).ack()],
    [client, tcp(there).fin()],
    [server, tcp(back).fin()],
    [client, tcp(there).ack()],
  ] as const;
  const words: string[] = [];
  for (const [from, packet] of steps) words.push(word(await datapath.fromPod(from, packet)));
  return words.join(' ');
}

const MEDIUM_SAYS = 'new reply - - - - update update end';
const SAYS: readonly (readonly [name: string, level: number, words: string])[] = [
  ['of the node', OF_NODE, MEDIUM_SAYS],
  ['none', NONE, 'new reply update update update update update update end'],
  ['low', LOW, 'new reply update update update - update update end'],
  ['medium', MEDIUM, MEDIUM_SAYS],
  ['maximum', MAXIMUM, 'new - - - - - - - end'],
];

for (const [name, level, words] of SAYS) {
  test(`${name}: asked for by the initiator's pod, or by the responder's`, async () => {
    setLevel(client, level);
    assert.is(await connection(), words);
    setLevel(client, OF_NODE);
    setLevel(server, level);
    assert.is(await connection(), words);
    setLevel(server, OF_NODE);
  });
}

test('of two pods the one that wants to know more is heard', async () => {
  setLevel(client, MAXIMUM);
  setLevel(server, NONE);
  assert.is(await connection(), SAYS[1]?.[2]);
  setLevel(client, NONE);
  setLevel(server, MAXIMUM);
  assert.is(await connection(), SAYS[1]?.[2]);
  setLevel(client, OF_NODE);
  assert.is(await connection(), SAYS[4]?.[2], 'and who asks is heard before the node');
  setLevel(server, OF_NODE);
});

test('a connection that lives takes the new level with its next packet', async () => {
  const packet = udp({ from: client.ipv4, to: server.ipv4, sport: nextPort++, dport: 53 });
  const send = async () => word(await datapath.fromPod(client, packet));
  assert.equal([await send(), await send()], ['new', '-']);
  setLevel(server, NONE);
  assert.equal([await send(), await send()], ['update', 'update']);
  setLevel(server, MAXIMUM);
  assert.equal([await send(), await send()], ['-', '-']);
  setLevel(server, OF_NODE);
  assert.is(await send(), '-');
});

test('signs of life: every second at low, every interval at medium, never at maximum', async () => {
  const packet = udp({ from: client.ipv4, to: server.ipv4, sport: nextPort++, dport: 53 });
  const afterSeconds = async (seconds: number): Promise<string> => {
    const [connection] = datapath.connections().filter(({ key }) => [key.lowPort, key.highPort].includes(nextPort - 1));
    if (connection === undefined) throw new Error('no connection');
    const reported = datapath.clock().jiffies - BigInt(seconds * datapath.hz);
    datapath.setConnection(connection, { reported });
    return word(await datapath.fromPod(client, packet));
  };
  assert.is(word(await datapath.fromPod(client, packet)), 'new');
  assert.equal([await afterSeconds(4), await afterSeconds(5)], ['-', 'update']);
  setLevel(client, LOW);
  assert.equal([await afterSeconds(0), await afterSeconds(1)], ['-', 'update']);
  setLevel(client, MAXIMUM);
  assert.is(await afterSeconds(3600), '-');
  setLevel(client, OF_NODE);
});

test('the node has a level of its own', async () => {
  using quiet = DatapathFixture.open({ config: { aggregation: MAXIMUM } });
  setPolicy(quiet, OPEN, {});
  for (const identity of [1001, 1002]) setIdentity(quiet, identity);
  const a = quiet.pod({ identity: 1001, policy: OPEN, ipv4: '10.9.0.4' });
  const b = quiet.pod({ identity: 1002, policy: OPEN, ipv4: '10.9.0.5' });
  const there = udp({ from: a.ipv4, to: b.ipv4, sport: 1000, dport: 53 });
  const back = udp({ from: b.ipv4, to: a.ipv4, sport: 53, dport: 1000 });
  assert.is(word(await quiet.fromPod(a, there)), 'new');
  assert.is(word(await quiet.fromPod(b, back)), '-');
});

test.run();
