/** load.c, compiled, and its answers. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { command } from '../kit/command.ts';
import type { Netns, Testbed } from '../kit/netns.ts';
import { busySeconds, CLIENT_CPU, SERVER_CPU } from './cpu.ts';
import type { Sample } from './rounds.ts';

/** The server listens on so many ports, so that client ports in TIME_WAIT do not run out. */
export const SERVER_PORTS = { first: 7000, count: 16 } as const;

interface Answer {
  readonly count: number;
  readonly errors: number;
  readonly seconds: number;
  readonly perSecond: number;
  readonly p50us: number;
  readonly p99us: number;
}

export class Load {
  readonly program: string;
  private readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
    this.program = join(folder, 'load');
  }

  static async build(): Promise<Load> {
    const folder = await mkdtemp(join(tmpdir(), `wt-load-${process.pid}-`));
    const load = new Load(folder);
    const source = fileURLToPath(new URL('./load.c', import.meta.url));
    await command(['gcc', '-O2', '-Wall', '-Wextra', '-o', load.program, source]);
    return load;
  }

  remove(): Promise<void> {
    return rm(this.folder, { recursive: true });
  }

  /** The echo server, until the testbed closes. Resolves when it listens. */
  async serve(bed: Testbed, netns: Netns): Promise<void> {
    const { first, count } = SERVER_PORTS;
    const child = bed.spawn([...SERVER_CPU, this.program, 'serve', String(first), String(count)], netns);
    await firstLine(child.stdout);
  }

  /** One byte to and fro on standing connections. */
  requestResponse(netns: Netns, address: string, connections: number, seconds: number): Promise<Sample> {
    return this.client(netns, ['rr', address, String(SERVER_PORTS.first), String(connections), String(seconds)]);
  }

  /** Connect, one byte to and fro, close. */
  connections(netns: Netns, address: string, clients: number, seconds: number): Promise<Sample> {
    const { first, count } = SERVER_PORTS;
    return this.client(netns, ['crr', address, String(first), String(count), String(clients), String(seconds)]);
  }

  private async client(netns: Netns, words: string[]): Promise<Sample> {
    const busy = busySeconds();
    const answer = JSON.parse(await netns.run([...CLIENT_CPU, this.program, ...words])) as Answer;
    if (answer.errors > answer.count / 1000)
      throw new Error(`${words.join(' ')}: ${answer.errors} of ${answer.count} failed`);
    const cpuUs = ((busySeconds() - busy) * 1e6) / answer.count;
    return { perSecond: answer.perSecond, p50us: answer.p50us, p99us: answer.p99us, cpuUs };
  }
}

/** Resolves when the program has said its first words. */
export function firstLine(stdout: NodeJS.ReadableStream | null): Promise<string> {
  return new Promise((resolve, reject) => {
    if (stdout === null) return reject(new Error('the program has no stdout'));
    stdout.once('data', (chunk: Buffer) => resolve(chunk.toString()));
    stdout.once('end', () => reject(new Error('the program ended without a word')));
  });
}
