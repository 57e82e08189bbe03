/** weir sysdump: everything that somebody who helps will ask for, in one archive. */
import { withAgents } from '../agents.ts';
import { type Command, EXIT } from '../command.ts';
import { printable } from '../table.ts';
import { type ArchiveFile, writeArchive } from './archive.ts';
import { gather } from './gather.ts';

export const SYSDUMP: Command = {
  words: ['sysdump'],
  operands: [],
  sentence: 'Write what the agents and the cluster know of themselves to one archive, without secrets',
  flags: [{ name: 'file', value: 'FILE', sentence: 'Where to [weir-sysdump-TIME.tar.gz in this folder]' }],
  examples: ['weir sysdump', 'weir sysdump --node node1 --file /tmp/node1.tar.gz'],
  run: (call) =>
    withAgents(call, async (agents) => {
      const now = new Date();
      const name = `weir-sysdump-${now.toISOString().slice(0, 19).replaceAll(/[-:]/g, '').replace('T', '-')}`;
      const path = call.flags.one('file') ?? `${name}.tar.gz`;
      const problems: string[] = [];
      let files = 0;
      async function* named(): AsyncGenerator<ArchiveFile> {
        for await (const file of gather(agents, (what) => problems.push(what))) {
          files++;
          yield { ...file, name: `${name}/${file.name}` };
        }
      }
      await writeArchive(path, named(), now);
      await call.io.out(
        `${path}: ${files} files. It names pods, addresses, policies and flows; look before you share it.\n`,
      );
      if (problems.length > 0) call.io.err(`weir: ${problems.length} of them only say why they are missing:\n`);
      for (const problem of problems) call.io.err(`  ${printable(problem)}\n`);
      return problems.length === files ? EXIT.failed : EXIT.ok;
    }),
};
