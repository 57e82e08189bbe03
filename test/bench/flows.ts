/**
 * W10: flows on their way up. Numbered datagrams between two pods of a real agent, so that loss is known end to end and compared
 * with what the agent says it lost; what an event costs the agent; how soon it reaches a follower; what the traffic pays.
 */
import { until } from '../kit/until.ts';
import type { Bench } from './bench.ts';
import { type Figure, figureOf, type Metric, quantile } from './figure.ts';
import { trafficCost } from './flows-cost.ts';
import type { FollowerReport } from './flows-follower.ts';
import { eventCost } from './flows-program.ts';
import { type Counted, FlowsSite, type Follower, PORTS } from './flows-site.ts';
import { residentMiB, withGarbageCollector } from './memory.ts';

const RATES = { quick: [1_000, 20_000, 100_000], full: [1_000, 5_000, 20_000, 50_000, 100_000] } as const;
/** A core at 100,000 events a second; a follower of 50,000 a second. */
const GOALS_US = { store: 10, follower: 20 } as const;
/** More than the history holds, so that who does not read is overtaken. */
const FLOOD = 300_000;

export async function flowExport(bench: Bench): Promise<Figure[]> {
  return [...(await fromPacketToFollower(bench)), await eventCost(bench), ...(await trafficCost(bench))];
}

/** What an event costs and becomes, on one node, under one load after the other. */
export async function fromPacketToFollower(bench: Bench): Promise<Figure[]> {
  const figures: Figure[] = [];
  await using site = await withGarbageCollector(() => FlowsSite.start());
  const seconds = bench.quick ? 2 : 5;
  for (const rate of RATES[bench.quick ? 'quick' : 'full']) figures.push(...(await atRate(site, rate, seconds)));
  figures.push(...(await newPairs(site, bench.quick ? 20_000 : 100_000)));
  figures.push(...(await tcp(site, bench, seconds)));
  figures.push(...(await overwhelmed(site)));
  figures.push(...(await queries(site)));
  figures.push(await memory(site));
  return figures;
}

/** One event per packet, for nobody, for one and for three followers. */
async function atRate(site: FlowsSite, rate: number, seconds: number): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const kinds of [[], ['grpc'], ['grpc', 'grpc', 'http']] as const) {
    const followers: Follower[] = [];
    for (const kind of kinds) followers.push(await site.follow(kind));
    try {
      const run = await offer(site, followers, { port: PORTS.denied, rate, count: rate * seconds });
      figures.push(...aboutRate(`${rate}/s, ${kinds.length} followers`, run, rate, kinds.length));
    } finally {
      for (const follower of followers) follower[Symbol.dispose]();
    }
  }
  return figures;
}

interface Run {
  readonly sent: number;
  readonly perSecond: number;
  /** Of the agent. */
  readonly cpuSeconds: number;
  /** What the agent counted meanwhile. */
  readonly counted: Counted;
  readonly reports: readonly FollowerReport[];
}

/** Sends datagrams, and waits until everybody has read them or has been told of them. */
async function offer(
  site: FlowsSite,
  followers: readonly Follower[],
  { port, rate, count }: { readonly port: number; readonly rate: number; readonly count: number },
): Promise<Run> {
  const before = await site.counted();
  for (const follower of followers) await follower.begin(port);
  const cpu = site.cpuSeconds();
  const { sent, perSecond } = await site.send(port, count, rate);
  const counted = await until(
    async () => {
      const now = difference(await site.counted(), before);
      return now.stored + now.ring + now.queue >= sent && now;
    },
    { what: 'every packet to be stored or counted as lost', timeoutMs: 30_000, everyMs: 100 },
  );
  const reports = await Promise.all(followers.map((follower) => follower.accountsFor(sent)));
  return { sent, perSecond, cpuSeconds: site.cpuSeconds() - cpu, counted, reports };
}

function difference(now: Counted, before: Counted): Counted {
  return {
    stored: now.stored - before.stored,
    ring: now.ring - before.ring,
    queue: now.queue - before.queue,
    subscriber: now.subscriber - before.subscriber,
  };
}

function aboutRate(what: string, run: Run, rate: number, followers: number): Figure[] {
  const { sent, cpuSeconds, counted, reports, perSecond } = run;
  const figures = [
    exactly(what, sent, [
      counted.stored + counted.ring + counted.queue,
      ...reports.map((report) => report.datagrams + lostOf(report)),
    ]),
    one(
      { metric: `${what}: events that reach the store`, unit: '', better: 'more', goal: { ratioAtLeast: 1 } },
      { ours: counted.stored, baseline: sent, name: `sent at ${Math.round(perSecond)}/s` },
    ),
    one(
      {
        ...{ metric: `${what}: agent CPU per event`, unit: 'us', better: 'less' },
        ...(followers < 2 &&
          rate >= 20_000 && { goal: { oursAtMost: GOALS_US[followers === 0 ? 'store' : 'follower'] } }),
      },
      { ours: (cpuSeconds * 1e6) / sent, baseline: 1e6 / rate, name: 'a core' },
    ),
  ];
  for (const [i, report] of reports.entries()) {
    const which = `${what}: follower ${i + 1}`;
    figures.push(
      one(
        { metric: `${which}, datagrams read`, unit: '', better: 'more' },
        { ours: report.datagrams, baseline: sent, name: 'sent' },
      ),
      one(
        {
          ...{ metric: `${which}, packet to line p99`, unit: 'ms', better: 'less' },
          ...(rate <= 20_000 && { goal: { oursAtMost: 50 } }),
        },
        { ours: report.p99Ms, baseline: 50, name: '50 ms' },
      ),
    );
  }
  return figures;
}

function lostOf({ lost: { ring, queue, history } }: FollowerReport): number {
  return ring + queue + history;
}

/** Allowed datagrams, each the first of its pair of ports: a new connection each. */
async function newPairs(site: FlowsSite, rate: number): Promise<Figure[]> {
  using follower = await site.follow('grpc');
  const end = await site.sink(PORTS.allowed);
  try {
    const { sent, counted, reports } = await offer(site, [follower], { port: PORTS.allowed, rate, count: rate });
    const [report] = reports;
    return [
      one(
        { metric: `UDP pairs, ${rate}/s: read or told as lost`, unit: '', better: 'more', goal: { ratioAtLeast: 1 } },
        { ours: (report?.datagrams ?? 0) + (report ? lostOf(report) : 0), baseline: sent, name: 'sent' },
      ),
      one(
        {
          metric: `UDP pairs, ${rate}/s: events that reach the store`,
          unit: '',
          better: 'more',
          goal: { ratioAtLeast: 1 },
        },
        { ours: counted.stored, baseline: counted.stored + counted.ring + counted.queue, name: 'made' },
      ),
    ];
  } finally {
    end();
  }
}

/** Several events each; what is missing in the records' own numbers must be what was told. */
async function tcp(site: FlowsSite, bench: Bench, seconds: number): Promise<Figure[]> {
  using follower = await site.follow('grpc');
  await bench.load.serve(site.node.bed, site.server.netns);
  await follower.begin(0);
  const before = await site.counted();
  const { perSecond = 0 } = await bench.load.connections(site.client.netns, site.server.ipv4, 8, seconds);
  const report = await follower.settled();
  const { stored, ring, queue } = difference(await site.counted(), before);
  return [
    one(
      { metric: 'TCP connections: records missing and told', unit: '', better: 'more', goal: { ratioAtLeast: 1 } },
      { ...same(report.missing, report.lost.history), name: 'records told as lost' },
    ),
    one(
      { metric: `TCP, ${Math.round(perSecond)} connections/s: events that reach the store`, unit: '', better: 'more' },
      { ours: stored, baseline: stored + ring + queue, name: 'made' },
    ),
  ];
}

/** As fast as it goes; one follower reads, one over HTTP too, one does not until it is over. */
async function overwhelmed(site: FlowsSite): Promise<Figure[]> {
  using quick = await site.follow('grpc');
  using http = await site.follow('http');
  using asleep = await site.follow('grpc');
  await asleep.pause();
  const before = await site.counted();
  for (const follower of [quick, http, asleep]) await follower.begin(PORTS.denied);
  const { sent, perSecond } = await site.send(PORTS.denied, FLOOD, 0);
  const reports = [await quick.accountsFor(sent), await http.accountsFor(sent)];
  await asleep.resume();
  reports.push(await asleep.accountsFor(sent));
  const { ring, queue, subscriber } = difference(await site.counted(), before);
  const what = `flood of ${Math.round(perSecond)}/s, 3 followers, one not reading`;
  const lost = reports.map(({ lost: { history } }) => history);
  return [
    exactly(
      what,
      sent,
      reports.map((report) => report.datagrams + lostOf(report)),
    ),
    exactly(
      `${what}, before the store`,
      ring + queue,
      reports.map(({ lost }) => lost.ring + lost.queue),
    ),
    exactly(`${what}, by the agent's counter`, subscriber, [lost.reduce((all, each) => all + each, 0)]),
    one(
      { metric: `${what}: read by the first`, unit: '', better: 'more' },
      { ours: reports[0]?.datagrams ?? 0, baseline: reports[2]?.datagrams ?? 1, name: 'the one not reading' },
    ),
  ];
}

/** The store is full by now, and nothing matches, so that all of it is looked at. */
async function queries(site: FlowsSite): Promise<Figure[]> {
  const times = async (filter: string) => {
    const taken: number[] = [];
    for (let i = 0; i < 11; i++) {
      const from = performance.now();
      const { status, body } = await site.node.get(`/v1/flows?last=10&${filter}`);
      taken.push(performance.now() - from);
      if (status !== 200 || !body.includes('"flows":[]')) throw new Error(`${filter}: ${status} ${body.slice(0, 300)}`);
    }
    return taken.slice(1);
  };
  const { body } = await site.node.get('/metrics');
  const records = /^weir_flow_records (\d+)/m.exec(body)?.[1];
  const figures: Figure[] = [];
  for (const [name, filter] of [
    ['a port', 'port=1'],
    ['a label', 'label=app%3Dnobody'],
  ] as const) {
    figures.push(
      one(
        { metric: `query for ${name}, ${records} records, p99`, unit: 'ms', better: 'less', goal: { oursAtMost: 100 } },
        { ours: quantile(await times(filter), 0.99), baseline: 100, name: '100 ms' },
      ),
    );
  }
  return figures;
}

/** The history is full and every kind of follower was there: a million events more must not leave anything. */
async function memory(site: FlowsSite): Promise<Figure> {
  const before = await residentMiB(site.node.agentPid);
  for (let i = 0; i < 4; i++) await offer(site, [], { port: PORTS.denied, rate: 0, count: 250_000 });
  const after = await residentMiB(site.node.agentPid);
  return one(
    { metric: 'VmRSS after a million events more', unit: 'MiB', better: 'less', goal: { ratioAtLeast: 0.97 } },
    { ours: after, baseline: before, name: 'before them' },
  );
}

/** What was accounted for by each, against what was sent: 1 only if they agree exactly, less for too few and too many alike. */
function exactly(what: string, sent: number, accounted: readonly number[]): Figure {
  const worst = accounted.reduce((far, each) => (Math.abs(each - sent) > Math.abs(far - sent) ? each : far), sent);
  return one(
    { metric: `${what}: read or told as lost`, unit: '', better: 'more', goal: { ratioAtLeast: 1 } },
    { ...same(worst, sent), name: 'sent' },
  );
}

/** As a ratio that is 1 only if both are equal, 0 of 0 included. */
function same(found: number, expected: number): { ours: number; baseline: number } {
  if (found === expected) return { ours: expected || 1, baseline: expected || 1 };
  return { ours: expected - Math.abs(found - expected), baseline: expected || 1 };
}

function one(
  metric: Omit<Metric, 'workload'>,
  { ours, baseline, name }: { readonly ours: number; readonly baseline: number; readonly name: string },
): Figure {
  return figureOf({ workload: 'W10', ...metric }, { ours: [ours], baseline: [baseline], baselineName: name, noise: 0 });
}
