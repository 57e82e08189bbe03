/** A datagram every 200 us from one namespace to another, and word of when they begin and cease to arrive. */
import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Netns, Testbed } from '../kit/netns.ts';
import { firstLine, type Load } from './load.ts';

const INTERVAL_US = 200;
const PATIENCE_MS = 10_000;

export interface Path {
  readonly from: Netns;
  readonly to: Netns;
  readonly address: string;
  readonly port: number;
}

export class FlipWatcher {
  private readonly children: readonly ChildProcess[];
  private waiting: { word: string; resolve: (sentNs: bigint) => void } | undefined;

  private constructor(children: readonly ChildProcess[], sink: ChildProcess) {
    this.children = children;
    if (sink.stdout === null) throw new Error('the sink has no stdout');
    createInterface({ input: sink.stdout }).on('line', (line) => {
      const [word, sent] = line.split(' ');
      if (this.waiting === undefined || this.waiting.word !== word || sent === undefined) return;
      this.waiting.resolve(BigInt(sent));
      this.waiting = undefined;
    });
  }

  static async start(load: Load, bed: Testbed, { from, to, address, port }: Path): Promise<FlipWatcher> {
    const sink = bed.spawn([load.program, 'sink', String(port)], to);
    await firstLine(sink.stdout);
    const probe = bed.spawn([load.program, 'probe', address, String(port), String(INTERVAL_US)], from);
    return new FlipWatcher([sink, probe], sink);
  }

  /**
   * The time (CLOCK_MONOTONIC, ns) of the first datagram that arrives after a silence ('up'), or of the first that does not any
   * more ('down'): one interval after the last that did.
   */
  next(word: 'up' | 'down'): Promise<bigint> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no "${word}" within ${PATIENCE_MS} ms`)), PATIENCE_MS);
      this.waiting = {
        word,
        resolve: (sentNs) => {
          clearTimeout(timer);
          resolve(word === 'up' ? sentNs : sentNs + BigInt(INTERVAL_US * 1000));
        },
      };
    });
  }

  close(): void {
    for (const child of this.children) child.kill('SIGKILL');
  }
}
