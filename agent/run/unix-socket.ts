/** The path of a unix socket, taken over from an agent that died and left its file. */
import { lstat, unlink } from 'node:fs/promises';
import { connect } from 'node:net';
import { WeirError } from '../errors.ts';

/**
 * Removes a socket file that nobody answers on, so that one can listen there.
 * @param operation for the error, e.g. "open the API socket"
 * @throws ALREADY_RUNNING when somebody answers, CONFIG_INVALID for a file that is no socket; both are left alone
 */
export async function takeOver(path: string, operation: string): Promise<void> {
  const found = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw new WeirError('CONFIG_INVALID', operation, `${path} is there and is no socket; it is left alone`);
  }
  if (await answers(path)) {
    throw new WeirError('ALREADY_RUNNING', operation, `another process answers on ${path}`);
  }
  await unlink(path);
}

/** ECONNREFUSED means that the file's owner is gone; anything else is treated as somebody being there. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error: NodeJS.ErrnoException) =>
      resolve(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT'),
    );
  });
}
