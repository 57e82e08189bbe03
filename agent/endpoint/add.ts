/**
 * The steps of ADD. Whatever fails, the caller removes the entry as DEL would: every step of a removal accepts that its
 * counterpart never happened, so there is one way back and no list of undo steps.
 *
 *     reserved -> staged -+-> wired ----+-> attached -> pod known -> admitted -> answer
 *                         +-> committed-+
 */
import { randomBytes } from 'node:crypto';
import type { PodWiring, WiredPod } from '../datapath/datapath.ts';
import { WeirError } from '../errors.ts';
import type { Pod } from '../model/object.ts';
import { isSamePod } from '../model/pod-uid.ts';
import { orAborted, type Progress } from './deadline.ts';
import type { EndpointsOptions } from './options.ts';
import { hostInterfaceName, type RecordedEndpoint } from './record.ts';
import { type AttachmentKey, attachmentKey, type Entry, type Registry } from './registry.ts';

export interface AddRequest extends AttachmentKey {
  readonly netns: string;
  /** Name of the CNI network configuration. */
  readonly network: string;
  /** Undefined: a container that is no Kubernetes pod; it gets the identity init. `uid` '' : not told. */
  readonly pod: { readonly namespace: string; readonly name: string; readonly uid: string } | undefined;
  /** Bytes; 0: that of the node's default route device. */
  readonly mtu: number;
}

export interface Added {
  readonly record: RecordedEndpoint;
  readonly wired: WiredPod;
}

/** Gives the request its id and addresses, and enters it. @throws IPAM_EXHAUSTED, with nothing taken */
export function reserve(request: AddRequest, registry: Registry, options: EndpointsOptions): Entry {
  const id = registry.nextId();
  const addresses = options.pool.allocate(attachmentKey(request));
  const record: RecordedEndpoint = {
    id,
    containerId: request.containerId,
    interfaceName: request.interfaceName,
    netns: request.netns,
    namespace: request.pod?.namespace ?? '',
    podName: request.pod?.name ?? '',
    podUid: request.pod?.uid ?? '',
    addresses,
    mac: podMac(),
    hostInterface: hostInterfaceName(request.containerId, request.interfaceName),
    network: request.network,
  };
  const entry: Entry = { record, phase: 'adding', isAdmitted: false };
  registry.add(entry);
  return entry;
}

export async function setUp(
  entry: Entry,
  request: AddRequest,
  options: EndpointsOptions,
  progress: Progress,
): Promise<Added> {
  const { datapath, store, realize } = options;
  const { record } = entry;
  const at = options.at ?? (() => {});
  await at('reserved');
  const staged = store.stage(record);
  await at('staged');
  const podAnswer = askForPod(request, options);
  podAnswer.catch(() => {}); // Looked at below, if we come to that.
  progress.doing = 'making the interface pair and the durable record';
  const wiring = async (): Promise<WiredPod> => {
    const done = await datapath.wire(wiringOf(record, request.mtu || (options.podMtu?.() ?? 0)));
    await at('wired');
    return done;
  };
  const wired = await both(
    wiring(),
    staged.commit().then(() => at('committed')),
  );
  await at('attached');
  progress.doing = `waiting for pod ${record.namespace}/${record.podName} to appear in the source`;
  const pod = await orAborted(podAnswer, progress.signal);
  await at('pod known');
  progress.doing = 'waiting for the identity and policy of the endpoint to be in force';
  entry.isAdmitted = true;
  await orAborted(realize.admit(record, pod), progress.signal);
  await at('admitted');
  progress.signal.throwIfAborted();
  entry.phase = 'ready';
  return { record, wired };
}

export function wiringOf(record: RecordedEndpoint, mtu: number): PodWiring {
  const { id, netns, interfaceName, hostInterface, mac, addresses } = record;
  return { id, netns, interfaceName, hostInterface, mac, addresses, mtu };
}

/** The first one's result. Waits for both also when one fails, so that no effect comes after the way back. */
async function both<T>(first: Promise<T>, second: Promise<void>): Promise<T> {
  await Promise.allSettled([first, second]);
  const [result] = await Promise.all([first, second]);
  return result;
}

async function askForPod(request: AddRequest, options: EndpointsOptions): Promise<Pod | undefined> {
  const { pod } = request;
  if (!pod) return undefined;
  const found = await options.realize.podOf(pod.namespace, pod.name, pod.uid, options.podDeadlineMs);
  const name = `pod ${pod.namespace}/${pod.name}`;
  if (!found) {
    const waited = `after ${options.podDeadlineMs / 1000} s`;
    throw new WeirError('POD_UNKNOWN', 'ADD', `the source does not know ${name} ${waited}, or not its namespace`);
  }
  // A StatefulSet's next pod has the name of the last one, whose labels must not judge it.
  if (!isSamePod(pod.uid, found)) {
    const message = `the source still knows ${name} as uid ${found.uid}, not ${pod.uid}`;
    throw new WeirError('POD_UNKNOWN', 'ADD', message);
  }
  return found;
}

/** Locally administered (bit 1 of the first byte), unicast. The gateway's own begins with 0a:77, so no pod's is equal. */
function podMac(): string {
  return `0a:70:${[...randomBytes(4)].map((byte) => byte.toString(16).padStart(2, '0')).join(':')}`;
}
