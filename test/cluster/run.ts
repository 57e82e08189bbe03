/**
 * `npm run cluster -- up | status | down`: a real Kubernetes with Weir on this machine, to try things on. What it runs as is
 * told in README.md.
 */
import { existsSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { missing } from '../kit/privileged.ts';
import { openCluster, removeCluster, startCluster } from './cluster.ts';
import { isRunning } from './program.ts';
import { clusters, load } from './record.ts';
import { CHART, startWeirCluster } from './weir.ts';

const USAGE = `usage: npm run cluster -- up [--nodes 2] [--cni weir|ptp|none] [--routing-mode tunnel|native] [--single-stack]
       npm run cluster -- status
       npm run cluster -- down
Each takes --name NAME (default "weir"), so that several can be up.`;

const OPTIONS = {
  name: { type: 'string', default: 'weir' },
  nodes: { type: 'string', default: '2' },
  cni: { type: 'string', default: 'weir' },
  'routing-mode': { type: 'string', default: 'tunnel' },
  'single-stack': { type: 'boolean', default: false },
} as const;

/** The mistake in a sentence; ends with exit code 2. */
class UsageError extends Error {}

const started = performance.now();
function say(line: string): void {
  console.log(`cluster: ${((performance.now() - started) / 1000).toFixed(1).padStart(5)} s  ${line}`);
}

async function main(): Promise<void> {
  const { values, positionals } = parseArguments();
  const [verb] = positionals;
  if (positionals.length !== 1)
    throw new UsageError(`one of up, status and down was expected, not "${positionals.join(' ')}"`);
  if (verb === 'up') await up(values);
  else if (verb === 'status') await status(values.name);
  else if (verb === 'down') await down(values.name);
  else throw new UsageError(`there is no "${verb}": up, status and down are there`);
}

type Values = ReturnType<typeof parseArguments>['values'];

function parseArguments() {
  try {
    return parseArgs({ allowPositionals: true, options: OPTIONS });
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

async function up(values: Values): Promise<void> {
  const nodes = Number(values.nodes);
  if (!Number.isInteger(nodes) || nodes < 1 || nodes > 50)
    throw new UsageError(`--nodes ${values.nodes}: 1 to 50 was expected`);
  const cni = oneOf('--cni', values.cni, ['weir', 'ptp', 'none'] as const);
  const routingMode = oneOf('--routing-mode', values['routing-mode'], ['tunnel', 'native'] as const);
  const lacking = missing('root', 'kubernetes', 'etcd', 'containerd');
  if (lacking !== undefined) throw new Error(lacking);
  if (cni === 'weir' && !existsSync(CHART))
    throw new Error(`there is no ${CHART} to install: --cni ptp or --cni none were expected`);
  const options = { name: values.name, nodes, dualStack: !values['single-stack'], keep: true, onProgress: say };
  const cluster = await (cni === 'weir'
    ? startWeirCluster({ ...options, routingMode })
    : startCluster({ ...options, cni }));
  console.log(await cluster.kubectl('get', 'nodes', '-o', 'wide'));
  const kubectl = '.setup/stock/kubectl';
  console.log(`To use it:\n\n    export KUBECONFIG=${cluster.kubeconfig}\n    ${kubectl} get pods -A\n`);
  if (cni === 'none') console.log('Its nodes are NotReady until a CNI is installed.\n');
  const name = values.name === 'weir' ? '' : ` --name ${values.name}`;
  console.log(`To end it: npm run cluster -- down${name}`);
}

async function status(name: string): Promise<void> {
  const names = clusters();
  if (names.length === 0) {
    console.log('no cluster is up on this machine');
    return;
  }
  for (const other of names.filter((each) => each !== name)) console.log(`also up: ${other}`);
  if (!names.includes(name)) return;
  const { programs, machineLink } = load(name);
  const cluster = openCluster(name);
  console.log(`cluster ${name}, on ${machineLink}, KUBECONFIG=${cluster.kubeconfig}`);
  for (const [program, running] of Object.entries(programs))
    console.log(
      `  ${program.padEnd(26)} ${isRunning(running) ? `pid ${running.pid}` : 'NOT RUNNING'}   ${cluster.paths.log(program)}`,
    );
  const { code, stdout, stderr } = await cluster.tryKubectl(
    'get',
    'nodes,pods',
    '-A',
    '-o',
    'wide',
    '--request-timeout=5s',
  );
  console.log(code === 0 ? `\n${stdout}` : `\nthe API server does not answer: ${stderr}`);
}

async function down(name: string): Promise<void> {
  const known = clusters().includes(name);
  await removeCluster(name);
  say(known ? `${name} is gone` : `there was no cluster "${name}"${others(name)}`);
}

function others(name: string): string {
  const names = clusters().filter((each) => each !== name);
  return names.length === 0 ? '' : `; up: ${names.join(', ')} (--name)`;
}

function oneOf<T extends string>(option: string, value: string, known: readonly T[]): T {
  const found = known.find((each) => each === value);
  if (found === undefined) throw new UsageError(`${option} ${value}: one of ${known.join(', ')} was expected`);
  return found;
}

try {
  await main();
} catch (error) {
  console.error(`cluster: ${error instanceof Error ? error.message : String(error)}`);
  if (error instanceof UsageError) console.error(USAGE);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}
