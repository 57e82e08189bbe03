/**
 * `npm run generate`: compiles bpf/ and writes agent/datapath/layout.gen.ts from its BTF. The file is committed, so
 * that a change of layout shows in review and nothing but this step needs clang. `--stdout` prints instead of writing.
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Btf, type MapDefinition } from './btf.ts';
import { emitLayout } from './emit.ts';
import { readHeaders } from './headers.ts';
import { PREAMBLE } from './preamble.ts';

const BPF = dirname(dirname(fileURLToPath(import.meta.url)));
const OUTPUT = join(BPF, '../agent/datapath/layout.gen.ts');

function dumpBtf(object: string): Btf {
  return new Btf(
    execFileSync('bpftool', ['-j', 'btf', 'dump', 'file', object], { encoding: 'utf8', maxBuffer: 1 << 26 }),
  );
}

execFileSync('make', ['-s', '-C', BPF], { stdio: ['ignore', process.stderr, process.stderr] });
const shared = dumpBtf(join(BPF, 'build/all.o'));
const program = dumpBtf(join(BPF, 'build/pod.bpf.o'));
const structs = shared.structs();
const known = new Set(structs.map((struct) => struct.name));
/* A map of a type that is not shared is the programs' own scratch space: the agent neither pins nor reads it. */
const isShared = ({ valueType }: MapDefinition): boolean =>
  valueType === undefined || valueType.startsWith('__u') || known.has(valueType);
const text = emitLayout(
  {
    structs,
    enums: shared.enums(),
    maps: program.maps().filter(isShared),
    config: program.config(),
    headers: readHeaders(join(BPF, 'abi')),
  },
  PREAMBLE,
);
if (process.argv.includes('--stdout')) process.stdout.write(text);
else writeFileSync(OUTPUT, text);
