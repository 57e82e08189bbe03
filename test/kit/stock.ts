/** Programs of other projects that setup builds from their Go modules (setup/stock.sh, test/stock/). */
import { existsSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const FOLDER = fileURLToPath(new URL('../../.setup/stock', import.meta.url));
export type StockProgram =
  | 'libcni'
  | 'cnitool'
  | 'cyclonus'
  | 'hubble'
  | 'hubble-relay'
  | 'kube-apiserver'
  | 'kube-controller-manager'
  | 'kube-scheduler'
  | 'kubelet'
  | 'kubectl'
  | 'agnhost'
  | 'helm'
  | 'coredns'
  | 'e2e.test'
  | 'ginkgo'
  | 'boom-server';

export function stockProgram(name: StockProgram): string {
  return join(FOLDER, name);
}

/** Where they really are, for whoever shows them to others: what stockProgram returns is a link. */
export function stockFolder(): string {
  return dirname(realpathSync(stockProgram('kubelet')));
}

/** Why one of them is not there, or undefined. */
export function stockMissing(...programs: readonly StockProgram[]): string | undefined {
  const missing = programs.filter((name) => !existsSync(stockProgram(name)));
  return missing.length === 0 ? undefined : `needs ${missing.join(', ')}, which setup builds with Go (setup/stock.sh)`;
}
