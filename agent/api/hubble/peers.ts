/**
 * Peer.Notify: which agents there are, for whoever asks them all (hubble-relay). A stream has no queue: it compares what
 * it told with what is, so a reader who sleeps through ten changes of a node hears of the last one only.
 */
import { type Address, familyOf } from '../../model/address.ts';

/** A node that has an agent, as far as callers must know of it. */
export interface HubbleNode {
  readonly name: string;
  /** Where it is reached, the preferred one first; none: not known yet. */
  readonly addresses: readonly Address[];
}

export interface Peer {
  readonly name: string;
  /** "192.0.2.1:4244", "[2001:db8::1]:4244", "unix:///run/weir/hubble.sock". */
  readonly address: string;
  /** Name in its certificate; undefined: it is asked without TLS. */
  readonly serverName: string | undefined;
}

/** peer.ChangeNotificationType. */
const TYPE = { ADDED: 1, DELETED: 2, UPDATED: 3 } as const;

export interface ChangeNotification {
  readonly name: string;
  readonly address: string;
  readonly type: (typeof TYPE)[keyof typeof TYPE];
  readonly tls?: { readonly server_name: string };
}

export interface PeerRule {
  readonly cluster: string;
  /** Of the TLS listener, the same on all nodes. */
  readonly port: number;
}

/** The peers behind nodes. Those without an address cannot be asked, and are left out until they have one. */
export function peersOf(nodes: readonly HubbleNode[], { cluster, port }: PeerRule): Peer[] {
  return nodes.flatMap(({ name, addresses: [address] }) => {
    if (address === undefined) return [];
    const host = familyOf(address) === 6 ? `[${address}]` : address;
    return [{ name: fullName(name, cluster), address: `${host}:${port}`, serverName: serverName(name, cluster) }];
  });
}

/** As Hubble names nodes: with the cluster, unless that has no name of its own. */
export function fullName(node: string, cluster: string): string {
  return cluster === 'default' ? node : `${cluster}/${node}`;
}

/** Name that the certificate of a node's agent must have. A dot in either part would be a level of its own. */
export function serverName(node: string, cluster: string): string {
  const [host, domain] = [node, cluster].map((part) => part.replaceAll('.', '-'));
  return `${host}.${domain}.hubble-grpc.cilium.io`;
}

/** What somebody who knows `told` must hear to know `now`. */
export function changes(told: ReadonlyMap<string, Peer>, now: readonly Peer[]): ChangeNotification[] {
  const here = new Set(now.map(({ name }) => name));
  const gone = [...told.values()].filter(({ name }) => !here.has(name)).map((peer) => notification(peer, TYPE.DELETED));
  const news = now.flatMap((peer) => {
    const before = told.get(peer.name);
    if (before === undefined) return [notification(peer, TYPE.ADDED)];
    return before.address === peer.address ? [] : [notification(peer, TYPE.UPDATED)];
  });
  return [...gone, ...news];
}

function notification({ name, address, serverName: server_name }: Peer, type: ChangeNotification['type']) {
  return { name, address, type, ...(server_name !== undefined && { tls: { server_name } }) };
}

/** The peers there are, and whoever waits for others. */
export class Peers {
  readonly #read: () => readonly Peer[];
  readonly #waiting = new Set<() => void>();

  constructor(read: () => readonly Peer[]) {
    this.#read = read;
  }

  /** To be called when nodes may have changed. */
  look(): void {
    for (const wake of this.#waiting) wake();
  }

  /** Answers with all there are, then with changes, until the signal aborts. */
  async *notify(signal: AbortSignal): AsyncGenerator<readonly ChangeNotification[], void, void> {
    let told: ReadonlyMap<string, Peer> = new Map();
    while (!signal.aborted) {
      const now = this.#read();
      const news = changes(told, now);
      told = new Map(now.map((peer) => [peer.name, peer]));
      if (news.length > 0) yield news;
      else await this.#changed(signal);
    }
  }

  async #changed(signal: AbortSignal): Promise<void> {
    const woken = Promise.withResolvers<void>();
    const wake = (): void => woken.resolve();
    this.#waiting.add(wake);
    signal.addEventListener('abort', wake, { once: true });
    await woken.promise;
    signal.removeEventListener('abort', wake);
    this.#waiting.delete(wake);
  }
}
