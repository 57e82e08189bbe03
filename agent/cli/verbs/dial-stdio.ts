/**
 * weir dial-stdio: joins stdin and stdout with the agent's API. How a `weir` on another machine reaches an agent whose socket
 * only root on its node may use: it runs this in the agent's container, and whoever may do that may ask.
 */
import { connect } from 'node:net';
import { targetOf } from '../agents.ts';
import { readServer } from '../client.ts';
import { CliError, type Command, EXIT, UsageError } from '../command.ts';

export const DIAL_STDIO: Command = {
  words: ['dial-stdio'],
  operands: [],
  sentence: "Join stdin and stdout with this machine's agent; run by weir itself, in the agent's container",
  flags: [],
  async run(call) {
    const target = targetOf(call);
    if (target.kind !== 'agent') throw new UsageError('dial-stdio is for the agent of this machine');
    const { server } = target;
    const way = readServer(server);
    if ('agent' in way) throw new UsageError(`--server: expected unix:///PATH or http://HOST:PORT, got "${server}"`);
    const { input, output } = call.io.stdio;
    const socket = connect('socketPath' in way ? { path: way.socketPath } : way);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    socket.once('close', () => resolve());
    socket.once('error', (error) => reject(new CliError(`cannot reach the agent at ${server}: ${error.message}`)));
    // The other side is gone: an answer would find nobody.
    input.once('end', () => socket.destroy());
    input.once('close', () => socket.destroy());
    output.once('error', () => socket.destroy());
    input.pipe(socket, { end: false });
    socket.pipe(output, { end: false });
    try {
      await promise;
      return EXIT.ok;
    } finally {
      input.destroy();
    }
  },
};
