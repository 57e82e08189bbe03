/** Agent events: what happened between two looks at the agent, and how it is asked for. */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { AgentAddresses, type KnownAddress } from '../../agent/api/hubble/agent-addresses.ts';
import {
  AGENT_EVENT,
  type AgentEvent,
  type AgentMoment,
  agentChanges,
  NOTHING,
} from '../../agent/api/hubble/agent-changes.ts';
import { AGENT_EVENTS_MAX, AgentEvents, type AgentEventsRequest } from '../../agent/api/hubble/agent-events.ts';
import { timestamp } from '../../agent/api/hubble/messages.ts';
import type { State } from '../../agent/api/state.ts';
import type { PartyName } from '../../agent/flow/names.ts';
import { type Address, parseAddress } from '../../agent/model/address.ts';
import { suite } from '../kit/suite.ts';

const NAMES = Object.fromEntries(Object.entries(AGENT_EVENT).map(([name, number]) => [number, name]));

function policy(name: string, revision: number, rules = 1) {
  return { ref: { apiVersion: 'v1', kind: 'NetworkPolicy', namespace: 'default', name, uid: '' }, revision, rules };
}
function endpoint(id: number, podName: string, revision = 1, state: 'ready' | 'not-ready' | 'regenerating' = 'ready') {
  return { id, namespace: 'default', podName, podUid: podName, labels: new Map([['k8s:app', 'x']]), revision, state };
}
function moment(policies: readonly ReturnType<typeof policy>[], endpoints: readonly ReturnType<typeof endpoint>[]) {
  return {
    policies: new Map(policies.map((one) => [one.ref.name, one])),
    endpoints: new Map(endpoints.map((one) => [one.id, one])),
  } satisfies AgentMoment;
}
/** "ENDPOINT_CREATED a", in order. */
const inWords = (events: readonly AgentEvent[]) =>
  events.map((event) => {
    const {
      endpoint_update: update,
      endpoint_regenerate: regenerated,
      policy_update: policies,
    } = event as {
      endpoint_update?: { pod_name: string };
      endpoint_regenerate?: { id: number; error?: string };
      policy_update?: { labels: string[] };
    };
    const who = update?.pod_name ?? regenerated?.id ?? policies?.labels[1]?.split('=')[1] ?? '';
    return `${NAMES[event.type]} ${who}`;
  });

const changes = suite('hubble agent events: changes');
const TABLE: readonly (readonly [string, AgentMoment, AgentMoment, readonly string[]])[] = [
  ['nothing', moment([policy('p', 1)], [endpoint(1, 'a')]), moment([policy('p', 1)], [endpoint(1, 'a')]), []],
  [
    'a policy and a pod come',
    NOTHING,
    moment([policy('p', 1)], [endpoint(1, 'a')]),
    ['POLICY_UPDATED p', 'ENDPOINT_CREATED a', 'ENDPOINT_REGENERATE_SUCCESS 1'],
  ],
  [
    'a policy changes',
    moment([policy('p', 1)], [endpoint(1, 'a', 1)]),
    moment([policy('p', 2)], [endpoint(1, 'a', 2)]),
    ['POLICY_UPDATED p', 'ENDPOINT_REGENERATE_SUCCESS 1'],
  ],
  [
    'another pod has the index',
    moment([], [endpoint(1, 'a')]),
    moment([], [endpoint(1, 'b')]),
    ['ENDPOINT_DELETED a', 'ENDPOINT_CREATED b', 'ENDPOINT_REGENERATE_SUCCESS 1'],
  ],
  [
    'a pod of the same name has the index',
    moment([], [endpoint(1, 'a')]),
    moment([], [{ ...endpoint(1, 'a'), podUid: 'another' }]),
    ['ENDPOINT_DELETED a', 'ENDPOINT_CREATED a', 'ENDPOINT_REGENERATE_SUCCESS 1'],
  ],
  ['both go', moment([policy('p', 1)], [endpoint(1, 'a')]), NOTHING, ['ENDPOINT_DELETED a', 'POLICY_DELETED p']],
  [
    'a policy that does not fit',
    moment([], [endpoint(1, 'a', 1)]),
    moment([], [endpoint(1, 'a', 1, 'not-ready')]),
    ['ENDPOINT_REGENERATE_FAILURE 1'],
  ],
  ['a pod that waits', NOTHING, moment([], [endpoint(1, 'a', 0, 'regenerating')]), ['ENDPOINT_CREATED a']],
];
for (const [what, before, now, expected] of TABLE) {
  changes(what, () => assert.equal(inWords(agentChanges(before, now)), expected));
}
changes.run();

const addresses = suite('hubble agent events: addresses');
addresses('who comes, changes and goes is told; what was there at the beginning is known', () => {
  const names = new Map<string, PartyName>();
  const book = new AgentAddresses({ nameOfAddress: (ip) => names.get(ip) });
  const at = (text: string) => parseAddress(text) as Address;
  const row = (ip: string, identity: number) => ({ address: at(ip), identity });
  const told = (set: readonly KnownAddress[], remove: readonly string[] = []) =>
    book.take({ set, remove: remove.map(at) }).map(({ type, ipcache_update: update }) => [NAMES[type], update]);
  const pod = (name: string): PartyName => ({
    ...{ namespace: 'default', pod: name, uid: name, node: '', workload: undefined, addresses: [] },
  });
  names.set('10.1.0.1', pod('a'));
  assert.equal(told([]), []);
  assert.equal(told([row('10.1.0.1', 300), row('fd00::1', 300)]), []);
  names.set('10.1.0.2', pod('b'));
  const b = { cidr: '10.1.0.2/32', namespace: 'default', pod_name: 'b' };
  assert.equal(told([row('10.1.0.2', 301)]), [['IPCACHE_UPSERTED', { ...b, identity: 301, old_identity: undefined }]]);
  assert.equal(told([row('10.1.0.2', 301)]), [], 'nothing anybody sees has changed');
  assert.equal(told([row('10.1.0.2', 302)]), [
    ['IPCACHE_UPSERTED', { ...b, identity: 302, old_identity: { value: 301 } }],
  ]);
  names.clear();
  assert.equal(told([], ['10.1.0.2', 'fd00::1', '10.1.0.9']), [
    ['IPCACHE_DELETED', { ...b, identity: 302 }],
    ['IPCACHE_DELETED', { cidr: 'fd00::1/128', identity: 300, namespace: '', pod_name: '' }],
  ]);
});
addresses.run();

/** An agent whose pods the test changes. */
function agent(startedAt = 1000) {
  const pods: ReturnType<typeof endpoint>[] = [];
  const state = { policies: () => [], endpoints: () => pods } as unknown as Pick<State, 'policies' | 'endpoints'>;
  const events = new AgentEvents(state, 'node-1', startedAt);
  const read = async (request: AgentEventsRequest, signal = new AbortController().signal): Promise<AgentEvent[]> => {
    const found: AgentEvent[] = [];
    for await (const batch of events.read(request, signal)) {
      for (const one of batch) found.push((one as { agent_event: AgentEvent }).agent_event);
    }
    return found;
  };
  return { pods, events, read };
}

const asked = suite('hubble agent events: GetAgentEvents');
let alive: NodeJS.Timeout;
// The timers of a stream keep no process running: in an agent its server does.
asked.before(() => {
  alive = setInterval(() => {}, 1000);
});
asked.after(() => clearInterval(alive));
asked('all, the newest, the oldest, since and until', async () => {
  const { pods, read } = agent(Date.now() - 60_000);
  pods.push(endpoint(1, 'a'));
  const all = ['AGENT_STARTED ', 'ENDPOINT_CREATED a', 'ENDPOINT_REGENERATE_SUCCESS 1'];
  assert.equal(inWords(await read({})), all);
  assert.equal(inWords(await read({ number: 1 })), all.slice(-1));
  assert.equal(inWords(await read({ number: 2, first: true })), all.slice(0, 2));
  assert.equal(inWords(await read({ since: timestamp(Date.now() - 30_000) })), all.slice(1));
  assert.equal(inWords(await read({ until: timestamp(Date.now() - 30_000) })), all.slice(0, 1));
  // since beats the newest: so many from there on
  assert.equal(inWords(await read({ since: timestamp(Date.now() - 90_000), number: 2 })), all.slice(0, 2));
});

asked('first with follow, and a field that is not known, are refused', async () => {
  const { read } = agent();
  const refusal = (request: AgentEventsRequest) =>
    read(request).then(
      () => '',
      (error: Error) => error.message,
    );
  assert.match(await refusal({ first: true, follow: true }), /first and follow/);
  assert.match(await refusal({ $unknowns: [new Uint8Array(1)] }), /newer than this agent/);
});

asked('a follower gets what happens, and ends with its signal or its time', async () => {
  const { pods, events, read } = agent();
  const stop = new AbortController();
  const stream = events.read({ follow: true, number: 1 }, stop.signal);
  assert.is(((await stream.next()).value as object[]).length, 1);
  const more = stream.next();
  pods.push(endpoint(1, 'a'));
  events.look();
  const batch = (await more).value as { agent_event: AgentEvent }[];
  assert.equal(inWords(batch.map(({ agent_event }) => agent_event)), [
    'ENDPOINT_CREATED a',
    'ENDPOINT_REGENERATE_SUCCESS 1',
  ]);
  const last = stream.next();
  stop.abort();
  assert.is((await last).done, true);
  assert.equal(await read({ follow: true, until: timestamp(Date.now() + 30) }), []);
  events.close();
});

asked('a follower who falls behind is told how many it missed; memory is bounded', async () => {
  const { pods, events, read } = agent();
  const stream = events.read({ follow: true, number: 1 }, new AbortController().signal);
  await stream.next();
  pods.push(...Array.from({ length: AGENT_EVENTS_MAX }, (_, i) => endpoint(i + 1, `pod-${i}`)));
  assert.is((await read({})).length, AGENT_EVENTS_MAX);
  const error = await stream.next().then(
    () => '',
    (cause: Error) => cause.message,
  );
  assert.is(error, `${AGENT_EVENTS_MAX} agent events were lost: they came faster than they were read`);
});

asked('whatever happens, who follows knows the pods there are', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.subarray(['a', 'b', 'c', 'd'])), async (steps) => {
      const { pods, events, read } = agent();
      const known = new Set<string>();
      for (const step of steps) {
        pods.splice(0, pods.length, ...step.map((name, i) => endpoint(i + 1, name)));
        await read({});
      }
      for (const { type, endpoint_update } of await read({})) {
        const name = (endpoint_update as { pod_name: string } | undefined)?.pod_name ?? '';
        if (type === AGENT_EVENT.ENDPOINT_CREATED) known.add(name);
        if (type === AGENT_EVENT.ENDPOINT_DELETED) known.delete(name);
      }
      assert.equal([...known].sort(), steps.at(-1) ?? []);
      events.close();
    }),
    { numRuns: 50 },
  );
});
asked.run();
