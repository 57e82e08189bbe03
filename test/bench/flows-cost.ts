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

export async function trafficCost(bench: Bench): Promise<Figure[]> {
  return [...(await established(bench)), ...(await opened(bench)), ...(await others(bench))];
}

/** One byte to and fro on standing connections. */
async function established(bench: Bench): Promise<Figure[]> {
  await using silent = await FlowsSite.start(SILENT);
  await using aggregated = await FlowsSite.start();
  await using everyPacket = await FlowsSite.start(EVERY_PACKET);
  const sites = [silent, aggregated, everyPacket];
  for (const site of sites) await bench.load.serve(site.node.bed, site.server.netns);
  using _reader = await aggregated.follow('grpc');
  const contender = (name: string, site: FlowsSite): Contender => ({
    name,
    run: () => bench.load.requestResponse(site.client.netns, site.server.ipv4, 8, bench.seconds),
  });
  const figures: Figure[] = [];
  for (const [what, site, goal] of [
    ['aggregated, a gRPC follower', aggregated, 0.99],
    ['an event per packet', everyPacket, 0.85],
  ] as const) {
    const before = await site.counted();
    const ours = contender(what, site);
    const baseline = contender('silent', silent);
    figures.push(...(await compare(bench, `request/response, ${what}`, { ours, baseline }, { ratioAtLeast: goal })));
    const after = await site.counted();
    const made = after.stored - before.stored + after.ring - before.ring + after.queue - before.queue;
    console.log(`bench: W10 ${what}: ${made} events, ${after.ring - before.ring} lost in the ring`);
  }
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
    const run = (site: FlowsSite) => bench.load.connections(site.client.netns, site.server.ipv4, 8, bench.seconds);
    const ours = { name: 'Weir', run: () => run(telling) };
    return await compare(bench, 'connections, a gRPC follower', {
      ours,
      baseline: { name: 'ring full', run: () => run(mute) },
    });
  } finally {
    process.kill(mute.node.agentPid, 'SIGCONT');
  }
}

/** Their own cost, and their loss of what Weir tells in full. */
async function others(bench: Bench): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const { name, rules, words } of [
    { name: 'conntrack -E', rules: CONNTRACK_ONLY, words: ['conntrack', '-E', '-o', 'timestamp'] },
    { name: 'tcpdump', rules: undefined, words: ['tcpdump', '-nn', '-i', 'pod20'] },
  ]) {
    const site = await routed(bench.bed, name, rules);
    await bench.load.serve(bench.bed, site.server);
    const run = () => bench.load.connections(site.client, site.ipv4, 8, bench.seconds);
    const heard = async (): Promise<Sample> => {
      const listener = bench.bed.spawn(['sh', '-c', 'exec "$@" > /dev/null 2>&1', 'sh', ...words], site.node);
      try {
        return await run();
      } finally {
        await ended(listener);
      }
    };
    const both = { ours: { name, run: heard }, baseline: { name: 'nobody listens', run } };
    figures.push(...(await compare(bench, `connections, ${name} (not Weir)`, both)));
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
