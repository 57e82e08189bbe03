/**
 * Numbered packets, one event each, through an agent with little room everywhere: what each follower has read and been told
 * of as lost is what was sent, to the packet, wherever it was lost; and who does not read costs nobody else anything.
 */
import * as assert from 'uvu/assert';
import type { FollowerReport } from '../bench/flows-follower.ts';
import { FlowsSite, type Follower, PORTS } from '../bench/flows-site.ts';
import { suite } from '../kit/suite.ts';

const LITTLE = ['--ring-buffer-mib=1', '--event-queue-records=1024', '--flow-memory-mib=1'];

const test = suite('flows: exactness from packet to follower');

const total = ({ datagrams, lost }: FollowerReport) => datagrams + lost.ring + lost.queue + lost.history;

async function counted(site: FlowsSite) {
  const { ring, queue, subscriber } = await site.counted();
  return { ring, queue, subscriber };
}

async function begin(followers: readonly Follower[]): Promise<void> {
  for (const follower of followers) await follower.begin(PORTS.denied);
}

test('sent is read plus told, for each follower, by stage', async () => {
  await using site = await FlowsSite.start(LITTLE);
  using quick = await site.follow('grpc');
  using http = await site.follow('http');
  using asleep = await site.follow('grpc');
  const followers = [quick, http, asleep];

  // The agent stands still: the kernel's ring (6,000 events) has no room for most of them.
  await begin(followers);
  process.kill(site.node.agentPid, 'SIGSTOP');
  await site.send(PORTS.denied, 20_000, 0);
  process.kill(site.node.agentPid, 'SIGCONT');
  for (const follower of followers) {
    const report = await follower.accountsFor(20_000);
    assert.is(total(report), 20_000, JSON.stringify(report));
    assert.ok(report.lost.ring > 10_000, JSON.stringify(report));
  }

  // One does not read while the history (5,000 records) turns many times.
  await begin(followers);
  await asleep.pause();
  const before = await counted(site);
  await site.send(PORTS.denied, 100_000, 20_000);
  const awake = [await quick.accountsFor(100_000), await http.accountsFor(100_000)];
  await asleep.resume();
  const reports = [...awake, await asleep.accountsFor(100_000)];
  const after = await counted(site);
  for (const report of reports) {
    assert.is(total(report), 100_000, JSON.stringify(report));
    // the words of losses before the store have numbers of their own
    if (report.lost.ring + report.lost.queue === 0) assert.is(report.missing, report.lost.history);
    else assert.ok(report.missing > report.lost.history, JSON.stringify(report));
    assert.is(report.lost.ring, after.ring - before.ring);
    assert.is(report.lost.queue, after.queue - before.queue);
  }
  const history = reports.reduce((sum, { lost }) => sum + lost.history, 0);
  assert.is(history, after.subscriber - before.subscriber, 'what the agent counts is what the followers were told');
  assert.ok((reports[2]?.lost.history ?? 0) > 0, 'the one asleep was overtaken');
});

test.run();
