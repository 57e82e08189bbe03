/**
 * Observer.GetAgentEvents: the last things that happened to this agent, and what follows. They are found by comparing the
 * agent with how it was when it was last looked at (agent-changes.ts), so nothing else in the agent has to tell of them.
 */
import type { Names } from '../../flow/names.ts';
import type { State } from '../state.ts';
import { type AddressChange, AgentAddresses } from './agent-addresses.ts';
import { AGENT_EVENT, type AgentEvent, type AgentMoment, agentChanges, momentOf, NOTHING } from './agent-changes.ts';
import { type Timestamp, timestamp, timestampMs } from './messages.ts';
import { Refusal } from './refusal.ts';

/** Events held; the oldest make room. */
export const AGENT_EVENTS_MAX = 1000;
/** Revisions may follow each other closely; what happened between two looks is told once. */
const LOOK_MS = 200;

/** observer.GetAgentEventsRequest. */
export interface AgentEventsRequest {
  readonly number?: number;
  readonly follow?: boolean;
  readonly first?: boolean;
  readonly since?: Timestamp;
  readonly until?: Timestamp;
  readonly $unknowns?: readonly Uint8Array[];
}

interface Entry {
  /** ms since 1970. */
  readonly at: number;
  readonly event: AgentEvent;
}

export class AgentEvents {
  readonly #state: Pick<State, 'policies' | 'endpoints'>;
  readonly #node: string;
  readonly #addresses: AgentAddresses | undefined;
  readonly #waiting = new Set<() => void>();
  #held: Entry[] = [];
  /** Sequence of the first one held. */
  #oldest = 0;
  #before: AgentMoment = NOTHING;
  #timer: NodeJS.Timeout | undefined;

  /** `startedAt`: ms since 1970. `names`: who is at an address; without them addresses are not told. */
  constructor(
    state: Pick<State, 'policies' | 'endpoints'>,
    node: string,
    startedAt: number,
    names?: Pick<Names, 'nameOfAddress'>,
  ) {
    this.#state = state;
    this.#node = node;
    this.#addresses = names && new AgentAddresses(names);
    this.#add(startedAt, [{ type: AGENT_EVENT.AGENT_STARTED, agent_start: { time: timestamp(startedAt) } }]);
  }

  /** To be called when the agent may have changed: looks at it in a moment. */
  look(): void {
    this.#timer ??= setTimeout(() => this.#compare(), LOOK_MS).unref();
  }

  /** What changed of the addresses the agent knows: at once, in the order of the changes. */
  addressesChanged(change: AddressChange): void {
    const events = this.#addresses?.take(change) ?? [];
    if (events.length === 0) return;
    this.#compare();
    this.#add(Date.now(), events);
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  /** As GetFlows: the newest `number`, or the first, also of those since; follow goes on, from `since` with all. Throws Refusal. */
  async *read(request: AgentEventsRequest, signal: AbortSignal): AsyncGenerator<object[], void, void> {
    const { number = 0, follow = false, first = false, since, until } = request;
    if (first && follow) throw new Refusal('INVALID_ARGUMENT', 'first and follow cannot be used together');
    if (request.$unknowns !== undefined) {
      throw new Refusal('UNIMPLEMENTED', 'the request has a field that is newer than this agent');
    }
    this.#compare();
    const from = since === undefined ? Number.NEGATIVE_INFINITY : timestampMs(since);
    const to = until === undefined ? Number.POSITIVE_INFINITY : timestampMs(until);
    const wanted = ({ at }: Entry): boolean => at >= from && at <= to;
    let next = this.#oldest + this.#held.length;
    let shown = this.#held.filter(wanted);
    if (follow && since === undefined) shown = number === 0 ? [] : shown.slice(-number);
    else if (!follow && number > 0) {
      shown = first || since !== undefined ? shown.slice(0, number) : shown.slice(-number);
    }
    if (shown.length > 0) yield shown.map(this.#message);
    while (follow && !signal.aborted && Date.now() <= to) {
      if (next === this.#oldest + this.#held.length) {
        await this.#changed(signal, to);
        continue;
      }
      if (next < this.#oldest) {
        const lost = this.#oldest - next;
        throw new Refusal('RESOURCE_EXHAUSTED', `${lost} agent events were lost: they came faster than they were read`);
      }
      const news = this.#held.slice(next - this.#oldest).filter(wanted);
      next = this.#oldest + this.#held.length;
      if (news.length > 0) yield news.map(this.#message);
    }
  }

  #message = ({ at, event }: Entry): object => ({ agent_event: event, node_name: this.#node, time: timestamp(at) });

  #compare(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const now = momentOf(this.#state);
    const events = agentChanges(this.#before, now);
    this.#before = now;
    this.#add(Date.now(), events);
  }

  #add(at: number, events: readonly AgentEvent[]): void {
    if (events.length === 0) return;
    this.#held.push(...events.map((event) => ({ at, event })));
    const surplus = Math.max(0, this.#held.length - AGENT_EVENTS_MAX);
    this.#held = this.#held.slice(surplus);
    this.#oldest += surplus;
    for (const wake of this.#waiting) wake();
  }

  /** Until there is something new, the signal aborts, or `to` has come (ms since 1970). */
  async #changed(signal: AbortSignal, to: number): Promise<void> {
    const woken = Promise.withResolvers<void>();
    const wake = (): void => woken.resolve();
    const late = setTimeout(wake, Math.min(2 ** 31 - 1, Math.max(0, to - Date.now() + 1))).unref();
    this.#waiting.add(wake);
    signal.addEventListener('abort', wake, { once: true });
    await woken.promise;
    signal.removeEventListener('abort', wake);
    this.#waiting.delete(wake);
    clearTimeout(late);
  }
}
