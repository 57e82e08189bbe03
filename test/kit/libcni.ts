/** libcni as a container runtime has it linked in: test/stock/libcni/main.go, asked over its stdin. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Netns } from './netns.ts';
import { stockProgram } from './stock.ts';

export interface Attachment {
  readonly ContainerID: string;
  readonly NetNS: string;
  readonly IfName: string;
  readonly Args: readonly (readonly [string, string])[];
  readonly CapabilityArgs?: Readonly<Record<string, unknown>>;
}

export interface LibcniAnswer {
  // biome-ignore lint/suspicious/noExplicitAny: a result of any version, looked into by tests
  readonly result: any;
  readonly error?: string;
  /** Of a plugin's error object. */
  readonly code?: number;
}

export type LibcniVerb = 'ADD' | 'CHECK' | 'DEL' | 'GC' | 'STATUS' | 'VALIDATE' | 'CACHED';

export class Libcni {
  private readonly child: ChildProcess;
  private readonly waiting: ((answer: LibcniAnswer) => void)[] = [];
  private readonly places: { readonly Path: readonly string[]; readonly Cache: string };

  /** Runs in the node's namespace, as plugins of a chain expect. */
  constructor(node: Netns, path: readonly string[], cache: string) {
    this.places = { Path: path, Cache: cache };
    const [program = '', ...args] = node.enter([stockProgram('libcni')]);
    this.child = spawn(program, args, { stdio: ['pipe', 'pipe', 'ignore'] });
    const gone = () => {
      for (const answer of this.waiting.splice(0)) answer({ result: null, error: 'test/stock/libcni ended' });
    };
    this.child.once('exit', gone).once('error', gone);
    if (this.child.stdout === null) throw new Error('libcni has no stdout');
    createInterface({ input: this.child.stdout }).on('line', (line) => this.waiting.shift()?.(JSON.parse(line)));
  }

  ask(verb: LibcniVerb, list: unknown, runtime?: Attachment, valid?: readonly object[]): Promise<LibcniAnswer> {
    return new Promise((resolve) => {
      this.waiting.push(resolve);
      const request = { Verb: verb, List: list, ...this.places, Runtime: runtime ?? {}, Valid: valid };
      this.child.stdin?.write(`${JSON.stringify(request)}\n`);
    });
  }

  [Symbol.dispose](): void {
    this.child.kill('SIGKILL');
  }
}
