/** Programs of other projects that setup builds from their Go modules (setup/stock.sh, test/stock/). */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
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
  | 'coredns';

export function stockProgram(name: StockProgram): string {
  return join(FOLDER, name);
}

/** Why one of them is not there, or undefined. */
export function stockMissing(...programs: readonly StockProgram[]): string | undefined {
  const missing = programs.filter((name) => !existsSync(stockProgram(name)));
  return missing.length === 0 ? undefined : `needs ${missing.join(', ')}, which setup builds with Go (setup/stock.sh)`;
}
