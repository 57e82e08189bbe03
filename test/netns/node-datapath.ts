/**
 * Run as a process of its own inside a node's network namespace: the datapath of that node, asked line by line over stdin
 * ({ id, method, words }) and answering likewise. The test is the agent: nodes-rig.ts.
 */
import { createInterface } from 'node:readline';
import { createKernelDatapath } from '../../agent/datapath/kernel.ts';
import { dropReasonName, eventTypeName, flowEvent } from '../../agent/datapath/layout.gen.ts';
import { addressOf } from '../../agent/datapath/map/addresses.ts';
import { createLogger } from '../../agent/run/log.ts';

const [pinDirectory = ''] = process.argv.slice(2);
const datapath = await createKernelDatapath({
  config: {
    pinDirectory,
    attachMode: process.env.WEIR_TEST_ATTACH === 'clsact' ? 'clsact' : 'auto',
    xdpMode: process.env.WEIR_TEST_XDP === 'native' ? 'native' : 'auto',
    newConnectionsPerSecond: 20_000,
    newConnectionsBurst: 65_536,
    ringBufferMiB: 1,
    eventQueueRecords: 4096,
    reportIntervalSeconds: 5,
    services: process.env.WEIR_TEST_SERVICES === '1',
  },
  log: createLogger({ level: process.env.WEIR_TEST_LOG === '1' ? 'debug' : 'error', format: 'text' }),
  maxEntries: { conntrack4: 4096, conntrack6: 4096 },
});

const events: object[] = [];
datapath.onEvents((records, count) => {
  for (let i = 0; i < count; i++) {
    const event = flowEvent.decode(records, i * flowEvent.size);
    if (event.family === 0) continue;
    events.push({
      type: eventTypeName[event.type],
      reason: dropReasonName[event.reason]?.slice('DROP_'.length),
      source: addressOf(event.source, event.family),
      destination: addressOf(event.destination, event.family),
      port: event.destinationPort,
      protocol: event.protocol,
      identity: event.identity,
      length: event.length,
    });
  }
});

const methods: Record<string, (...words: never[]) => unknown> = {
  replace: datapath.replace,
  apply: datapath.apply,
  read: datapath.read,
  wire: datapath.wire,
  attachNode: datapath.attachNode as never,
  detachNode: datapath.detachNode as never,
  devicePrograms: datapath.devicePrograms as never,
  setDenyCidrs: datapath.setDenyCidrs as never,
  events: () => events.splice(0),
  drops: () =>
    Object.fromEntries(
      datapath.counters().drops.map(({ reason, direction, count }) => [`${reason}/${direction}`, count.packets]),
    ),
};

/** JSON has no undefined; rows have no null. */
function withUndefined(value: unknown): unknown {
  if (value === null) return undefined;
  if (Array.isArray(value)) return value.map(withUndefined);
  if (typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([key, of]) => [key, withUndefined(of)]));
}

for await (const line of createInterface({ input: process.stdin })) {
  const { id, method, words } = JSON.parse(line) as { id: number; method: string; words: never[] };
  let answer: object;
  try {
    answer = { id, result: await methods[method]?.(...(words.map(withUndefined) as never[])) };
  } catch (error) {
    answer = { id, error: error instanceof Error ? `${error.stack}\n${String(error.cause ?? '')}` : String(error) };
  }
  process.stdout.write(
    `${JSON.stringify(answer, (_, value) => (typeof value === 'bigint' ? Number(value) : value))}\n`,
  );
}
await datapath.close();
process.exit(0);
