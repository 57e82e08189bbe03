/** W1: iperf3 from pod to pod, 1 and 2 streams. */
import type { Bench } from './bench.ts';
import { busySeconds, CLIENT_CPU } from './cpu.ts';
import type { Figure } from './figure.ts';
import { compareSites } from './network.ts';
import type { Sample } from './rounds.ts';
import { IPERF_PORT, type Site } from './site.ts';

export function stream(bench: Bench): Promise<Figure[]> {
  const goal = { ratioAtLeast: 0.97 };
  return compareSites(bench, {
    workload: 'W1',
    variants: [1, 2].map((streams) => ({
      name: `${streams} stream${streams === 1 ? '' : 's'}`,
      run: (site) => iperf(site, streams, bench.seconds),
    })),
    metrics: [
      { key: 'gbitPerSecond', metric: 'stream', unit: 'Gbit/s', better: 'more', goal },
      { key: 'cpuPerGb', metric: 'stream CPU', unit: 's/GB', better: 'less' },
    ],
  });
}

export async function iperf(site: Site, streams: number, seconds: number): Promise<Sample> {
  const busy = busySeconds();
  const words = [
    'iperf3',
    '--client',
    site.ipv4,
    '--port',
    IPERF_PORT,
    '--parallel',
    String(streams),
    '--time',
    String(seconds),
    '--json',
  ];
  const answer = JSON.parse(
    await site.client.run([...CLIENT_CPU, ...words], { timeoutMs: seconds * 1000 + 30_000 }),
  ) as {
    end: { sum_received: { bits_per_second: number; bytes: number } };
  };
  const { bits_per_second: rate, bytes } = answer.end.sum_received;
  return { gbitPerSecond: rate / 1e9, cpuPerGb: (busySeconds() - busy) / (bytes / 1e9) };
}
