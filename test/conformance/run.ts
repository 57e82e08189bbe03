/** `npm run conformance`: Kubernetes' own networking tests against Weir on a cluster of test/cluster. README.md tells the rest. */
import { spawn } from 'node:child_process';
import { createWriteStream, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Cluster, openCluster } from '../cluster/cluster.ts';
import { CHECKOUT } from '../cluster/paths.ts';
import { startWeirCluster } from '../cluster/weir.ts';
import { stockMissing, stockProgram } from '../kit/stock.ts';
import { provideTestImages, writeRegistries } from './images.ts';
import { readReport, summary } from './report.ts';
import { AREAS, LEFT_OUT, SUITE } from './scope.ts';

const RESULTS = join(CHECKOUT, 'dist/conformance');
const USAGE = `usage: npm run conformance [-- AREA...] [--focus REGEX] [--routing-mode tunnel|native] [--procs 4] [--timeout 3h] [--cluster NAME]
AREA: ${Object.keys(AREAS).join(', ')}; what --focus matches is run beside them; without either, all.
--cluster: one that \`npm run cluster\` has started; it is left as it is. Without it a cluster is started for this alone.`;

const OPTIONS = {
  focus: { type: 'string' },
  'routing-mode': { type: 'string', default: 'tunnel' },
  procs: { type: 'string', default: '4' },
  timeout: { type: 'string', default: '3h' },
  cluster: { type: 'string' },
} as const;

async function main(): Promise<void> {
  const { values, positionals } = parseArguments();
  const areas = positionals.map((name) => AREAS[name]?.source ?? usage(`there is no area "${name}"`));
  const routingMode = values['routing-mode'];
  if (routingMode !== 'tunnel' && routingMode !== 'native')
    usage(`--routing-mode ${routingMode}: tunnel or native was expected`);
  if (!/^[1-9]\d?$/.test(values.procs)) usage(`--procs ${values.procs}: 1 to 99 was expected`);
  const lacking = stockMissing('e2e.test', 'ginkgo', 'boom-server', 'kubectl', 'kubelet');
  if (lacking !== undefined) throw new Error(lacking);

  const given = values.cluster;
  const cluster =
    given === undefined
      ? await startWeirCluster({
          name: `wt-conformance-${process.pid}`,
          nodes: 3,
          routingMode,
          onProgress: console.log,
        })
      : openCluster(given);
  try {
    await provideTestImages(cluster);
    await giveZones(cluster);
    // Tests ask pods through the API server, which most clusters have on a node; here it is on none.
    await cluster.routeToPods(cluster.controlPlane.netns);
    if (values.focus !== undefined) areas.push(`${SUITE.source}.*(${values.focus})`);
    await runTests(cluster, areas.length > 0 ? areas : [SUITE.source], values);
  } finally {
    if (given === undefined) await cluster.down();
  }
  const outcomes = readReport(readFileSync(join(RESULTS, 'report.json'), 'utf8'));
  console.log(`\n${summary(outcomes)}`);
  console.log(`Each test's output: ${RESULTS}/output.txt, in detail report.json`);
  if (outcomes.some(({ kind }) => kind === 'failed')) process.exitCode = 1;
}

/** Three zones, as tests of traffic that keeps to its zone want them. */
async function giveZones(cluster: Cluster): Promise<void> {
  for (const [i, { name }] of cluster.nodes.entries())
    await cluster.kubectl('label', 'node', name, `topology.kubernetes.io/zone=zone-${(i % 3) + 1}`, '--overwrite');
}

type Values = ReturnType<typeof parseArguments>['values'];

function parseArguments() {
  try {
    return parseArgs({ allowPositionals: true, options: OPTIONS });
  } catch (error) {
    return usage((error as Error).message);
  }
}

/** Resolves when ginkgo has ended, whatever the tests said. */
async function runTests(cluster: Cluster, focus: readonly string[], { procs, timeout }: Values): Promise<void> {
  rmSync(RESULTS, { recursive: true, force: true });
  mkdirSync(RESULTS, { recursive: true });
  const registries = join(RESULTS, 'registries.yaml');
  writeRegistries(registries);
  const ginkgo = [
    ...['run', `--procs=${procs}`, `--timeout=${timeout}`, '--no-color', '--silence-skips'],
    ...[`--output-dir=${RESULTS}`, '--json-report=report.json'],
    ...focus.map((regex) => `--focus=${regex}`),
    ...LEFT_OUT.map(({ tests }) => `--skip=${tests.source}`),
    stockProgram('e2e.test'),
    '--',
    ...[`--kubeconfig=${cluster.kubeconfig}`, `--kubectl-path=${stockProgram('kubectl')}`, '--provider=skeleton'],
    `--num-nodes=${cluster.nodes.length}`, // Else a dozen tests take them for too few.
    '--disable-log-dump', // There is no cloud to fetch logs from.
  ];
  const child = spawn(stockProgram('ginkgo'), ginkgo, {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, KUBE_TEST_REPO_LIST: registries, KUBECONFIG: cluster.kubeconfig },
  });
  child.stdout.pipe(createWriteStream(join(RESULTS, 'output.txt')));
  child.stdout.pipe(process.stdout);
  await new Promise((resolve, reject) => child.once('close', resolve).once('error', reject));
}

function usage(mistake: string): never {
  console.error(`conformance: ${mistake}\n${USAGE}`);
  process.exit(2);
}

await main();
