/**
 * What the traffic pays for being told of. Weir: the same agent that tells nothing of what is established, or cannot tell at all
 * (it is stopped and the ring full), against one that tells as it always does, and one that tells of every packet. Others:
 * `conntrack -E` beside connection tracking, tcpdump beside bare veth, each against itself without anybody listening.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { Bench } from './bench.ts';
import { type Figure, figureOf, type Goal, noiseOf } from './figure.ts';
import { FlowsSite, PORTS } from './flows-site.ts';
import { type Contender, contest, numbers, type Sample } from './rounds.ts';
import { CONNTRACK_ONLY, routed } from './site.ts';

/** Established connections are reported so seldom that no run sees it. */
const SILENT = ['--report-interval-seconds=3600'];
const EVERY_PACKET = ['--report-interval-seconds=0'];

/** Of one run. Seven comparisons of eight rounds of three runs have to fit into some minutes. */
const secondsOf = (bench: Bench) => Math.min(bench.seconds, 2);
/** Of the two that have to keep a promise. */
const promisedSecondsOf = (bench: Bench) => Math.min(bench.seconds, 3);

/** Sections by name. */
export const TRAFFIC_COST: Readonly<Record<string, (bench: Bench) => Promise<Figure[]>>> = {
  'traffic, aggregated': (bench) => established(bench, 'aggregated, a gRPC follower', [], { ratioAtLeast: 0.99 }),
  'traffic, an event per packet': (bench) =>
    established(bench, 'an event per packet', EVERY_PACKET, { ratioAtLeast: 0.85 }),
  'traffic, connections': opened,
  'traffic, conntrack -E': (bench) =>
    listened(bench, { name: 'conntrack -E', rules: CONNTRACK_ONLY, words: ['conntrack', '-E', '-o', 'timestamp'] }),
  'traffic, tcpdump': (bench) =>
    listened(bench, { name: 'tcpdump', rules: undefined, words: ['tcpdump', '-nn', '-i', 'pod20'] }),
};

/** One byte to and fro on standing connections. */
async function established(bench: Bench, what: string, flags: readonly string[], goal: Goal): Promise<Figure[]> {
  await using silent = await FlowsSite.start(SILENT);
  await using telling = await FlowsSite.start(flags);
  for (const site of [silent, telling]) await bench.load.serve(site.node.bed, site.server.netns);
  using _reader = flags.length === 0 ? await telling.follow('grpc') : undefined;
  const contender = (name: string, site: FlowsSite): Contender => ({
    name,
    run: () => bench.load.requestResponse(site.client.netns, site.server.ipv4, 8, promisedSecondsOf(bench)),
  });
  const before = await telling.counted();
  const contenders = { ours: contender(what, telling), baseline: contender('silent', silent) };
  const figures = await compare(bench, `request/response, ${what}`, contenders, goal);
  const after = await telling.counted();
  const made = after.stored - before.stored + after.ring - before.ring + after.queue - before.queue;
  console.log(`bench: W10 ${what}: ${made} events, ${after.ring - before.ring} lost in the ring`);
  return figures;
}

/** Connections come and go: some events each. */
async function opened(bench: Bench): Promise<Figure[]> {
  await using telling = await FlowsSite.start();
  await using mute = await FlowsSite.start();
  for (const site of [telling, mute]) await bench.load.serve(site.node.bed, site.server.netns);
  using _reader = await telling.follow('grpc');
  // Whatever follows finds the ring full.
  process.kill(mute.node.agentPid, 'SIGSTOP');
  await mute.send(PORTS.denied, 60_000, 0);
  try {
    const run = (site: FlowsSite) => bench.load.connections(site.client.netns, site.server.ipv4, 8, secondsOf(bench));
    const ours = { name: 'Weir', run: () => run(telling) };
    return await compare(bench, 'connections, a gRPC follower', {
      ours,
      baseline: { name: 'ring full', run: () => run(mute) },
    });
  } finally {
    process.kill(mute.node.agentPid, 'SIGCONT');
  }
}

/** Others, each against itself without anybody listening: connections, which conntrack tells of, and packets, which tcpdump does. */
async function listened(
  bench: Bench,
  { name, rules, words }: { readonly name: string; readonly rules: string | undefined; readonly words: string[] },
): Promise<Figure[]> {
  const site = await routed(bench.bed, name, rules);
  await bench.load.serve(bench.bed, site.server);
  const figures: Figure[] = [];
  for (const [what, load] of [
    ['connections', bench.load.connections.bind(bench.load)],
    ['request/response', bench.load.requestResponse.bind(bench.load)],
  ] as const) {
    const run = () => load(site.client, site.ipv4, 8, secondsOf(bench));
    const heard = async (): Promise<Sample> => {
      const listener = bench.bed.spawn(['sh', '-c', 'exec "$@" > /dev/null 2>&1', 'sh', ...words], site.node);
      try {
        return await run();
      } finally {
        await ended(listener);
      }
    };
    const both = { ours: { name, run: heard }, baseline: { name: 'nobody listens', run } };
    figures.push(...(await compare(bench, `${what}, ${name} (not Weir)`, both)));
  }
  return figures;
}

async function ended(child: ChildProcess): Promise<void> {
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
}

async function compare(
  bench: Bench,
  what: string,
  contenders: { readonly ours: Contender; readonly baseline: Contender },
  goal?: Goal,
): Promise<Figure[]> {
  const result = await contest(contenders, bench.rounds);
  return (['perSecond', 'cpuUs'] as const).map((key) => {
    const [before, after] = [numbers(result.baseline, key), numbers(result.again, key)];
    const baseline = before.map((value, round) => (value + (after[round] ?? value)) / 2);
    const metric =
      key === 'perSecond'
        ? ({ metric: what, unit: '1/s', better: 'more' } as const)
        : ({ metric: `${what}: CPU of the machine`, unit: 'us', better: 'less' } as const);
    return figureOf(
      { workload: 'W10', ...metric, ...(goal && key === 'perSecond' && { goal }) },
      {
        ours: numbers(result.ours, key),
        baseline,
        baselineName: contenders.baseline.name,
        noise: noiseOf(before, after),
      },
    );
  });
}
