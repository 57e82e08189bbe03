/**
 * What goes on while something breaks: a connection that a policy allows must not notice, new ones are made in a row, and
 * somebody whom it denies tries all the time.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import type { Outcome, Peer } from '../kit/traffic.ts';
import { until } from '../kit/until.ts';
import type { Cluster } from './cluster.ts';
import { podPeer, runPods } from './pods.ts';
import { cilium } from './policy-documents.ts';

const PORT = 7000;
/** How long silence is listened to. */
const SILENCE_MS = 400;
/** A lost SYN is sent again after a second: that is noticed, and a processor that was busy is not. */
const PATIENCE_MS = 900;
/** Between connections: they are to be seen, not to fill the machine. */
const PACE_MS = 20;

/** Only app=client may speak to app=server. */
export const SERVER_POLICY = cilium('server', {
  endpointSelector: { matchLabels: { app: 'server' } },
  ingress: [{ fromEndpoints: [{ matchLabels: { app: 'client' } }] }],
});

interface PodStatus {
  readonly podIPs?: readonly { readonly ip: string }[];
  readonly containerStatuses?: readonly { readonly ready: boolean; readonly restartCount: number }[];
}

export class FaultTraffic {
  readonly #cluster: Cluster;
  readonly #peers: ReadonlyMap<string, Peer>;
  readonly #addresses: readonly string[];

  private constructor(cluster: Cluster, peers: ReadonlyMap<string, Peer>, addresses: readonly string[]) {
    this.#cluster = cluster;
    this.#peers = peers;
    this.#addresses = addresses;
  }

  /** client and stranger on node1, server on node2, and the policy in force. */
  static async start(cluster: Cluster): Promise<FaultTraffic> {
    const addresses = await runPods(cluster, [
      { name: 'client', node: 'node1' },
      { name: 'stranger', node: 'node1' },
      { name: 'server', node: 'node2' },
    ]);
    await cluster.apply(SERVER_POLICY);
    const traffic = new FaultTraffic(cluster, await FaultTraffic.#peersOf(cluster), addresses.get('server') ?? []);
    await traffic.inForce();
    return traffic;
  }

  /** After server's node was away. */
  async again(): Promise<FaultTraffic> {
    await this.close();
    const { podIPs } = await until(
      async () => {
        const { status } = await this.#cluster.get<{ status: PodStatus }>('pod', 'server');
        const [container] = status.containerStatuses ?? [];
        return container?.ready === true && container.restartCount > 0 && status;
      },
      { what: 'server to run again', timeoutMs: 90_000, everyMs: 250 },
    );
    const addresses = (podIPs ?? []).map(({ ip }) => ip);
    return new FaultTraffic(this.#cluster, await FaultTraffic.#peersOf(this.#cluster), addresses);
  }

  static async #peersOf(cluster: Cluster): Promise<Map<string, Peer>> {
    const peers = new Map<string, Peer>();
    for (const name of ['client', 'stranger', 'server']) peers.set(name, await podPeer(cluster, name));
    await peers.get('server')?.serveTcp(PORT);
    return peers;
  }

  /** Server's, of both families. */
  get addresses(): readonly string[] {
    return this.#addresses;
  }

  /** What becomes of a connection from this pod to server, in each family. */
  tries(from: 'client' | 'stranger'): Promise<Outcome[]> {
    return Promise.all(
      this.#addresses.map((address) =>
        this.#peer(from).tcp({ address, port: PORT, timeoutMs: from === 'client' ? PATIENCE_MS : SILENCE_MS }),
      ),
    );
  }

  /** Resolves when client reaches server and stranger does not. */
  async inForce(timeoutMs = 20_000): Promise<void> {
    let last = '';
    await until(
      async () => {
        last = JSON.stringify({ client: await this.tries('client'), stranger: await this.tries('stranger') });
        return last === JSON.stringify({ client: ['ok', 'ok'], stranger: ['timeout', 'timeout'] });
      },
      { what: 'the policy to be in force', timeoutMs, detail: () => last },
    );
  }

  /**
   * While `fault` goes on: the open connection loses nothing, every new one of client's is made, and none of stranger's.
   * Fails if something was noticed.
   */
  async unnoticed(fault: () => Promise<unknown>): Promise<void> {
    const [address = ''] = this.#addresses;
    const client = this.#peer('client');
    const ticker = await client.startTicker('tcp', { address, port: PORT }, 10);
    let isOver = false;
    const seen = { client: new Map<Outcome, number>(), stranger: new Map<Outcome, number>() };
    const keepTrying = async (from: 'client' | 'stranger') => {
      while (!isOver) {
        for (const outcome of await this.tries(from)) seen[from].set(outcome, (seen[from].get(outcome) ?? 0) + 1);
        await sleep(PACE_MS);
      }
    };
    const trying = Promise.all([keepTrying('client'), keepTrying('stranger')]);
    try {
      await fault();
    } finally {
      isOver = true;
      await trying;
    }
    const { sent, received, ended, longestGapMs } = await client.stopTicker(ticker);
    console.log(
      `  ${received} of ${sent} messages, longest silence ${longestGapMs.toFixed(0)} ms; ${seen.client.get('ok')} connections made, ${seen.stranger.get('timeout')} denied`,
    );
    assert.equal({ received, ended }, { received: sent, ended: undefined }, 'the open connection');
    assert.equal([...seen.client.keys()], ['ok'], 'new connections of client');
    assert.equal([...seen.stranger.keys()], ['timeout'], 'connections of stranger');
  }

  async close(): Promise<void> {
    await Promise.all([...this.#peers.values()].map((peer) => peer.close()));
  }

  #peer(name: string): Peer {
    const peer = this.#peers.get(name);
    if (peer === undefined) throw new Error(`no pod ${name}`);
    return peer;
  }
}
