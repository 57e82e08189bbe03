/** W3: connect, one byte to and fro, close; 1 and 8 clients. */
import type { Bench } from './bench.ts';
import type { Figure } from './figure.ts';
import { compareSites } from './network.ts';

export function connections(bench: Bench): Promise<Figure[]> {
  return compareSites(bench, {
    workload: 'W3',
    variants: [1, 8].map((clients) => ({
      name: `${clients} client${clients === 1 ? '' : 's'}`,
      run: (site) => bench.load.connections(site.client, site.ipv4, clients, bench.seconds),
    })),
    metrics: [
      { key: 'perSecond', metric: 'connections', unit: '1/s', better: 'more' },
      { key: 'p99us', metric: 'connection p99', unit: 'us', better: 'less' },
      { key: 'cpuUs', metric: 'connection CPU', unit: 'us', better: 'less' },
    ],
  });
}
