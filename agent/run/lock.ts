/**
 * One agent per state directory. The lock is a listening unix socket: the kernel closes it when its holder dies, however
 * it dies, and a path works across pid and network namespaces, which a pid file does not.
 *
 * A dead holder's socket file stays, and "unlink, then bind" would let two agents that start together take it twice. So
 * each take-over binds the next number, "agent.lock.N", and the highest number holds:
 *
 *     agent.lock.4   dead          both newcomers see 4 dead and bind 5; bind() lets one of them in
 *     agent.lock.5   holder        the loser sees 5 alive and gives up; the holder removes 4
 */
import { readdir, unlink } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { WeirError } from '../errors.ts';

const PREFIX = 'agent.lock.';
const ANSWER_TIMEOUT_MS = 1000;
/** sun_path holds 108 bytes with its end (linux/un.h). */
const LONGEST_SOCKET_PATH = 107;

export interface Lock {
  release(): Promise<void>;
}

/**
 * Takes the lock of the directory, or fails with ALREADY_RUNNING naming the holder's pid (as the holder sees it).
 * The lock of a dead process is taken over.
 */
export async function takeLock(directory: string): Promise<Lock> {
  for (;;) {
    const highest = Math.max(0, ...(await numbers(directory)));
    if (highest > 0) {
      const holder = await askHolder(join(directory, PREFIX + highest));
      if (holder !== undefined) throw alreadyRunning(directory, holder);
    }
    const mine = highest + 1;
    const path = join(directory, PREFIX + mine);
    if (Buffer.byteLength(path) > LONGEST_SOCKET_PATH) {
      throw new WeirError(
        'CONFIG_INVALID',
        'lock',
        `${directory} is too long a path for the state directory: sockets in it take ${LONGEST_SOCKET_PATH} bytes at most`,
      );
    }
    const server = await bind(path);
    if (!server) continue; // somebody else took this number in between: look again
    const now = await numbers(directory);
    if (Math.max(...now) !== mine) {
      // We bound a number that had been given up: a higher one holds.
      await close(server);
      continue;
    }
    for (const number of now) if (number < mine) await unlinkIfThere(join(directory, PREFIX + number));
    return { release: () => close(server) };
  }
}

async function numbers(directory: string): Promise<number[]> {
  const names = await readdir(directory);
  return names
    .filter((name) => name.startsWith(PREFIX))
    .map((name) => Number(name.slice(PREFIX.length)))
    .filter(Number.isSafeInteger);
}

/** The holder's pid as text, or undefined if nobody listens there any more. */
async function askHolder(path: string): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    let answer = '';
    const socket = connect(path);
    socket.setTimeout(ANSWER_TIMEOUT_MS, () => {
      socket.destroy();
      resolve('unknown, it does not answer');
    });
    socket.on('data', (bytes) => {
      answer += bytes.toString('latin1').slice(0, 32);
    });
    socket.on('end', () => resolve(answer));
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT') resolve(undefined);
      else
        reject(
          new WeirError('INTERNAL', 'lock', `cannot ask the holder of ${path}: ${error.message}`, { cause: error }),
        );
    });
  });
}

async function bind(path: string): Promise<Server | undefined> {
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy()); // a newcomer that hangs up early is its own business
    socket.end(String(process.pid));
  });
  return new Promise((resolve, reject) => {
    server.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(undefined);
      else
        reject(new WeirError('STATE_NOT_DURABLE', 'lock', `cannot make ${path}: ${error.message}`, { cause: error }));
    });
    server.listen(path, () => {
      server.unref();
      resolve(server);
    });
  });
}

async function close(server: Server): Promise<void> {
  await new Promise((resolve) => server.close(resolve)); // Node unlinks the path
}

async function unlinkIfThere(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

function alreadyRunning(directory: string, holder: string): WeirError {
  return new WeirError(
    'ALREADY_RUNNING',
    'lock',
    `another agent runs on the state directory ${directory}: pid ${holder}`,
  );
}
