/** `ctr images import`, of an archive that whoever imports may not see: through its stdin. */
import { spawn } from 'node:child_process';
import { createReadStream } from 'node:fs';

/** `ctr`: the words that run it where its containerd is. `archive`: a docker-archive. Its image is there for the kubelet when this resolves. */
export async function importImage(ctr: readonly string[], archive: string): Promise<void> {
  const [program = '', ...args] = [...ctr, '-n', 'k8s.io', 'images', 'import', '-'];
  const child = spawn(program, args, { stdio: ['pipe', 'ignore', 'pipe'] });
  const said: Buffer[] = [];
  child.stderr.on('data', (chunk: Buffer) => said.push(chunk));
  child.stdin.on('error', () => {}); // Its exit code tells the story.
  createReadStream(archive).pipe(child.stdin);
  const code = await new Promise((resolve) => child.once('close', resolve));
  if (code !== 0) throw new Error(`cannot import ${archive}: ${Buffer.concat(said)}`);
}
