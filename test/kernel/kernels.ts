/** The kernels that setup/kernels.sh fetched. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';

export interface OldKernel {
  readonly release: string;
  readonly folder: string;
}

const CACHE = join(process.env.WEIR_CACHE ?? '/var/cache/weir', 'kernels');

export const OLD_KERNELS: readonly OldKernel[] = [
  { release: '5.10', folder: join(CACHE, 'bullseye') },
  { release: '6.1', folder: join(CACHE, 'bookworm') },
];

/** Why an old kernel cannot be booted here, or undefined. */
export function notFetched(): string | undefined {
  const absent = OLD_KERNELS.filter(({ folder }) => !existsSync(join(folder, 'vmlinuz')));
  if (absent.length === 0) return undefined;
  return `Debian's kernels ${absent.map(({ release }) => release).join(', ')} are not in ${CACHE}: sh setup/setup.sh test`;
}
