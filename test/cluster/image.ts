/** The image as tests of real Kubernetes use it: built of this checkout once, from /var/cache/weir/image after that. */
import { fileURLToPath } from 'node:url';
import { command } from '../kit/command.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** A docker-archive for `ctr images import`, once {@link buildImage} has ended. */
export const IMAGE_ARCHIVE = fileURLToPath(new URL('../../dist/weir-image.tar', import.meta.url));

/** Builds the image if this checkout has changed; its last line, which says what was done. */
export async function buildImage(): Promise<string> {
  const stdout = await command(['sh', `${ROOT}/setup/image.sh`], { timeoutMs: 600_000 });
  return stdout.trimEnd().split('\n').at(-1) ?? '';
}
