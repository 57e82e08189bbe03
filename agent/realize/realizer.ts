/**
 * The down river in one place: what the source says and what CNI asks becomes labels, identities, policy rows and
 * address rows, and is applied to the datapath one revision at a time. Everything that arrives while one revision is
 * being applied becomes the next. Decisions are made elsewhere (policy/, identity/, peer-table.ts); this is their order.
 */
import type { ApplyResult, Datapath, DatapathDelta, DatapathRows, RangeRow } from '../datapath/datapath.ts';
import { WeirError } from '../errors.ts';
import type { Address, Prefix } from '../model/address.ts';
import type { EndpointRecord } from '../model/endpoint.ts';
import type { IdentityNumber } from '../model/identity.ts';
import { FIRST_POD_IDENTITY, RESERVED_IDENTITIES, reservedLabels } from '../model/identity.ts';
import { type Labels, labelsKey } from '../model/labels.ts';
import type { Document, Pod, Problem, SourceChange } from '../model/object.ts';
import { podLabels } from '../model/pod-labels.ts';
import type { PolicyId } from '../model/verdict.ts';
import type { Engine } from '../policy/engine.ts';
import type { Sink } from '../source/source.ts';
import { createInventory, type Inventory, podKey } from './inventory.ts';
import { endpointRow, type Member, newMember, peerRows } from './members.ts';
import { CLAIM_RANK, createPeerTable, type PeerTable } from './peer-table.ts';

/** Numbers for label sets; see identity/. */
export interface IdentityNumbers {
  /** The number of the label set, made durable before it is returned when it is new. One more user of it. */
  acquire(labels: Labels): Promise<IdentityNumber>;
  /** One user fewer. */
  release(labels: Labels): void;
}

export interface RealizerOptions {
  readonly engine: Engine;
  readonly datapath: Datapath;
  readonly identities: IdentityNumbers;
  readonly nodeName: string;
  readonly clusterName: string;
  readonly podCidrs: readonly Prefix[];
  readonly log: (level: 'debug' | 'info' | 'warn' | 'error', message: string, fields?: Record<string, unknown>) => void;
  /** Called after each revision whose documents changed: the last valid ones are to be kept on disk. */
  readonly keepDocuments: (documents: Document[]) => Promise<void>;
  readonly now: () => number;
}

export interface Realizer extends Sink {
  readonly inventory: Inventory;
  readonly peers: PeerTable;
  readonly members: ReadonlyMap<number, Member>;
  readonly sourceProblems: ReadonlyMap<string, readonly Problem[]>;
  /** Counts revisions asked for and in force; equal when there is nothing to do. */
  readonly revision: { readonly desired: number; readonly realized: number };
  /** Why the last apply failed; undefined when it did not. */
  readonly failure: WeirError | undefined;
  readonly lockedDown: ReadonlyMap<PolicyId, Error>;
  /** Resolves when the first complete state is in force. */
  readonly firstRealized: Promise<void>;
  /** The pod as the source knows it, waiting until `deadline` (ms since 1970) for it to appear. */
  podOf(namespace: string, name: string, deadline: number): Promise<Pod | undefined>;
  /** Resolves when the endpoint's identity and policy are in force. */
  admit(record: EndpointRecord, pod: Pod | undefined): Promise<void>;
  /** Resolves when nothing in the kernel names the endpoint any more. */
  withdraw(id: number): Promise<void>;
  /** Every address of the node itself, replacing what was said before. */
  setLocalAddresses(addresses: readonly Address[]): void;
  /** Waits until what was asked so far is in force (or has failed). */
  settled(): Promise<void>;
  stop(): void;
}

const RETRY_MS = 500;

function isAllocated(identity: IdentityNumber): boolean {
  return identity >= FIRST_POD_IDENTITY;
}

export function createRealizer(options: RealizerOptions): Realizer {
  const { engine, datapath, log } = options;
  const inventory = createInventory();
  const peers = createPeerTable();
  const members = new Map<number, Member>();
  const sourceProblems = new Map<string, readonly Problem[]>();
  const lockedDown = new Map<PolicyId, Error>();
  const dirtyMembers = new Set<number>();
  const removedEndpoints = new Set<number>();
  const podWaiters = new Map<string, Set<(pod: Pod) => void>>();
  const remotePods = new Map<string, { labels: Labels; identity: IdentityNumber }>();
  const identityUsers = new Map<IdentityNumber, number>();
  let dirtyRemotePods = new Set<string>();
  let documentsChanged = false;
  let synced = false;
  let stopped = false;
  let replaceNext = true;
  let running: Promise<void> | undefined;
  let again = false;
  let timer: NodeJS.Timeout | undefined;
  let failure: WeirError | undefined;
  const revision = { desired: 0, realized: 0 };
  let firstDone: () => void = () => {};
  const firstRealized = new Promise<void>((resolve) => {
    firstDone = resolve;
  });
  const ranges: RangeRow[] = options.podCidrs.map((prefix) => ({
    prefix,
    identity: RESERVED_IDENTITIES.unmanaged,
    kind: 'pod',
  }));

  function take(change: SourceChange): void {
    inventory.apply(change);
    const kind = change.type === 'upsert' ? change.object.kind : change.kind;
    const ref = change.type === 'upsert' ? change.object.ref : change.ref;
    if (kind === 'Document') {
      documentsChanged = true;
      if (change.type === 'delete') engine.removeDocument(ref);
      else if (change.object.kind === 'Document') report(change.object.value);
    } else if (kind === 'Service') {
      if (change.type === 'delete') engine.removeService(ref.namespace, ref.name);
      else if (change.object.kind === 'Service') engine.upsertService(change.object.value);
    } else if (kind === 'Node') {
      takeNode(ref.name);
    } else if (kind === 'Namespace') {
      for (const [id, member] of members) if (member.pod?.namespace === ref.name) dirtyMembers.add(id);
      for (const [key, pod] of inventory.pods) if (pod.namespace === ref.name) dirtyRemotePods.add(key);
    } else {
      takePod(podKey(ref.namespace, ref.name));
    }
  }

  function report(document: Document): void {
    const result = engine.upsertDocument(document);
    const name = `${document.ref.kind} ${document.ref.namespace}/${document.ref.name}`;
    for (const problem of result.problems) {
      log(problem.severity === 'error' ? 'error' : 'warn', `${name}: ${problem.message}`, {
        status: result.status,
        place: problem.place,
        line: problem.line,
      });
    }
  }

  function takeNode(name: string): void {
    const node = inventory.nodes.get(name);
    if (!node) {
      engine.removeNode(name);
      peers.withdraw(`node ${name}`);
      return;
    }
    engine.upsertNode(node);
    const identity = name === options.nodeName ? RESERVED_IDENTITIES.host : RESERVED_IDENTITIES['remote-node'];
    peers.claim(
      `node ${name}`,
      CLAIM_RANK.node,
      node.addresses.map((address) => ({ address, identity, endpoint: 0, kind: 'node' })),
    );
  }

  function takePod(key: string): void {
    const pod = inventory.pods.get(key);
    dirtyRemotePods.add(key);
    for (const [id, member] of members) {
      if (member.pod && pod && podKey(member.pod.namespace, member.pod.name) === key) {
        // A pod of the same name but another uid is a new pod: this endpoint stays the old one's until its DEL.
        if (member.pod.uid !== '' && pod.uid !== '' && member.pod.uid !== pod.uid) continue;
        member.pod = pod;
        dirtyMembers.add(id);
      }
    }
    if (!pod) return;
    for (const resolve of podWaiters.get(key) ?? []) resolve(pod);
    podWaiters.delete(key);
  }

  /** The number of the label set, known to the engine as long as somebody here uses it. */
  async function acquire(labels: Labels): Promise<IdentityNumber> {
    const identity = await options.identities.acquire(labels);
    identityUsers.set(identity, (identityUsers.get(identity) ?? 0) + 1);
    engine.upsertIdentity(identity, labels);
    return identity;
  }

  function release(identity: IdentityNumber, labels: Labels): void {
    options.identities.release(labels);
    const users = (identityUsers.get(identity) ?? 1) - 1;
    if (users > 0) identityUsers.set(identity, users);
    else {
      identityUsers.delete(identity);
      engine.removeIdentity(identity);
    }
  }

  /** Pods of other nodes, or of none: known by the addresses in their status, if any. */
  async function resolveRemotePods(): Promise<void> {
    const dirty = dirtyRemotePods;
    dirtyRemotePods = new Set();
    for (const key of dirty) {
      const owner = `pod ${key}`;
      const pod = inventory.pods.get(key);
      const before = remotePods.get(key);
      if (!pod || pod.hostNetwork || pod.addresses.length === 0) {
        peers.withdraw(owner);
        remotePods.delete(key);
        if (before) release(before.identity, before.labels);
        continue;
      }
      const labels = podLabels(pod, inventory.namespaces.get(pod.namespace), options);
      const identity = await acquire(labels);
      if (before) release(before.identity, before.labels);
      remotePods.set(key, { labels, identity });
      peers.claim(
        owner,
        CLAIM_RANK.remotePod,
        pod.addresses.map((address) => ({ address, identity, endpoint: 0, kind: 'pod' })),
      );
    }
  }

  async function resolveMembers(): Promise<void> {
    const dirty = [...dirtyMembers];
    dirtyMembers.clear();
    for (const id of dirty) {
      const member = members.get(id);
      if (member) await resolveMember(member);
    }
  }

  async function resolveMember(member: Member): Promise<void> {
    const { pod } = member;
    const labels = pod ? podLabels(pod, inventory.namespaces.get(pod.namespace), options) : reservedLabels('init');
    const sameLabels = member.subject !== '' && labelsKey(labels) === labelsKey(member.labels);
    if (!sameLabels) {
      const before = { identity: member.identity, labels: member.labels };
      member.identity = pod ? await acquire(labels) : RESERVED_IDENTITIES.init;
      member.labels = labels;
      if (isAllocated(before.identity)) release(before.identity, before.labels);
    }
    member.namedPorts = pod?.namedPorts ?? [];
    const subject = engine.addSubject({ identity: member.identity, labels, namedPorts: member.namedPorts });
    if (member.subject !== '') engine.removeSubject(member.subject);
    member.subject = subject;
    if (pod) engine.setNamedPorts(member.identity, namedPortsOf(member.identity));
    member.state = 'regenerating';
    peers.claim(`endpoint ${member.record.id}`, CLAIM_RANK.endpoint, peerRows(member));
  }

  function namedPortsOf(identity: IdentityNumber): Member['namedPorts'] {
    return [...members.values()]
      .filter((member) => member.identity === identity)
      .flatMap((member) => member.namedPorts);
  }

  /** Points members to their policies; returns the ids whose row changed. */
  function pointMembers(): number[] {
    const changed: number[] = [];
    for (const [id, member] of members) {
      const policy = engine.policyOf(member.subject);
      if (member.subject === '' || policy === undefined) continue;
      if (policy !== member.policy || member.state === 'regenerating') changed.push(id);
      member.policy = policy;
    }
    return changed;
  }

  async function turn(): Promise<void> {
    engine.setNow(options.now());
    await resolveRemotePods();
    await resolveMembers();
    const asked = revision.desired;
    const policy = engine.take();
    const changed = pointMembers();
    const peerChange = peers.take();
    // An id freed and taken again before this turn is written, not removed.
    const gone = [...removedEndpoints].filter((id) => !members.has(id));
    removedEndpoints.clear();
    let result: ApplyResult;
    try {
      if (replaceNext) result = await datapath.replace(everything());
      else {
        const delta: DatapathDelta = {
          policy,
          setEndpoints: changed.flatMap((id) => rowOf(id)),
          removeEndpoints: gone,
          setPeers: peerChange.set,
          removePeers: peerChange.remove,
          setRanges: [],
          removeRanges: [],
        };
        result = await datapath.apply(delta);
      }
    } catch (error) {
      replaceNext = true; // What of the change arrived is unknown: next time the kernel is read and made equal.
      failure = new WeirError(
        'DATAPATH_FAILED',
        'apply',
        'the change could not be written to the kernel; trying again',
        {
          cause: error,
        },
      );
      log('error', failure.message, { cause: failure.details });
      schedule(RETRY_MS);
      throw failure;
    }
    replaceNext = false;
    failure = undefined;
    noteLockdown(result);
    for (const id of changed) {
      const member = members.get(id);
      if (!member || member.state === 'disconnecting') continue;
      member.state = lockedDown.has(member.policy) ? 'not-ready' : 'ready';
      member.revision = engine.revision();
    }
    revision.realized = asked;
    firstDone();
    if (documentsChanged) {
      documentsChanged = false;
      await options.keepDocuments(engine.lastValid());
    }
    planDeadline();
  }

  function rowOf(id: number) {
    const member = members.get(id);
    return member ? [endpointRow(member)] : [];
  }

  function everything(): DatapathRows {
    return {
      policy: engine.rows(),
      endpoints: [...members.values()].filter((member) => member.subject !== '').map(endpointRow),
      peers: peers.rows(),
      ranges,
    };
  }

  function noteLockdown(result: ApplyResult): void {
    for (const { policy, cause } of result.lockedDown) {
      if (lockedDown.has(policy)) continue;
      const subjects = [...members.values()].filter((member) => member.policy === policy);
      log('error', `policy ${policy} does not fit the kernel's tables: its endpoints are locked down until it does`, {
        cause: cause.message,
        endpoints: subjects.map((member) => `${member.record.namespace}/${member.record.podName}`),
      });
    }
    lockedDown.clear();
    for (const { policy, cause } of result.lockedDown) lockedDown.set(policy, cause);
    for (const member of members.values()) {
      if (lockedDown.has(member.policy)) member.state = 'not-ready';
      else if (member.state === 'not-ready' && member.policy !== 0) member.state = 'ready';
    }
  }

  /** Annotations with a time in them take effect by themselves. */
  function planDeadline(): void {
    const next = engine.nextDeadline();
    if (next !== undefined) schedule(Math.max(0, next - options.now()));
  }

  function schedule(delayMs: number): void {
    if (stopped) return;
    clearTimeout(timer);
    timer = setTimeout(() => void go().catch(() => {}), Math.min(delayMs, 2 ** 31 - 1));
    timer.unref();
  }

  /** Applies what is pending; while that runs, further calls share one more run after it. Failures are kept in `failure`. */
  function go(): Promise<void> {
    if (stopped || !synced) return Promise.resolve();
    if (running) {
      again = true;
      return running.then(
        () => (again ? go() : running),
        () => (again ? go() : running),
      );
    }
    again = false;
    running = turn().finally(() => {
      running = undefined;
    });
    return running;
  }

  /** Like {@link go}, once for everything that arrives in the same tick of the event loop. */
  let coming: Promise<void> | undefined;
  function wake(): Promise<void> {
    revision.desired += 1;
    coming ??= new Promise<void>((resolve, reject) => {
      setImmediate(() => {
        coming = undefined;
        go().then(resolve, reject);
      });
    });
    return coming;
  }
  const wakeQuietly = (): void => void wake().catch(() => {}); // The failure is kept, logged and retried by turn().

  return {
    inventory,
    peers,
    members,
    sourceProblems,
    revision,
    lockedDown,
    firstRealized,
    get failure() {
      return failure;
    },
    change(changes) {
      for (const change of changes) take(change);
      wakeQuietly();
    },
    synced() {
      synced = true;
      wakeQuietly();
    },
    problems(place, problems) {
      if (problems.length === 0) sourceProblems.delete(place);
      else sourceProblems.set(place, problems);
      for (const problem of problems) {
        log(problem.severity === 'error' ? 'error' : 'warn', problem.message, { place, line: problem.line });
      }
    },
    podOf(namespace, name, deadline) {
      const key = podKey(namespace, name);
      const pod = inventory.pods.get(key);
      if (pod) return Promise.resolve(pod);
      return new Promise((resolve) => {
        let waiters = podWaiters.get(key);
        if (!waiters) podWaiters.set(key, (waiters = new Set()));
        const done = (found: Pod | undefined): void => {
          clearTimeout(limit);
          waiters.delete(done);
          resolve(found);
        };
        const limit = setTimeout(() => done(undefined), Math.max(0, deadline - options.now()));
        waiters.add(done);
      });
    },
    async admit(record, pod) {
      members.set(record.id, newMember(record, pod));
      dirtyMembers.add(record.id);
      if (!synced) return; // Restored endpoints: the first turn takes them all.
      await wake();
    },
    async withdraw(id) {
      const member = members.get(id);
      if (!member) return;
      members.delete(id);
      dirtyMembers.delete(id);
      removedEndpoints.add(id);
      if (member.subject !== '') engine.removeSubject(member.subject);
      if (isAllocated(member.identity)) release(member.identity, member.labels);
      peers.withdraw(`endpoint ${id}`);
      if (!synced) return;
      await wake();
    },
    setLocalAddresses(addresses) {
      peers.claim(
        'this node',
        CLAIM_RANK.local,
        addresses.map((address) => ({ address, identity: RESERVED_IDENTITIES.host, endpoint: 0, kind: 'node' })),
      );
      wakeQuietly();
    },
    async settled() {
      await coming?.catch(() => {});
      while (running) await running.catch(() => {});
    },
    stop() {
      stopped = true;
      clearTimeout(timer);
    },
  };
}
