/** What the workloads share: how long and how often to measure, the load generator, and the sites, each built when first asked for. */
import { Testbed } from '../kit/netns.ts';
import { until } from '../kit/until.ts';
import { SERVER_CPU } from './cpu.ts';
import { Load } from './load.ts';
import { CONNTRACK_ONLY, IPERF_PORT, NFTABLES_POLICY, routed, type Site } from './site.ts';
import { weirSite } from './weir-site.ts';

export interface Effort {
  /** Rounds that count; one more is run first. */
  readonly rounds: number;
  /** Of one run. */
  readonly seconds: number;
  /** A look, not a measurement. */
  readonly quick: boolean;
}

export interface Sites {
  readonly ours: Site;
  readonly bare: Site;
  readonly others: readonly Site[];
}

export class Bench {
  readonly rounds: number;
  readonly seconds: number;
  readonly quick: boolean;
  readonly bed: Testbed;
  readonly load: Load;
  private made: Promise<Sites> | undefined;
  private readonly closing: (() => Promise<void>)[] = [];

  private constructor(effort: Effort, bed: Testbed, load: Load) {
    this.rounds = effort.rounds;
    this.seconds = effort.seconds;
    this.quick = effort.quick;
    this.bed = bed;
    this.load = load;
  }

  static async open(effort: Effort): Promise<Bench> {
    const bed = await Testbed.open('bench');
    return new Bench(effort, bed, await Load.build());
  }

  /** Two pods under Weir, over bare veth, with conntrack alone, and under nftables; servers running on all. */
  sites(): Promise<Sites> {
    this.made ??= this.make();
    return this.made;
  }

  /** The site's servers, until the bench closes. Resolves when they listen. */
  async serve(site: Site): Promise<void> {
    await this.load.serve(this.bed, site.server);
    this.bed.spawn([...SERVER_CPU, 'iperf3', '--server', '--port', IPERF_PORT], site.server);
    await until(() => accepts(site), { what: `${site.name}: iperf3 listens` });
  }

  /** Runs `close` when the bench closes, last opened first. */
  onClose(close: () => Promise<void>): void {
    this.closing.unshift(close);
  }

  async close(): Promise<void> {
    for (const close of this.closing) await close();
    await this.bed.close();
    await this.load.remove();
  }

  private async make(): Promise<Sites> {
    const bare = await routed(this.bed, 'bare veth');
    const conntrack = await routed(this.bed, 'conntrack only', CONNTRACK_ONLY);
    const nftables = await routed(this.bed, 'nftables', NFTABLES_POLICY);
    const ours = await weirSite(this);
    for (const site of [bare, conntrack, nftables, ours]) await this.serve(site);
    return { ours, bare, others: [conntrack, nftables] };
  }
}

/** Asked of the kernel, because a connection would be taken for the test itself. */
async function accepts(site: Site): Promise<boolean> {
  const listening = await site.server.run(['ss', '-Htln', `sport = :${IPERF_PORT}`]);
  return listening.trim() !== '';
}
