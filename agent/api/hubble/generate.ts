/**
 * Writes messages.gen.ts, the messages of proto/ as protobufjs reads them without a parser. test/unit/hubble-messages.test.ts
 * checks that the committed file is current. Run: npm run generate
 */
import { writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import protobuf from 'protobufjs';

const FILES = ['flow.proto', 'observer.proto', 'peer.proto', 'health.proto'] as const;

/** The text of messages.gen.ts. */
export function generatedMessages(): string {
  const root = new protobuf.Root();
  // Google's own messages come with protobufjs, ours lie in proto/.
  root.resolvePath = (_origin, target) =>
    target.startsWith('google/') ? target : fileURLToPath(new URL(`proto/${basename(target)}`, import.meta.url));
  root.loadSync([...FILES], { keepCase: true });
  root.resolveAll();
  return [
    '// Generated from proto/ by generate.ts; do not edit.',
    '// biome-ignore-all format: one line per file of diff is enough',
    `export const MESSAGES = ${JSON.stringify(root.toJSON(), null, 1)};`,
    '',
  ].join('\n');
}

if (import.meta.main) writeFileSync(new URL('messages.gen.ts', import.meta.url), generatedMessages());
