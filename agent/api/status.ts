/** GET /v1/status and /healthz: how the agent is. */
import type { FastifyInstance } from 'fastify';
import type { DeviceProgram, MapFill } from '../datapath/datapath.ts';
import { LOSS_STAGES, type LossStage } from '../flow/flow.ts';
import type { HistoryStats } from '../flow/history.ts';
import { ENDPOINT_STATES } from './endpoints.ts';
import { type ProblemAnswer, presentProblem } from './problem.ts';
import { flag, integer, list, named, number, oneOf, record, text } from './schema.ts';
import { POLICY_STATES, type State } from './state.ts';

export interface StatusAnswer {
  readonly version: string;
  readonly node: string;
  readonly startedAt: string;
  readonly uptimeSeconds: number;
  readonly ready: boolean;
  /** What is not done yet. */
  readonly pending: readonly string[];
  readonly revision: { readonly desired: number; readonly realized: number };
  readonly source: { readonly name: string; readonly synced: boolean };
  readonly problems: readonly ProblemAnswer[];
  readonly attachments: { readonly expected: number; readonly missing: readonly number[] };
  /** Programs on the node's own devices: uplinks, tunnel. */
  readonly devices: readonly DeviceProgram[];
  /** Number of endpoints by state, of policies by status. */
  readonly endpoints: Readonly<Record<string, number>>;
  readonly policies: Readonly<Record<string, number>>;
  readonly identities: number;
  /** Packets dropped since the programs were loaded. */
  readonly drops: number;
  readonly maps: readonly MapFill[];
  readonly flows: HistoryStats & { readonly lost: Readonly<Record<LossStage, number>> };
}

export interface HealthAnswer {
  readonly ready: boolean;
  readonly reason: string;
}

const counts = (keys: readonly string[], description: string) =>
  record(description, Object.fromEntries(keys.map((key) => [key, integer('')])));

const STATUS = record('How the agent is.', {
  version: text(''),
  node: text(''),
  startedAt: text('RFC 3339'),
  uptimeSeconds: number(''),
  ready: flag('Nothing is pending'),
  pending: list(text(''), 'What is not done yet'),
  revision: record('Policy revisions.', {
    desired: integer('What the documents ask for'),
    realized: integer('What the kernel has'),
  }),
  source: record('Where the desired state comes from.', {
    name: text(''),
    synced: flag('Its first lists are complete'),
  }),
  problems: list(named('Problem'), 'What a person should look at'),
  attachments: record('Programs on interfaces.', {
    expected: integer(''),
    missing: list(integer(''), 'Endpoints that lack a program'),
  }),
  devices: list(
    record(
      "A program on one of the node's own devices.",
      {
        device: text('Name of the interface'),
        hook: oneOf(['xdp', 'ingress', 'egress'], ''),
        program: text('As in bpf/'),
        mode: oneOf(
          ['native', 'generic', 'tc'],
          "Of an uplink's guard: XDP run by the driver, XDP run by the kernel in its place, or at the head of tc ingress",
        ),
        fault: text('Why it is not attached; absent when it is'),
      },
      ['mode', 'fault'],
    ),
    "Programs on the node's own devices: uplinks and tunnel",
  ),
  endpoints: counts(ENDPOINT_STATES, 'Endpoints by state.'),
  policies: counts(POLICY_STATES, 'Policy documents by status.'),
  identities: integer(''),
  drops: integer('Packets dropped since the programs were loaded, for whatever reason'),
  maps: list(record('How full a kernel map is.', { name: text(''), entries: integer(''), capacity: integer('') })),
  flows: record('The flow history.', {
    records: integer('Held now'),
    capacity: integer(''),
    seconds: number('Between the oldest and the newest'),
    seen: integer('Ever stored'),
    overwritten: integer('Made room for newer ones'),
    followers: integer('Open streams'),
    names: integer('Names in use by records'),
    namesRefused: integer('Records without a name because the tables were full'),
    unknown: integer('Events of a type this agent does not know'),
    lost: counts(LOSS_STAGES, 'Events lost since the start, by stage.'),
  }),
});

export function statusRoutes(app: FastifyInstance, state: State): void {
  app.get('/v1/status', { schema: { summary: 'How the agent is', tags: ['status'], response: { 200: STATUS } } }, () =>
    presentStatus(state, Date.now()),
  );
}

/** For probes: whether to send somebody here, and whether to start the agent anew. */
export function healthRoutes(app: FastifyInstance, state: State): void {
  // Not what the agent waits for: an API server that is away is no reason to start anew.
  app.get(
    '/livez',
    {
      schema: {
        summary: 'The agent answers, ready or not, for probes',
        tags: ['status'],
        response: { 200: record('', { alive: flag('') }) },
      },
    },
    () => ({ alive: true }),
  );

  const health = record('', { ready: flag(''), reason: text('') });
  app.get(
    '/healthz',
    {
      schema: {
        summary: 'Ready or not, for probes',
        tags: ['status'],
        response: { 200: health, 503: health },
      },
    },
    (_, reply) => {
      const { pending } = state.status();
      const ready = pending.length === 0;
      const answer: HealthAnswer = { ready, reason: ready ? 'ready' : `waiting for ${pending.join(', ')}` };
      return reply.code(ready ? 200 : 503).send(answer);
    },
  );
}

function presentStatus(state: State, nowMs: number): StatusAnswer {
  const { version, node, startedAt, pending, revision, source, problems, attachments, devices } = state.status();
  return {
    version,
    node,
    startedAt: new Date(startedAt).toISOString(),
    uptimeSeconds: Math.max(0, nowMs - startedAt) / 1000,
    ready: pending.length === 0,
    pending,
    revision: { desired: revision.desired, realized: revision.realized },
    source: { name: source.name, synced: source.synced },
    problems: problems.map(presentProblem),
    attachments: { expected: attachments.expected, missing: attachments.missing },
    devices,
    endpoints: countBy(
      ENDPOINT_STATES,
      state.endpoints().map((endpoint) => endpoint.state),
    ),
    policies: countBy(
      POLICY_STATES,
      state.policies().map((policy) => policy.status),
    ),
    identities: state.identities().length,
    drops: state.counters().drops.reduce((sum, { count }) => sum + count.packets, 0),
    maps: state.maps().map(({ name, entries, capacity }) => ({ name, entries, capacity })),
    flows: { ...state.flows.stats(), lost: state.flows.losses() },
  };
}

function countBy<Key extends string>(keys: readonly Key[], values: readonly Key[]): Record<Key, number> {
  const counted = Object.fromEntries(keys.map((key) => [key, 0])) as Record<Key, number>;
  for (const value of values) counted[value] += 1;
  return counted;
}
