/**
 * Who may import whom. Dependencies run one way, down river: model at the bottom, main at the top. The first rule whose `of` is the beginning of
 * a file's path holds for that file; a file may always import its own part.
 */

export interface ImportRule {
  /** Beginning of the paths it is about. */
  readonly of: string;
  /** Beginnings of the paths they may import, besides `of` itself. */
  readonly may: readonly string[];
  /** As `may`, for types only: `import type`. */
  readonly mayTypes?: readonly string[];
  /** npm packages; node:* is free to all but the pure parts, which list nothing. */
  readonly packages?: readonly string[];
  readonly why: string;
}

/** Small and without direction: every part of the agent may stand on them. */
const FLOOR = ['agent/errors.ts', 'agent/config/', 'agent/run/', 'agent/model/'];
const INTERFACE = 'agent/datapath/datapath.ts';
const LAYOUT = 'agent/datapath/layout.gen.ts';

export const RULES: readonly ImportRule[] = [
  { of: 'agent/model/', may: [], why: 'the nouns stand on nothing' },
  { of: 'agent/errors.ts', may: [], why: 'the table of errors stands on nothing' },
  {
    of: 'agent/config/',
    may: ['agent/errors.ts', 'agent/model/', 'agent/run/'],
    packages: ['yaml'],
    why: 'the configuration knows no part',
  },
  { of: 'agent/run/', may: ['agent/errors.ts', 'agent/model/'], why: 'loops and logs know no part' },
  { of: 'agent/policy/', may: FLOOR, packages: ['yaml'], why: 'the engine is usable alone, offline' },
  { of: 'agent/identity/', may: FLOOR, why: 'allocation is pure, with a durable record' },
  { of: 'agent/ipam/', may: FLOOR, why: 'allocation is pure, with a durable record' },
  {
    of: 'agent/kubernetes/',
    may: FLOOR,
    packages: ['@kubernetes/client-node'],
    why: 'it speaks with the API server and knows no part that does',
  },
  {
    of: 'agent/cluster/',
    may: [...FLOOR, 'agent/kubernetes/', 'agent/identity/', 'agent/source/object/'],
    why: 'it is what nodes agree on through the API server; what is made of it is decided elsewhere',
  },
  {
    of: 'agent/source/kubernetes/',
    may: [...FLOOR, 'agent/kubernetes/', 'agent/cluster/objects.ts', 'agent/source/source.ts', 'agent/source/object/'],
    why: 'it is a source, over the API client',
  },
  { of: 'agent/source/', may: FLOOR, packages: ['yaml'], why: 'sources only write what the model describes' },
  {
    of: 'agent/service/',
    may: ['agent/model/'],
    mayTypes: [INTERFACE],
    why: 'what a Service stands for is decided without the kernel',
  },
  { of: LAYOUT, may: [], why: 'it is generated from bpf/abi' },
  { of: INTERFACE, may: ['agent/model/', LAYOUT], why: 'it is the interface others see instead of the kernel' },
  {
    of: 'agent/datapath/plan/',
    may: [...FLOOR, INTERFACE],
    why: 'the order of the writes is decided without the kernel',
  },
  {
    of: 'agent/datapath/map/',
    may: [...FLOOR, 'agent/datapath/plan/', INTERFACE, LAYOUT, 'native/'],
    why: 'maps know what is planned, and no program',
  },
  {
    of: 'agent/datapath/program/',
    may: [...FLOOR, 'agent/datapath/map/', INTERFACE, LAYOUT, 'native/'],
    why: 'programs use maps, and know no pod',
  },
  {
    of: 'agent/datapath/',
    may: [...FLOOR, 'native/'],
    why: 'it makes the kernel hold what was decided, and decides nothing about policy',
  },
  {
    of: 'agent/network/',
    may: [...FLOOR, INTERFACE, LAYOUT, 'agent/datapath/wiring/node.ts', 'native/'],
    why: "it makes the node's own devices, routes and rules, and knows neither pods nor policy",
  },
  {
    of: 'agent/endpoint/',
    may: [...FLOOR, 'agent/ipam/', 'agent/identity/', INTERFACE, 'native/'],
    why: 'it wires pods, and sees the datapath only as its interface',
  },
  {
    of: 'agent/cni/',
    may: [...FLOOR, 'agent/ipam/', 'agent/identity/', 'agent/endpoint/', INTERFACE],
    why: 'it speaks CNI for endpoint/',
  },
  {
    of: 'agent/flow/',
    may: [...FLOOR, LAYOUT, INTERFACE],
    packages: ['prom-client'],
    why: 'events are decoded and kept; nothing flows back down',
  },
  {
    of: 'agent/export/',
    may: [...FLOOR, 'agent/flow/', 'agent/api/hubble/'],
    packages: ['@opentelemetry/exporter-logs-otlp-http'],
    why: "it is a reader of the history, and what it writes is in Hubble's words; loaded only when asked for",
  },
  {
    of: 'agent/api/hubble/',
    may: [...FLOOR, 'agent/flow/', 'agent/api/', LAYOUT],
    packages: ['@grpc/grpc-js', 'protobufjs', 'protobufjs/light.js'],
    why: "it says in Hubble's words what the history holds; loaded only when asked for",
  },
  {
    of: 'agent/api/',
    may: [...FLOOR, 'agent/flow/'],
    mayTypes: [INTERFACE],
    packages: ['fastify', '@fastify/swagger', 'prom-client'],
    why: 'it shows what it is handed and reads state only',
  },
  {
    of: 'agent/cli/check/gather-node.ts',
    may: [...FLOOR, 'agent/cli/', 'agent/datapath/program/requirements.ts', 'agent/network/', 'native/'],
    why: 'it looks at the machine as the agent does; loaded only by weir check on a node',
  },
  {
    of: 'agent/cli/',
    may: [
      ...FLOOR,
      'agent/policy/',
      'agent/source/manifests/',
      'agent/kubernetes/',
      'agent/cluster/objects.ts',
      'agent/flow/merge.ts',
      'package.json',
    ],
    mayTypes: ['agent/api/', 'agent/flow/'],
    packages: ['yaml', 'ws'],
    why: 'it talks to agents, also through the API server, or runs policy/ offline on manifests',
  },
  {
    of: 'agent/install/',
    may: [...FLOOR, 'agent/datapath/', 'agent/network/', 'agent/kubernetes/', 'native/', 'package.json'],
    packages: ['yaml'],
    why: 'it puts files on the host, and takes away what the parts that touch the kernel left there',
  },
  {
    of: 'agent/join/',
    may: ['agent/'],
    why: 'it joins an agent to its cluster, or to a directory; only main stands above it',
  },
  { of: 'agent/realize/', may: ['agent/'], why: 'it joins the parts of the river; only main stands above it' },
  { of: 'agent/main.ts', may: ['agent/', 'native/', 'package.json'], why: 'it puts everything together' },
  {
    of: 'native/',
    may: ['agent/model/address.ts'],
    packages: ['node-addon-api'],
    why: 'native knows fds, bytes, errno and addresses, never policy',
  },
  { of: 'bpf/gen/', may: [], why: 'the generator reads BTF and nothing of the agent' },
  {
    of: 'crds/',
    may: ['agent/policy/parse/', 'agent/policy/select/'],
    packages: ['yaml'],
    why: 'it describes objects, with the words the parser knows',
  },
  { of: 'docs/', may: ['agent/'], packages: ['yaml'], why: 'the reference is generated from the code' },
  { of: 'setup/bundle.ts', may: [], packages: ['esbuild'], why: 'it reads the code as text, for esbuild' },
  { of: 'setup/', may: [], why: 'setup comes before everything' },
  {
    of: 'demo/',
    may: ['agent/model/', 'test/kit/'],
    packages: ['yaml'],
    why: 'the demo uses the product from outside, its binaries and its API; its stage is the testbed',
  },
  {
    of: 'test/oracle/generate/',
    may: ['agent/model/', 'test/oracle/', 'test/kit/random.ts'],
    why: 'scenarios are made of what the oracle judges, and of chance',
  },
  {
    of: 'test/oracle/',
    may: ['agent/model/'],
    packages: ['yaml'],
    why: 'an oracle that shares code with what it judges proves nothing',
  },
  { of: 'test/kit/suite.ts', may: [], packages: ['uvu'], why: 'it is the one place that knows uvu itself' },
  {
    of: 'test/',
    may: ['agent/', 'native/', 'bpf/gen/', 'crds/', 'docs/', 'demo/', 'setup/', 'package.json'],
    packages: [
      'uvu/assert',
      'fast-check',
      'yaml',
      'fastify',
      'ajv',
      '@seriousme/openapi-schema-validator',
      '@grpc/grpc-js',
      'protobufjs/minimal.js',
      'ws',
    ],
    why: 'uvu hides failures: take suite from test/kit/suite.ts',
  },
];

/** Whatever else is allowed. */
const NOBODY: readonly { readonly imports: string; readonly except?: string; readonly why: string }[] = [
  { imports: 'agent/main.ts', why: 'nobody imports main: it is started, as a process' },
  { imports: 'agent/install/main.ts', why: 'nobody imports main: it is started, as a process' },
  { imports: 'test/', except: '^(test|demo)/', why: 'nobody imports test' },
  {
    imports: 'native/',
    except: '^(agent/(cli/check/gather-node|datapath|endpoint|install|network|main)|native|test)',
    why: 'native is used by datapath/, endpoint/ and network/ only',
  },
];

export interface Edge {
  readonly from: string;
  readonly line: number;
  /** A path from the root of the repository, or a package's name ("fastify", "node:fs"). */
  readonly to: string;
  readonly typeOnly: boolean;
}

/** One sentence for each edge that breaks a rule. */
export function violations(edges: readonly Edge[]): string[] {
  return edges.flatMap((edge) => {
    const reason = forbidden(edge);
    return reason === undefined ? [] : [`${edge.from}:${edge.line} imports ${edge.to}: ${reason}`];
  });
}

function forbidden({ from, to, typeOnly }: Edge): string | undefined {
  const rule = RULES.find(({ of }) => from.startsWith(of));
  if (rule === undefined) return 'no rule is about this file: add its part to test/kit/import-rules.ts';
  if (to.startsWith('node:')) return undefined;
  if (rule.packages?.includes(to)) return undefined;
  if (!isPath(to)) return `${rule.of} does not use this package (${rule.why})`;
  const taboo = NOBODY.find(
    ({ imports, except }) => to.startsWith(imports) && !(except !== undefined && new RegExp(except).test(from)),
  );
  if (taboo !== undefined) return taboo.why;
  const allowed = [rule.of, ...rule.may, ...(typeOnly ? (rule.mayTypes ?? []) : [])];
  if (allowed.some((start) => to.startsWith(start))) return undefined;
  return `${rule.of} may import only ${rule.may.length === 0 ? 'itself' : rule.may.join(', ')} (${rule.why})`;
}

function isPath(to: string): boolean {
  return to === 'package.json' || (/\.[a-z]+$/.test(to) && to.includes('/') && !to.startsWith('@'));
}

/** Each cycle once, as the files in order. Types do not count: they are erased, and the rules above bind them too. */
export function cycles(edges: readonly Edge[]): string[][] {
  const next = Map.groupBy(
    edges.filter((edge) => !edge.typeOnly),
    (edge) => edge.from,
  );
  const found: string[][] = [];
  const state = new Map<string, 'open' | 'done'>();
  const visit = (file: string, trail: readonly string[]): void => {
    if (state.get(file) === 'done') return;
    if (state.get(file) === 'open') {
      found.push([...trail.slice(trail.indexOf(file)), file]);
      return;
    }
    state.set(file, 'open');
    for (const { to } of next.get(file) ?? []) visit(to, [...trail, file]);
    state.set(file, 'done');
  };
  for (const file of next.keys()) visit(file, []);
  return found;
}
