/** weir-cni as built, against the agent's real server on a real socket; only the kernel behind it is a fake. */
import { execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { parseFrame } from '../../agent/cni/frame.ts';
import { openDeleteQueue } from '../../agent/cni/replay.ts';
import { type CniServer, type CniServerOptions, startCniServer } from '../../agent/cni/server.ts';
import type { WeirError } from '../../agent/errors.ts';
import { createLogger } from '../../agent/run/log.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';
import { type Agent, container, createWorld, prefixes, type World } from '../unit/endpoint-world.ts';

const SHIM = fileURLToPath(new URL('../../cni', import.meta.url));
const CONFIG = { cniVersion: '1.0.0', name: 'weir', type: 'weir-cni' };

interface Run {
  readonly exit: number | null;
  readonly stdout: string;
  readonly stderr: string;
  // biome-ignore lint/suspicious/noExplicitAny: the JSON of any verb, looked into by tests
  readonly json: any;
}

/** A folder with a copy of weir-cni and its .socket file; a node and its agent, which may be away. */
class Place {
  readonly folder = mkdtempSync(join(tmpdir(), 'wt-cni-'));
  readonly binary = join(this.folder, 'weir-cni');
  readonly socket = join(this.folder, 'run', 'cni.sock');
  readonly queue = join(this.folder, 'state', 'deep', 'queue');
  readonly world: World = createWorld(prefixes('10.7.0.0/24'));
  readonly log: string[] = [];
  readonly #atEnd: (() => unknown)[] = [];

  constructor() {
    chmodSync(this.folder, 0o755);
    copyFileSync(join(SHIM, 'build', 'weir-cni'), this.binary);
    this.settings(`${this.socket}\n${this.queue}\n`);
  }

  settings(text: string): void {
    writeFileSync(`${this.binary}.socket`, text);
  }

  /** Starts the agent: endpoints restored, kept DELs applied, then the socket. */
  async agent(options: Partial<CniServerOptions> = {}): Promise<Agent & { server: CniServer }> {
    const agent = await this.world.boot();
    const log = createLogger({ level: 'debug', format: 'text', write: (line) => this.log.push(line) });
    const queue = await openDeleteQueue({ folder: this.queue, del: agent.endpoints.del, log });
    await queue.replay();
    const server = await startCniServer({
      socketPath: this.socket,
      endpoints: agent.endpoints,
      queue,
      readiness: () => ({ state: 'ready' }),
      log,
      ...options,
    });
    this.#atEnd.push(() => server.close());
    return { ...agent, server };
  }

  /** Something else than our agent on the socket. */
  async impostor(serve: (socket: Socket) => void): Promise<void> {
    mkdirSync(join(this.folder, 'run'), { recursive: true });
    const sockets: Socket[] = [];
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      sockets.push(socket);
      socket.on('error', () => {}); // The other side may die, which is what some tests want.
      serve(socket);
    });
    await new Promise<void>((resolve) => server.listen(this.socket, resolve));
    this.#atEnd.push(() => {
      for (const socket of sockets) socket.destroy();
      return new Promise((resolve) => server.close(resolve));
    });
  }

  run(verb: string, options: RunOptions = {}): Promise<Run> {
    return runShim(this.binary, verb, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const step of this.#atEnd.reverse()) await step();
    this.world.remove();
    rmSync(this.folder, { recursive: true });
  }
}

interface RunOptions {
  readonly config?: object;
  readonly stdin?: string | Buffer;
  readonly env?: Record<string, string>;
  readonly name?: string;
  /** A shell line in which "$0" is the binary. */
  readonly shell?: string;
  readonly uid?: number;
}

function runShim(
  binary: string,
  verb: string,
  { config = {}, stdin, env = {}, name = 'a', shell, uid }: RunOptions,
): Promise<Run> {
  const variables = {
    CNI_COMMAND: verb,
    CNI_CONTAINERID: name,
    CNI_NETNS: `/run/netns/${name}`,
    CNI_IFNAME: 'eth0',
    CNI_PATH: '/opt/cni/bin',
    CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=${name}`,
    PATH: process.env.PATH ?? '',
    ...env,
  };
  const [command, words] = shell ? ['sh', ['-c', shell, binary]] : [binary, []];
  const child = spawn(command, words, { env: variables, cwd: '/', ...(uid === undefined ? {} : { uid, gid: uid }) });
  child.stdin.on('error', () => {}); // It need not read what it refuses.
  child.stdin.end(stdin ?? JSON.stringify({ ...CONFIG, ...config }));
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout.on('data', (chunk) => out.push(chunk));
  child.stderr.on('data', (chunk) => err.push(chunk));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (exit) => {
      const stdout = Buffer.concat(out).toString();
      let json: unknown;
      try {
        json = stdout === '' ? undefined : JSON.parse(stdout);
      } catch {
        json = `not JSON: ${stdout}`;
      }
      resolve({ exit, stdout, stderr: Buffer.concat(err).toString(), json });
    });
  });
}

const together = privileged(suite('weir-cni and the agent'), 'root');
together.before(() => {
  execFileSync('make', ['-s', '-C', SHIM]);
});

together('is one static file', () => {
  const elf = readFileSync(join(SHIM, 'build', 'weir-cni'));
  // elf.h, Elf64_Ehdr and Elf64_Phdr: a dynamic program names its loader in a header of type PT_INTERP, 3.
  const [at, size, count] = [Number(elf.readBigUInt64LE(32)), elf.readUInt16LE(54), elf.readUInt16LE(56)];
  const types = Array.from({ length: count }, (_, i) => elf.readUInt32LE(at + i * size));
  assert.ok(types.includes(1), 'something to load');
  assert.not.ok(types.includes(3), 'no loader');
  assert.ok(elf.length < 1 << 20, `${elf.length} bytes`);
});

together('ADD, CHECK, STATUS, GC, VERSION, DEL', async () => {
  await using place = new Place();
  const { endpoints } = await place.agent();
  container(place.world, 'a');
  const added = await place.run('ADD');
  assert.equal([added.exit, added.stderr, added.json.cniVersion], [0, '', '1.0.0']);
  assert.equal(added.json.ips, [{ address: '10.7.0.2/32', gateway: '169.254.1.1', interface: 1 }]);
  const checked = await place.run('CHECK', { config: { prevResult: added.json } });
  assert.equal([checked.exit, checked.stdout, checked.stderr], [0, '', '']);
  const failed = await place.run('CHECK', { config: { prevResult: { ...added.json, ips: [] } } });
  assert.equal([failed.exit, failed.json.code], [1, 101]);
  const status = await place.run('STATUS', { config: { cniVersion: '1.1.0' } });
  assert.equal([status.exit, status.stdout], [0, '']);
  const listed = { cniVersion: '1.1.0', 'cni.dev/valid-attachments': [{ containerID: 'a', ifname: 'eth0' }] };
  assert.is((await place.run('GC', { config: listed })).exit, 0);
  assert.is(endpoints.list().length, 1);
  assert.equal((await place.run('VERSION')).json, {
    cniVersion: '1.0.0',
    supportedVersions: ['0.3.1', '0.4.0', '1.0.0', '1.1.0'],
  });
  for (let twice = 0; twice < 2; twice++) {
    const deleted = await place.run('DEL');
    assert.equal([deleted.exit, deleted.stdout, deleted.stderr], [0, '', '']);
  }
  assert.equal(place.world.residue(), []);
});

together('an error of the agent is what the runtime reads', async () => {
  await using place = new Place();
  await place.agent();
  container(place.world, 'a');
  await place.run('ADD');
  const { exit, json } = await place.run('ADD');
  assert.equal([exit, json.code, json.cniVersion], [1, 100, '1.0.0']);
  assert.match(json.msg, /exists already/);
  assert.is((await place.run('ADD', { env: { CNI_IFNAME: '../x' } })).json.code, 4);
  assert.is((await place.run('ADD', { stdin: 'rubbish' })).json.code, 6);
  assert.is((await place.run('ADD', { config: { cniVersion: '0.2.0' } })).json.code, 1);
});

together('the frame: only CNI_ variables, and stdin byte for byte', async () => {
  await using place = new Place();
  const frames: Buffer[] = [];
  await place.impostor((socket) => {
    const chunks: Buffer[] = [];
    socket.on('data', (chunk) => chunks.push(chunk));
    socket.on('end', () => {
      frames.push(Buffer.concat(chunks));
      socket.end(Buffer.from('\x2a{"any":"thing"}\n', 'latin1'));
    });
  });
  const stdin = Buffer.concat([Buffer.from([0, 1, 255]), Buffer.alloc((1 << 20) - 3, 0x20)]);
  const { exit, stdout } = await place.run('ADD', { stdin, env: { SECRET: 'x', CNI_: 'odd', XCNI_A: '1' } });
  assert.equal([exit, stdout], [0x2a, '{"any":"thing"}\n']);
  const frame = frames[0] as Buffer;
  assert.not.ok(frame.includes('SECRET') || frame.includes('XCNI'));
  assert.ok(frame.subarray(frame.length - stdin.length).equals(stdin));
  const { environment } = parseFrame(Buffer.from(frame.toString('latin1').replace('CNI_=odd\0', ''), 'latin1'));
  assert.equal([...environment.keys()].sort(), [
    'CNI_ARGS',
    'CNI_COMMAND',
    'CNI_CONTAINERID',
    'CNI_IFNAME',
    'CNI_NETNS',
    'CNI_PATH',
  ]);
});

together('8 at a time: 64 pods come and go, no address twice, nothing left', async () => {
  await using place = new Place();
  const { endpoints } = await place.agent();
  const names = Array.from({ length: 64 }, (_, i) => `pod-${i}`);
  for (const name of names) container(place.world, name);
  const each = async (verb: string): Promise<Run[]> => {
    const waiting = [...names];
    const runs: Run[] = [];
    const worker = async (): Promise<void> => {
      for (let name = waiting.shift(); name; name = waiting.shift()) runs.push(await place.run(verb, { name }));
    };
    await Promise.all(Array.from({ length: 8 }, worker));
    return runs;
  };
  const added = await each('ADD');
  assert.is(new Set(added.map(({ json }) => json.ips[0].address)).size, 64);
  assert.is(endpoints.list().length, 64);
  assert.ok((await each('DEL')).every(({ exit }) => exit === 0));
  assert.equal(place.world.residue(), []);
});
together.run();

const away = privileged(suite('weir-cni without the agent'), 'root');
away('every verb has its answer', async () => {
  await using place = new Place();
  const codes: Record<string, number> = { ADD: 11, CHECK: 11, GC: 11, STATUS: 50 };
  for (const [verb, code] of Object.entries(codes)) {
    const { exit, json } = await place.run(verb);
    assert.equal([exit, json.code, json.cniVersion, json.details], [1, code, '1.0.0', 'No such file or directory']);
  }
  assert.is((await place.run('VERSION', { config: { cniVersion: '0.3.1' } })).json.cniVersion, '0.3.1');
  assert.equal(existsSync(place.queue), false);
});

away('the version is found in any spacing, and nothing else is taken for one', async () => {
  await using place = new Place();
  const versions: readonly [stdin: string, version: string][] = [
    ['{ "cniVersion" :\n\t "0.4.0" }', '0.4.0'],
    ['{"prevResult":{"cniVersion":"0.3.1"}}', '0.3.1'],
    ['{"cniVersion":"1.0.0\\","code":"}', '1.1.0'],
    ['{"cniVersion":"1.0.0', '1.1.0'],
    ['{"cniVersion":', '1.1.0'],
    ['"cniVersion"', '1.1.0'],
    [`{"cniVersion":"${'1'.repeat(100)}"}`, '1.1.0'],
    ['{"cniVersion":1}', '1.1.0'],
    ['', '1.1.0'],
    ['\0"cniVersion":"0.4.0"', '0.4.0'],
    [`${' '.repeat((1 << 20) - 12)}"cniVersion"`, '1.1.0'],
  ];
  for (const [stdin, version] of versions) {
    assert.is((await place.run('ADD', { stdin })).json.cniVersion, version, JSON.stringify(stdin.slice(0, 40)));
  }
});

away('DEL is kept and succeeds; the agent applies it once', async () => {
  await using place = new Place();
  const before = await place.agent();
  container(place.world, 'a');
  container(place.world, 'b');
  await place.run('ADD');
  await place.run('ADD', { name: 'b' });
  await before.server.close();
  const { exit, stdout, stderr } = await place.run('DEL');
  assert.equal([exit, stdout], [0, '']);
  assert.match(stderr, /DEL kept for weir-agent/);
  await place.run('DEL');
  const kept = readdirSync(place.queue);
  assert.is(kept.length, 2);
  assert.is(statSync(place.queue).mode & 0o777, 0o700);
  assert.is(statSync(join(place.queue, kept[0] as string)).mode & 0o777, 0o600);
  assert.is(parseFrame(readFileSync(join(place.queue, kept[0] as string))).environment.get('CNI_CONTAINERID'), 'a');
  assert.is(place.world.links.size, 2);
  const after = await place.agent();
  assert.equal(
    after.endpoints.list().map(({ containerId }) => containerId),
    ['b'],
  );
  assert.is(after.pool.use()[0]?.used, 1);
  assert.is(after.endpoints.counters().removed, 1);
  assert.equal(readdirSync(place.queue), []);
});

away('DEL that cannot be kept says so: the runtime must ask again', async () => {
  await using place = new Place();
  writeFileSync(join(place.folder, 'state'), 'a file where the folder should be');
  const { exit, json } = await place.run('DEL');
  assert.equal([exit, json.code, json.details], [1, 11, 'Not a directory']);
  assert.match(json.msg, /cannot be kept/);
});

const NEEDED: readonly [verb: string, variables: readonly string[]][] = [
  ['ADD', ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME']],
  ['CHECK', ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME']],
  ['DEL', ['CNI_CONTAINERID', 'CNI_IFNAME']],
  ['GC', ['CNI_PATH']],
];
for (const [verb, variables] of NEEDED) {
  away(`${verb} without a variable it needs is refused in the words of the agent, and nothing is kept`, async () => {
    await using place = new Place();
    const ways = variables.flatMap((name) => [
      { wrong: [name], shell: `unset ${name}; exec "$0"` },
      { wrong: [name], shell: `${name}= exec "$0"` },
    ]);
    const all = { wrong: variables, shell: `unset ${variables.join(' ')}; exec "$0"` };
    const ask = async () => {
      for (const { wrong, shell } of [...ways, all]) {
        const { exit, json } = await place.run(verb, { shell });
        const message = wrong.map((name) => `${name} is missing, which ${verb} needs`).join('; ');
        assert.equal([exit, json.code, json.msg, existsSync(place.queue)], [1, 4, message, false], shell);
      }
    };
    await ask();
    const { server } = await place.agent();
    rmSync(place.queue, { recursive: true, force: true }); // Made by the agent.
    await ask();
    await server.close();
  });
}

away('STATUS and VERSION need no variable', async () => {
  await using place = new Place();
  const shell = 'unset CNI_CONTAINERID CNI_NETNS CNI_IFNAME CNI_PATH; exec "$0"';
  assert.is((await place.run('STATUS', { shell })).json.code, 50);
  assert.is((await place.run('VERSION', { shell })).exit, 0);
});

away('a command that is none, or none', async () => {
  await using place = new Place();
  for (const verb of ['', 'add', 'ADD ', '"\n']) assert.is((await place.run(verb)).json.code, 4);
  assert.is((await place.run('', { shell: 'unset CNI_COMMAND; exec "$0"' })).json.code, 4);
});

const DEATHS: readonly [how: string, serve: (socket: Socket) => void][] = [
  ['at once', (socket) => socket.destroy()],
  ['after the request', (socket) => void socket.resume().on('end', () => socket.destroy())],
  ['without a word', (socket) => void socket.resume().on('end', () => socket.end())],
  ['after the exit byte and half a text', (socket) => void socket.resume().on('end', () => socket.end('\0{"cniVers'))],
];
for (const [how, serve] of DEATHS) {
  away(`the agent dies ${how}: ADD is to be tried again, DEL is kept`, async () => {
    await using place = new Place();
    await place.impostor(serve);
    const added = await place.run('ADD');
    assert.equal([added.exit, added.json.code], [1, 11]);
    const deleted = await place.run('DEL');
    assert.equal([deleted.exit, deleted.stdout], [0, '']);
    assert.is(readdirSync(place.queue).length, 1);
  });
}
away('an exit byte alone is an answer, but not to ADD', async () => {
  await using place = new Place();
  await place.impostor((socket) => void socket.resume().on('end', () => socket.end('\0')));
  assert.is((await place.run('DEL')).exit, 0);
  assert.equal(existsSync(place.queue), false);
  assert.is((await place.run('ADD')).json.code, 11);
});

away('an agent that never answers: STATUS says so after 5 s', async () => {
  await using place = new Place();
  await place.impostor((socket) => void socket.resume());
  const started = performance.now();
  const { json } = await place.run('STATUS');
  assert.equal([json.code, json.details], [50, 'Connection timed out']);
  const seconds = (performance.now() - started) / 1000;
  assert.ok(seconds > 4.5 && seconds < 8, `${seconds} s`);
});

away('stdin: too large is refused in bounded memory, also when it never ends', async () => {
  await using place = new Place();
  await place.agent();
  const over = await place.run('ADD', { stdin: Buffer.alloc((1 << 20) + 1, 0x20) });
  assert.equal([over.exit, over.json.code], [1, 6]);
  assert.match(over.json.msg, /larger than 1 MiB/);
  // 8 MiB of address space, program and both buffers included.
  const endless = await place.run('ADD', { shell: 'ulimit -v 8192; head -c 1G /dev/zero | exec "$0"' });
  assert.is(endless.json.code, 6);
});

away('variables of more than 64 KiB', async () => {
  await using place = new Place();
  const { json } = await place.run('ADD', { env: { CNI_ARGS: 'x'.repeat(65_536) } });
  assert.is(json.code, 4);
  assert.match(json.msg, /CNI_ARGS/);
});

away('a result nobody can read is no success', async () => {
  await using place = new Place();
  await place.agent();
  container(place.world, 'a');
  assert.is((await place.run('ADD', { shell: '"$0" > /dev/full' })).exit, 1);
  assert.is((await place.run('VERSION', { shell: '"$0" > /dev/full' })).exit, 1);
});

away('the .socket file: missing, one line, too long, unreadable', async () => {
  await using place = new Place();
  const { server } = await place.agent();
  place.settings(place.socket);
  assert.is((await place.run('STATUS', { config: { cniVersion: '1.1.0' } })).exit, 0);
  await server.close();
  place.settings(`/${'x'.repeat(150)}\n/queue\n`);
  const long = await place.run('ADD');
  assert.equal([long.json.code, long.exit], [5, 1]);
  assert.match(long.json.msg, /exceeds 106 bytes/);
  rmSync(`${place.binary}.socket`);
  mkdirSync(`${place.binary}.socket`);
  assert.is((await place.run('ADD')).exit, 1);
});
away.run();

const server = privileged(suite('the socket of the agent'), 'root');
server('only root reaches it: by the folder, and by the socket itself', async () => {
  await using place = new Place();
  await place.agent();
  assert.is(statSync(join(place.folder, 'run')).mode & 0o777, 0o700);
  assert.is(statSync(place.socket).mode & 0o777, 0o600);
  const nobody = 65534;
  assert.is((await place.run('STATUS', { uid: nobody })).json.details, 'Permission denied');
  chmodSync(join(place.folder, 'run'), 0o755);
  assert.is((await place.run('STATUS', { uid: nobody })).json.details, 'Permission denied');
  chmodSync(place.socket, 0o666);
  const reached = await place.run('STATUS', { uid: nobody, config: { cniVersion: '1.1.0' } });
  assert.is(reached.exit, 0, 'the test itself: with other modes it would be reached');
});

server('a socket left by a dead agent is taken over, that of a living one is not', async () => {
  await using place = new Place();
  await place.agent();
  try {
    await place.agent();
    assert.unreachable();
  } catch (error) {
    assert.is((error as WeirError).code, 'ALREADY_RUNNING');
  }
  const dead = join(place.folder, 'dead.sock');
  execFileSync('python3', ['-c', 'import socket,sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])', dead]);
  await place.agent({ socketPath: dead });
});

/** Writes until the other side refuses, at most `limit` bytes. Returns how many were taken and what was answered. */
function flood(path: string, limit: number, first = ''): Promise<{ sent: number; answered: string }> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const chunk = Buffer.alloc(1 << 16, 0x5b);
    const answered: Buffer[] = [];
    let sent = 0;
    const write = (): void => {
      while (sent < limit && !socket.destroyed) {
        sent += chunk.length;
        if (!socket.write(chunk)) return;
      }
    };
    socket.on('connect', () => {
      socket.write(first);
      write();
    });
    socket.on('drain', write);
    socket.on('data', (data) => answered.push(data));
    socket.on('error', () => {}); // Refused: what is expected.
    socket.on('close', () => resolve({ sent, answered: Buffer.concat(answered).toString() }));
  });
}

server('1 GiB into the socket is refused after one request, in bounded memory', async () => {
  await using place = new Place();
  const { endpoints } = await place.agent();
  const before = process.memoryUsage().rss;
  for (let i = 0; i < 8; i++) {
    const { sent, answered } = await flood(place.socket, 2 ** 30, 'CNI_COMMAND=ADD\0\0');
    assert.ok(sent < 8 << 20, `${sent} bytes were taken`);
    assert.match(answered, /"code":6/);
  }
  const grown = (process.memoryUsage().rss - before) / 2 ** 20;
  assert.ok(grown < 64, `${grown} MiB more`);
  assert.is((await place.run('STATUS', { config: { cniVersion: '1.1.0' } })).exit, 0);
  assert.is(endpoints.list().length, 0);
});

server('many large requests at once: further ones are to be tried again, the memory is bounded', async () => {
  await using place = new Place();
  await place.agent({ maxHeldBytes: 3 << 20, receiveDeadlineMs: 500 });
  // 900 KiB each, never ended: they hold what they sent until their time is over.
  const held = Array.from({ length: 6 }, () => flood(place.socket, 900 << 10));
  const answers = (await Promise.all(held)).map(({ answered }) =>
    /"code":(\d+).*?"msg":"([^"]*)/.exec(answered)?.slice(1, 3),
  );
  assert.ok(
    answers.some((answer) => /too many large requests/.test(answer?.[1] ?? '')),
    JSON.stringify(answers),
  );
  assert.ok(
    answers.some((answer) => /not sent completely within 0.5 s/.test(answer?.[1] ?? '')),
    JSON.stringify(answers),
  );
  assert.ok(
    answers.every((answer) => answer?.[0] === '11'),
    JSON.stringify(answers),
  );
  assert.is((await place.run('STATUS', { config: { cniVersion: '1.1.0' } })).exit, 0);
});

server('a request refused before it was sent completely: the runtime still reads why', async () => {
  await using place = new Place();
  await place.agent({ maxHeldBytes: 1 << 10 });
  for (let i = 0; i < 10; i++) {
    const { json } = await place.run('ADD', { stdin: Buffer.alloc(1 << 20, 0x20) });
    assert.equal([json.code, json.msg], [11, 'too many large requests at once']);
  }
});

server('whoever sends nothing, or never reads, does not keep a connection', async () => {
  await using place = new Place();
  await place.agent({ receiveDeadlineMs: 100, maxConnections: 4 });
  const idle = Array.from({ length: 4 }, () => connect(place.socket));
  for (const socket of idle) socket.on('error', () => {}).resume();
  await until(() => idle.every((socket) => socket.readyState === 'open'), { what: 'all four to be connected' });
  assert.is((await place.run('STATUS')).json.code, 50); // no fifth: closed at once
  const ok = async (): Promise<boolean> => (await place.run('STATUS', { config: { cniVersion: '1.1.0' } })).exit === 0;
  await until(ok, { what: 'the idle ones to be closed' });
  for (const socket of idle) socket.destroy();
  assert.match(place.log.join(''), /not sent completely within 0.1 s/);
});

server('closing waits for the requests under way', async () => {
  await using place = new Place();
  const { server, endpoints } = await place.agent();
  container(place.world, 'a');
  const adding = place.run('ADD');
  await until(() => endpoints.counters().changing + endpoints.counters().ready > 0, {
    what: 'ADD to be under way',
    everyMs: 1,
  });
  await server.close();
  assert.is((await adding).exit, 0);
});
server.run();
