/**
 * W10: flows on their way up. Numbered datagrams between two pods of a real agent, so that loss is known end to end and compared
 * with what the agent says it lost; what an event costs the agent; how soon it reaches a follower; what the traffic pays.
 */
import { until } from '../kit/until.ts';
import type { Bench } from './bench.ts';
import { type Figure, figureOf, type Metric, quantile } from './figure.ts';
import { TRAFFIC_COST } from './flows-cost.ts';
import type { FollowerReport } from './flows-follower.ts';
import { eventCost } from './flows-program.ts';
import { type Counted, FlowsSite, type Follower, PORTS } from './flows-site.ts';
import { residentMiB, withGarbageCollector } from './memory.ts';

const RATES = { quick: [1_000, 20_000, 100_000], full: [1_000, 5_000, 20_000, 50_000, 100_000] } as const;
/** Of one core: events a second that the store takes, and flows a second to one follower. */
const GOALS = { store: 100_000, follower: 50_000 } as const;
/** Where waiting times are promised: beyond, a follower needs more than one of two cores. */
const PROMPT_RATE = 20_000;
const PROMPT_MS = 50;
const QUERY_MS = 100;
/** More than the history holds, so that who does not read is overtaken. */
const FLOOD = 300_000;

/** One section after the other; what one finds out is not lost with another that fails. */
export async function flowExport(bench: Bench): Promise<Figure[]> {
  await using sections = new Sections();
  const seconds = bench.quick ? 2 : 5;
  for (const rate of RATES[bench.quick ? 'quick' : 'full']) {
    await sections.on(`${rate}/s`, (site) => atRate(site, rate, seconds));
  }
  await sections.on('followers over HTTP', (site) => overHttp(site, seconds));
  await sections.on('UDP pairs', (site) => newPairs(site, bench.quick ? 20_000 : 100_000));
  await sections.on('TCP connections', (site) => tcp(site, bench, seconds));
  await sections.on('flood', overwhelmed);
  await sections.on('queries', queries);
  await sections.on('memory', memory);
  await sections.closeSite();
  await sections.run('program', async () => [await eventCost(bench)]);
  for (const [name, measure] of Object.entries(TRAFFIC_COST)) await sections.run(name, () => measure(bench));
  return sections.figures;
}

/** What they found out so far, and the node that those share who follow its flows. */
class Sections implements AsyncDisposable {
  readonly figures: Figure[] = [];
  #site: FlowsSite | undefined;

  /** On the node of the section before, or on a new one after a failure. */
  async on(name: string, measure: (site: FlowsSite) => Promise<Figure[]>): Promise<void> {
    await this.run(name, async () => {
      this.#site ??= await withGarbageCollector(() => FlowsSite.start());
      try {
        return await measure(this.#site);
      } catch (error) {
        await this.closeSite();
        throw error;
      }
    });
  }

  /** A section that fails is a goal that is missed. */
  async run(name: string, measure: () => Promise<Figure[]>): Promise<void> {
    const from = performance.now();
    try {
      this.figures.push(...(await measure()));
    } catch (error) {
      console.error(`bench: W10 ${name}: could not be measured:`, error);
      this.figures.push(notMeasured(name));
    }
    console.log(`bench: W10 ${name}: ${Math.round((performance.now() - from) / 1000)} s`);
  }

  async closeSite(): Promise<void> {
    const site = this.#site;
    this.#site = undefined;
    await site?.[Symbol.asyncDispose]();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.closeSite();
  }
}

function notMeasured(name: string): Figure {
  const figure = one(
    { metric: `${name}: could not be measured`, unit: '', better: 'more', goal: { ratioAtLeast: 1 } },
    { ours: 0, baseline: 1, name: '' },
  );
  return { ...figure, goal: 'to be measured' };
}

/** One event per packet, for nobody, for one and for three followers. */
async function atRate(site: FlowsSite, rate: number, seconds: number): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const count of [0, 1, 3]) {
    const followers: Follower[] = [];
    for (let i = 0; i < count; i++) followers.push(await site.follow('grpc'));
    try {
      const run = await offer(site, followers, { port: PORTS.denied, rate, count: rate * seconds });
      figures.push(...aboutRate(`${rate}/s, ${count} followers`, run, rate, count));
    } finally {
      for (const follower of followers) follower[Symbol.dispose]();
    }
  }
  return figures;
}

/** As NDJSON, where a rate leaves them time. */
async function overHttp(site: FlowsSite, seconds: number): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const count of [1, 3]) {
    const followers: Follower[] = [];
    for (let i = 0; i < count; i++) followers.push(await site.follow('http'));
    try {
      const run = await offer(site, followers, { port: PORTS.denied, rate: PROMPT_RATE, count: PROMPT_RATE * seconds });
      figures.push(...aboutRate(`${PROMPT_RATE}/s, ${count} followers over HTTP`, run, PROMPT_RATE, count, false));
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
  const cpuSeconds = site.cpuSeconds() - cpu;
  const { encoded } = difference(await site.counted(), before);
  return { sent, perSecond, cpuSeconds, counted: { ...counted, encoded }, reports };
}

function difference(now: Counted, before: Counted): Counted {
  return {
    stored: now.stored - before.stored,
    ring: now.ring - before.ring,
    queue: now.queue - before.queue,
    subscriber: now.subscriber - before.subscriber,
    encoded: now.encoded - before.encoded,
  };
}

function aboutRate(what: string, run: Run, rate: number, followers: number, isPromised = true): Figure[] {
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
      { metric: `${what}: agent CPU per event`, unit: 'us', better: 'less' },
      { ours: (cpuSeconds * 1e6) / sent, baseline: 1e6 / rate, name: 'a core' },
    ),
  ];
  const goal = isPromised && rate >= PROMPT_RATE && ([GOALS.store, GOALS.follower] as const)[followers];
  if (goal) {
    figures.push(
      one(
        {
          metric: `${what}: ${followers === 0 ? 'events a core stores' : 'flows a core feeds one follower with'}`,
          ...{ unit: '1/s', better: 'more', goal: { ratioAtLeast: 1 } },
        },
        { ours: sent / cpuSeconds, baseline: goal, name: 'goal' },
      ),
    );
  }
  if (followers > 0) {
    figures.push(
      one(
        {
          metric: `${what}: encoded per event`,
          unit: '',
          better: 'less',
          ...(rate <= GOALS.follower && { goal: { oursAtMost: 1.01 } }),
        },
        { ours: counted.encoded / counted.stored, baseline: followers, name: 'once for each' },
      ),
    );
  }
  for (const [i, report] of reports.entries()) {
    const which = `${what}: follower ${i + 1}`;
    figures.push(
      one(
        {
          ...{ metric: `${which}, datagrams read`, unit: '', better: 'more' },
          ...(followers === 1 && isPromised && rate <= GOALS.follower && { goal: { ratioAtLeast: 1 } }),
        },
        { ours: report.datagrams, baseline: sent, name: 'sent' },
      ),
      one(
        {
          ...{ metric: `${which}, packet to line p99`, unit: 'ms', better: 'less' },
          ...(rate <= PROMPT_RATE && { goal: { oursAtMost: PROMPT_MS } }),
        },
        { ours: report.p99Ms, baseline: PROMPT_MS, name: `${PROMPT_MS} ms` },
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

/** The store is full, and nothing matches, so that all of it is looked at. */
async function queries(site: FlowsSite): Promise<Figure[]> {
  await fill(site);
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
  const { records } = await site.held();
  const figures: Figure[] = [];
  for (const [name, filter] of [
    ['a port', 'port=1'],
    ['a label', 'label=app%3Dnobody'],
  ] as const) {
    figures.push(
      one(
        {
          metric: `query for ${name}, ${records} records, p99`,
          unit: 'ms',
          better: 'less',
          goal: { oursAtMost: QUERY_MS },
        },
        { ours: quantile(await times(filter), 0.99), baseline: QUERY_MS, name: `${QUERY_MS} ms` },
      ),
    );
  }
  return figures;
}

/** As long as there is room in the history. */
async function fill(site: FlowsSite): Promise<void> {
  for (;;) {
    const { records, capacity } = await site.held();
    if (records >= capacity) return;
    await offer(site, [], { port: PORTS.denied, rate: 0, count: 100_000 });
  }
}

/** The history is full and every kind of follower was there: a million events more must not leave anything. */
async function memory(site: FlowsSite): Promise<Figure[]> {
  await fill(site);
  const before = await residentMiB(site.node.agentPid);
  for (let i = 0; i < 4; i++) await offer(site, [], { port: PORTS.denied, rate: 0, count: 250_000 });
  const after = await residentMiB(site.node.agentPid);
  return [
    one(
      { metric: 'VmRSS after a million events more', unit: 'MiB', better: 'less', goal: { ratioAtLeast: 0.97 } },
      { ours: after, baseline: before, name: 'before them' },
    ),
  ];
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
