/**
 * This node's WeirNode: where it is reached, and the identity numbers it claims. One writer, one write at a time, each
 * made on what was last read (resourceVersion), so that a late write of an agent that was restarted changes nothing.
 *
 * What was read is written once before it counts, with a new mark: an earlier write whose answer was lost, or one of the agent
 * before a restart, may still be under way, and would go through on the version that was read.
 *
 * A claim counts once the API server has accepted it. Claims found at the start stay until they are dropped: they are
 * those of the agent before the restart.
 */
import { randomUUID } from 'node:crypto';
import { asWeirError, WeirError } from '../errors.ts';
import type { KubernetesClient, OwnerReference } from '../kubernetes/client.ts';
import { collectionPath, objectPath } from '../kubernetes/path.ts';
import type { IdentityNumber } from '../model/identity.ts';
import { backoffMs } from '../run/backoff.ts';
import type { Clock } from '../run/clock.ts';
import { isCode } from './api-codes.ts';
import { API_VERSION, type NodeSpec, RECORDS, type RecordObject } from './objects.ts';

/** Where the node is reached: what WeirNode's spec says besides the claims. */
export type NodeAddresses = Omit<NodeSpec, 'identities'>;

export interface OwnRecordOptions {
  readonly client: Pick<KubernetesClient, 'get' | 'create' | 'update'>;
  readonly nodeName: string;
  /** The Node, with which the record goes. */
  readonly owner: () => Promise<OwnerReference>;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** A write failed and is tried again. */
  onTrouble(error: WeirError): void;
}

export interface OwnRecord {
  /** Must be called before anything is written: a record without addresses is none. */
  describe(addresses: NodeAddresses): void;
  /** Resolves when the API server has accepted the claim; rejects when a try to write it failed (it stays wanted). */
  claim(numbers: readonly IdentityNumber[]): Promise<void>;
  /** Gives claims up, with the next write. */
  drop(numbers: readonly IdentityNumber[]): void;
  /** Claims that are accepted or asked for. */
  readonly wanted: ReadonlySet<IdentityNumber>;
  /** The claims the API server had when this agent first read them; undefined: there was no record. */
  readonly found: Promise<ReadonlySet<IdentityNumber> | undefined>;
  /**
   * Our record as the watch has it; undefined: it is gone. What somebody else changed is made right again. Returns the claims
   * that were gone from it: for a while nobody saw them.
   */
  seen(object: RecordObject | undefined): ReadonlySet<IdentityNumber>;
  readonly stopped: Promise<void>;
}

/** Another value with every write: the API server gives an object that is written as it is no new version. */
const WRITER_ANNOTATION = 'weir.dev/written';
const RETRY = { firstMs: 200, maxMs: 5000 } as const;
/** Tries in a row when somebody else was faster. */
const CONFLICTS = 5;

export function createOwnRecord(options: OwnRecordOptions): OwnRecord {
  const { client, nodeName, clock, signal } = options;
  const path = objectPath(RECORDS, '', nodeName);
  const wanted = new Set<IdentityNumber>();
  let accepted: ReadonlySet<IdentityNumber> = new Set();
  let addresses: NodeAddresses | undefined;
  /** As last read or written; undefined: not known. */
  let object: RecordObject | undefined;
  /** Our own writes may be told by the watch before they are answered. */
  let lastSent = '';
  /** `object` is what a write of ours made, so that none from before can come after it. */
  let isFenced = false;
  let hasRead = false;
  let waiting: { readonly numbers: readonly IdentityNumber[]; readonly done: PromiseWithResolvers<void> }[] = [];
  const found = Promise.withResolvers<ReadonlySet<IdentityNumber> | undefined>();
  const stop = Promise.withResolvers<void>();
  let running = false;
  let again = false;
  let failures = 0;
  let cancelRetry = (): void => {};

  async function read(): Promise<void> {
    isFenced = false;
    object = await client.get<RecordObject>(path, { signal }).catch(ignoring('NOT_FOUND'));
    if (hasRead) return;
    hasRead = true;
    const before = object && new Set(object.spec.identities ?? []);
    for (const number of before ?? []) wanted.add(number);
    found.resolve(before);
  }

  async function write(): Promise<void> {
    if (!addresses) return;
    if (!object || !hasRead) await read();
    const spec: NodeSpec = { ...addresses, identities: [...wanted].sort((a, b) => a - b) };
    if (object && isFenced && JSON.stringify(ordered(object.spec)) === JSON.stringify(ordered(spec))) {
      settle(new Set(spec.identities));
      return;
    }
    lastSent = JSON.stringify(ordered(spec));
    const annotations = { ...object?.metadata.annotations, [WRITER_ANNOTATION]: randomUUID() };
    object = object
      ? await client.update(path, { ...object, metadata: { ...object.metadata, annotations }, spec }, { signal })
      : await create(spec, annotations);
    isFenced = true;
    settle(new Set(spec.identities));
  }

  async function create(spec: NodeSpec, annotations: Readonly<Record<string, string>>): Promise<RecordObject> {
    // Goes with its Node; a Node that is not there yet is waited for.
    const owner = await options.owner();
    return client.create<RecordObject>(
      collectionPath(RECORDS),
      {
        apiVersion: API_VERSION,
        kind: 'WeirNode',
        metadata: { name: nodeName, annotations, ownerReferences: [owner] },
        spec,
      },
      { signal },
    );
  }

  function settle(claims: ReadonlySet<IdentityNumber>): void {
    accepted = claims;
    const done = waiting.filter(({ numbers }) => numbers.every((number) => claims.has(number)));
    waiting = waiting.filter((one) => !done.includes(one));
    for (const one of done) one.done.resolve();
  }

  async function run(): Promise<void> {
    running = true;
    cancelRetry();
    let conflicts = 0;
    do {
      again = false;
      try {
        await write();
        failures = 0;
      } catch (cause) {
        object = undefined; // Whether the write happened is not known: the next one is made on what is there then.
        if (signal.aborted) break;
        const retriesAtOnce = isCode(cause, 'API_CONFLICT') || isCode(cause, 'API_EXISTS');
        if (retriesAtOnce && ++conflicts < CONFLICTS) {
          again = true;
          continue;
        }
        fail(cause); // The back-off decides when the next one is.
        break;
      }
    } while (again && !signal.aborted);
    running = false;
    if (signal.aborted) stop.resolve();
  }

  function fail(cause: unknown): void {
    failures++;
    const error = asWeirError(cause, 'write the WeirNode');
    const refused = waiting;
    waiting = [];
    for (const { done } of refused) done.reject(error);
    options.onTrouble(error);
    cancelRetry = clock.after(backoffMs(failures, RETRY), () => void run());
  }

  function trigger(): void {
    if (signal.aborted || !addresses) return;
    again = true;
    // While writes fail the back-off decides.
    if (!running && failures === 0) void run();
  }

  signal.addEventListener('abort', () => {
    cancelRetry();
    const error = new WeirError('API_UNREACHABLE', 'write the WeirNode', 'the agent is stopping');
    for (const { done } of waiting) done.reject(error);
    waiting = [];
    if (!running) stop.resolve();
  });

  return {
    wanted,
    found: found.promise,
    stopped: stop.promise,
    describe(next) {
      addresses = { addresses: next.addresses, podCidrs: next.podCidrs, routerAddresses: next.routerAddresses };
      trigger();
    },
    claim(numbers) {
      const isNew = numbers.some((number) => !wanted.has(number) || !accepted.has(number));
      for (const number of numbers) wanted.add(number);
      if (!isNew) return Promise.resolve();
      const done = Promise.withResolvers<void>();
      waiting.push({ numbers, done });
      trigger();
      return done.promise;
    },
    drop(numbers) {
      if (numbers.length === 0) return;
      for (const number of numbers) wanted.delete(number);
      // From now on not to be counted on: the write that leaves them out may be under way.
      accepted = new Set([...accepted].filter((number) => wanted.has(number)));
      trigger();
    },
    seen(now) {
      const isOld = now && object && version(now) <= version(object);
      const isOwn = now && JSON.stringify(ordered(now.spec)) === lastSent;
      if (!hasRead || isOld || isOwn) return new Set();
      const there = new Set(now?.spec.identities ?? []);
      const gone = new Set([...wanted].filter((number) => !there.has(number)));
      if (now && gone.size === 0) return gone;
      object = undefined;
      accepted = new Set();
      trigger();
      return gone;
    },
  };
}

/** Versions of one collection can be compared as numbers (KEP-5504; they are etcd's revisions). */
function version({ metadata }: RecordObject): bigint {
  return BigInt(metadata.resourceVersion ?? 0);
}

function ordered({ addresses, podCidrs, routerAddresses, identities }: NodeSpec): NodeSpec {
  return { addresses, podCidrs, routerAddresses, identities: identities ?? [] };
}

function ignoring(code: 'NOT_FOUND'): (cause: unknown) => undefined {
  return (cause) => {
    if (!isCode(cause, code)) throw cause;
    return undefined;
  };
}
