/**
 * The loop of the down river: what the source says and what CNI asks is resolved (desired.ts) and applied to the
 * datapath one revision at a time. Everything that arrives while one revision is applied becomes the next.
 */
import type { ApplyResult, Datapath, PeerRow } from '../datapath/datapath.ts';
import { asWeirError, WeirError } from '../errors.ts';
import type { Names } from '../flow/names.ts';
import type { Address, Prefix } from '../model/address.ts';
import type { EndpointRecord } from '../model/endpoint.ts';
import type { Labels } from '../model/labels.ts';
import { type Document, type Pod, type Problem, refKey } from '../model/object.ts';
import { isSamePod } from '../model/pod-uid.ts';
import type { PolicyId } from '../model/verdict.ts';
import type { DocumentResult } from '../policy/engine.ts';
import { backoffMs } from '../run/backoff.ts';
import type { Logger } from '../run/log.ts';
import type { Sink } from '../source/source.ts';
import { createDesired, type Desired, type DesiredOptions } from './desired.ts';
import { podKey } from './inventory.ts';
import { createNames } from './names.ts';
import { prepare } from './prepare.ts';

export interface RealizerOptions extends Omit<DesiredOptions, 'onDocument' | 'onEndpoint'> {
  readonly datapath: Datapath;
  readonly log: Logger;
  /** The last valid documents of before the restart (last-valid.ts): in force until the source has a newer valid version. */
  readonly lastValid: readonly Document[];
  /** Called after a revision whose documents changed: the last valid ones are to be kept on disk. */
  readonly keepDocuments: (documents: Document[]) => Promise<void>;
  /** Called with each change of the addresses that are known, before it is in force. */
  readonly onAddresses?: (change: { readonly set: readonly PeerRow[]; readonly remove: readonly Address[] }) => void;
  /** Called after each revision that is in force. */
  readonly onRevision?: () => void;
  /** Milliseconds since 1970, for annotations that name a time. */
  readonly now: () => number;
}

export interface Realizer extends Sink {
  readonly desired: Desired;
  /** What events are named by. */
  readonly names: Names;
  /** Problems of the source by place. */
  readonly problemsByPlace: ReadonlyMap<string, readonly Problem[]>;
  /** The engine's revisions asked for and in force; equal when there is nothing to do. */
  revision(): { readonly desired: number; readonly realized: number };
  readonly isSynced: boolean;
  /** Why the last revision could not be realized as a whole; undefined when it was. */
  readonly failure: WeirError | undefined;
  /** False from a revision that the kernel did not take until one that it took: a pod without an identity is only its own. */
  readonly isApplied: boolean;
  /** Policies that do not fit the kernel's tables: their endpoints are locked down. */
  readonly lockedDown: ReadonlyMap<PolicyId, Error>;
  /** Resolves when the first complete state is in force. */
  readonly firstRealized: Promise<void>;
  /**
   * The pod of that uid ('': of any) as the source knows it, waiting up to `waitMs` for it to appear, and in a cluster for its
   * namespace, whose labels are the pod's. After the wait, the pod of that name that is there, if any.
   */
  podOf(namespace: string, name: string, uid: string, waitMs: number): Promise<Pod | undefined>;
  /** Resolves when the endpoint's identity and policy are in force. */
  admit(record: EndpointRecord, pod: Pod | undefined): Promise<void>;
  /** Resolves when nothing in the kernel names the endpoint any more. */
  withdraw(id: number): Promise<void>;
  /** Everything that is the node itself. */
  setLocalAddresses(prefixes: readonly Prefix[]): void;
  /** To be called every now and then: pods without a number of their own ask for one again. */
  askAgain(): void;
  /** The label set has another number now: whoever has it gets the new one. */
  renumber(labels: Labels): void;
  stop(): void;
}

/** After a revision that failed; the kernel is then read and made equal as after a restart. */
const RETRY_MS = 500;
/** After a revision in which a pod had no identity yet. What the API server refuses it may refuse for good. */
const UNRESOLVED = { firstMs: RETRY_MS, maxMs: 5000 } as const;
/** The longest time setTimeout can wait. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export function createRealizer(options: RealizerOptions): Realizer {
  const { datapath, engine, log } = options;
  const desired = createDesired({
    ...options,
    onDocument: reportDocument,
    onEndpoint: (member) => names.remember(member),
  });
  const names = createNames(desired, engine, options.nodeName);
  const problemsByPlace = new Map<string, readonly Problem[]>();
  const lockedDown = new Map<PolicyId, Error>();
  /** Each looks whether the pod it waits for is there. */
  const podWaiters = new Set<() => void>();
  let realized = 0;
  const first = Promise.withResolvers<void>();
  let localAddresses = '';
  let documentsChanged = false;
  let keeping = false;
  let synced = false;
  let stopped = false;
  /** What the kernel holds is not known for certain: at the start, and after a failed apply. */
  let replaceNext = true;
  let failure: WeirError | undefined;
  let isApplied = true;
  /** Revisions in a row in which a pod had no identity, and why the last one had none: told once. */
  let unresolvedTurns = 0;
  let unresolvedFor = '';
  let running: Promise<void> | undefined;
  let next: Promise<void> | undefined;
  let timer: NodeJS.Timeout | undefined;

  function reportDocument(document: Document, result: DocumentResult): void {
    documentsChanged = true;
    const { kind, namespace, name } = document.ref;
    for (const { severity, message, place, line } of result.problems) {
      const fields = { document: `${kind} ${namespace}/${name}`, status: result.status, place, line };
      if (severity === 'error') log.error(message, fields);
      else log.warn(message, fields);
    }
  }

  /** Whatever fails is told and tried again; what had been taken out of the engine by then is made up for. */
  async function turn(): Promise<void> {
    try {
      await revise();
    } catch (cause) {
      replaceNext = true;
      isApplied = false;
      failure = asWeirError(cause, 'realize');
      log.error(failure.message, { cause });
      wakeAfter(RETRY_MS);
      throw failure;
    }
  }

  async function revise(): Promise<void> {
    engine.setNow(options.now());
    const unresolved = await desired.resolve();
    await prepare(engine);
    const { delta, endpoints } = desired.delta();
    options.onAddresses?.({ set: delta.setPeers, remove: delta.removePeers });
    const everything = replaceNext ? desired.everything() : undefined;
    const result = await write(() => (everything ? datapath.replace(everything) : datapath.apply(delta)));
    replaceNext = false;
    isApplied = true;
    failure = undefined;
    noteLockdown(result);
    for (const id of endpoints) {
      const member = desired.members.get(id);
      if (!member) continue;
      member.state = lockedDown.has(member.policy) ? 'not-ready' : 'ready';
      member.revision = engine.revision();
    }
    for (const { id, aggregation } of everything?.endpoints ?? delta.setEndpoints) {
      const member = desired.members.get(id);
      if (member) member.aggregation = aggregation;
    }
    realized = engine.revision();
    first.resolve();
    options.onRevision?.();
    keepDocuments();
    const deadline = engine.nextDeadline();
    let waitMs = deadline === undefined ? undefined : deadline - options.now();
    unresolvedTurns = unresolved ? unresolvedTurns + 1 : 0;
    if (unresolved) {
      failure = unresolved;
      if (unresolved.message !== unresolvedFor) {
        log.error('a pod has no identity of its own yet; trying again', { cause: unresolved });
      }
      waitMs = Math.min(waitMs ?? Number.POSITIVE_INFINITY, backoffMs(unresolvedTurns, UNRESOLVED));
    }
    unresolvedFor = unresolved?.message ?? '';
    if (waitMs !== undefined) wakeAfter(waitMs);
  }

  async function write(apply: () => Promise<ApplyResult>): Promise<ApplyResult> {
    try {
      return await apply();
    } catch (cause) {
      throw new WeirError('DATAPATH_FAILED', 'apply', 'the kernel refused a change; trying again', { cause });
    }
  }

  /** Beside the next revision, which must not wait for the disk; one write at a time. */
  function keepDocuments(): void {
    if (!documentsChanged || keeping) return;
    documentsChanged = false;
    keeping = true;
    options.keepDocuments(engine.lastValid()).then(
      () => {
        keeping = false;
        keepDocuments();
      },
      (cause: unknown) => {
        keeping = false;
        documentsChanged = true; // Tried again with the next revision; what is in force stays in force.
        log.error('the last valid policies could not be written down: a restart may not find them', { cause });
      },
    );
  }

  function noteLockdown(result: ApplyResult): void {
    for (const { policy, cause } of result.lockedDown) {
      if (lockedDown.has(policy)) continue;
      const subjects = [...desired.members.values()].filter((member) => member.policy === policy);
      log.error(`policy ${policy} does not fit the kernel's tables: its endpoints are locked down until it does`, {
        cause,
        endpoints: subjects.map(({ record }) => `${record.namespace}/${record.podName}`),
      });
    }
    const before = new Set(lockedDown.keys());
    lockedDown.clear();
    for (const { policy, cause } of result.lockedDown) lockedDown.set(policy, cause);
    for (const member of desired.members.values()) {
      if (lockedDown.has(member.policy)) member.state = 'not-ready';
      else if (before.has(member.policy)) member.state = 'ready';
    }
  }

  /** Asks for one more revision: after the one being applied, and shared by everything that arrives in the same tick. */
  function wake(): Promise<void> {
    if (stopped || !synced) return Promise.resolve();
    next ??= (async () => {
      await new Promise(setImmediate);
      await running?.catch(() => {}); // Its own callers have seen it fail.
      next = undefined;
      running = turn();
      await running;
    })();
    return next;
  }

  function wakeQuietly(): void {
    wake().catch(() => {}); // Kept in `failure`, logged and retried by turn().
  }

  function wakeAfter(delayMs: number): void {
    clearTimeout(timer);
    timer = setTimeout(wakeQuietly, Math.min(Math.max(0, delayMs), LONGEST_TIMER_MS));
    timer.unref();
  }

  for (const document of options.lastValid) engine.upsertDocument(document);

  return {
    desired,
    names,
    problemsByPlace,
    revision: () => ({ desired: engine.revision() + (next || engine.pending() ? 1 : 0), realized }),
    lockedDown,
    firstRealized: first.promise,
    get failure() {
      return failure;
    },
    get isApplied() {
      return isApplied;
    },
    get isSynced() {
      return synced;
    },
    change(changes) {
      for (const change of changes) {
        if (change.type === 'delete' && change.kind === 'Document') documentsChanged = true;
        desired.take(change);
      }
      for (const look of podWaiters) look();
      wakeQuietly();
    },
    synced() {
      synced = true;
      for (const { ref } of options.lastValid) {
        if (!desired.inventory.documents.has(refKey(ref))) engine.removeDocument(ref);
      }
      wakeQuietly();
    },
    problems(place, problems) {
      if (problems.length === 0) problemsByPlace.delete(place);
      else problemsByPlace.set(place, problems);
      for (const { severity, message, line } of problems) {
        if (severity === 'error') log.error(message, { place, line });
        else log.warn(message, { place, line });
      }
    },
    podOf(namespace, name, uid, waitMs) {
      const { pods, namespaces } = desired.inventory;
      // Manifests need no Namespace; in a cluster it is only late, and a pod without its labels is another's peer.
      const known = (): Pod | undefined =>
        options.podsArePublished && !namespaces.has(namespace) ? undefined : pods.get(podKey(namespace, name));
      const there = known();
      if (there && isSamePod(uid, there)) return Promise.resolve(there);
      return new Promise((resolve) => {
        const done = (pod: Pod | undefined): void => {
          clearTimeout(limit);
          podWaiters.delete(look);
          resolve(pod);
        };
        const look = (): void => {
          const pod = known();
          if (pod && isSamePod(uid, pod)) done(pod);
        };
        const limit = setTimeout(() => done(known()), waitMs);
        podWaiters.add(look);
      });
    },
    async admit(record, pod) {
      desired.addEndpoint(record, pod);
      await (synced ? wake() : first.promise);
      const member = desired.members.get(record.id);
      if (member?.record === record && member.subject === '' && failure) throw failure;
    },
    withdraw(id) {
      desired.removeEndpoint(id);
      return wake();
    },
    setLocalAddresses(prefixes) {
      const now = prefixes.join();
      if (now === localAddresses) return;
      localAddresses = now;
      desired.setLocalAddresses(prefixes);
      wakeQuietly();
    },
    askAgain() {
      if (desired.askAgain()) wakeQuietly();
    },
    renumber(labels) {
      if (desired.renumber(labels)) wakeQuietly();
    },
    stop() {
      stopped = true;
      clearTimeout(timer);
    },
  };
}
