/** weir connectivity test: tries in the cluster itself whether pods reach what policies allow, and nothing else. */
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { type Agents, findKubeconfig, withAgents } from '../agents.ts';
import { type Call, CliError, type Command, EXIT, type ExitCode, UsageError } from '../command.ts';
import type { Probe } from '../connectivity/probe.ts';
import { hasPassed, junit, type Report, summaryText, type TestReport, testText } from '../connectivity/report.ts';
import { chosen, SCENARIOS } from '../connectivity/scenarios.ts';
import { OUTPUT_FLAG, OUTPUTS } from '../flags.ts';
import { json } from '../table.ts';
import { milliseconds } from '../time.ts';

const IMAGE = 'registry.k8s.io/e2e-test-images/agnhost:2.53';
const PULL_POLICIES = ['IfNotPresent', 'Always', 'Never'] as const;

export const CONNECTIVITY_TEST: Command = {
  words: ['connectivity', 'test'],
  operands: [],
  sentence:
    'Try in the cluster, with pods of its own, whether everything allowed connects and everything denied does not',
  flags: [
    {
      name: 'test',
      value: 'REGEX',
      repeat: true,
      sentence: 'Only tests, or TEST/ACTION, that match; with "!" before it: not those. May be repeated [all]',
    },
    { name: 'list', sentence: 'Only list the tests' },
    { name: 'image', value: 'IMAGE', sentence: `Image of the pods, an agnhost [${IMAGE}]` },
    {
      name: 'image-pull-policy',
      value: PULL_POLICIES.join('|'),
      choices: PULL_POLICIES,
      sentence: `When the image is pulled [${PULL_POLICIES[0]}]`,
    },
    { name: 'test-namespace', value: 'NAME', sentence: 'Namespace to make, use and delete [weir-test-RANDOM]' },
    {
      name: 'external-target',
      value: 'HOST:PORT',
      sentence: 'Something outside that answers TCP [outside is not tried]',
    },
    { name: 'single-node', sentence: 'Use one node only' },
    { name: 'connect-timeout', value: 'TIME', sentence: 'A connection without answer for so long is denied [2s]' },
    { name: 'timeout', value: 'TIME', sentence: 'Longest wait for pods to be Ready, or a policy to be in force [2m]' },
    { name: 'junit-file', value: 'FILE', sentence: 'Write the report as JUnit XML, too' },
    OUTPUT_FLAG,
  ],
  examples: [
    'weir connectivity test',
    "weir connectivity test --test 'client-.*' --test '!client-egress-deny'",
    'weir connectivity test --test no-policies/pod-to-pod --image my/agnhost:1 --image-pull-policy Never',
  ],
  async run(call) {
    const { flags, io } = call;
    if (flags.on('list')) {
      for (const { name, sentence } of SCENARIOS) await io.out(`${name.padEnd(22)}${sentence}\n`);
      return EXIT.ok;
    }
    checkPatterns(flags.all('test'));
    const kubeconfig = findKubeconfig(flags.one('kubeconfig'), io.environment);
    if (kubeconfig === undefined)
      throw new UsageError('which cluster? There is no kubeconfig: name one by --kubeconfig');
    return withAgents(call, (agents) => testCluster(call, agents), { kind: 'cluster', kubeconfig, nodes: [] });
  },
};

function checkPatterns(patterns: readonly string[]): void {
  for (const pattern of patterns) {
    try {
      new RegExp(pattern.replace(/^!/, ''));
    } catch (error) {
      throw new UsageError(`--test: ${(error as Error).message}`);
    }
  }
}

async function testCluster(call: Call, agents: Agents): Promise<ExitCode> {
  const { flags, io } = call;
  const { cluster } = agents;
  if (!cluster) throw new CliError('a cluster was expected');
  const { chooseNodes, makeWorld, removeWorld, runScenario } = await import('../connectivity/run.ts');
  const nodes = (await chooseNodes(cluster)).slice(0, flags.on('single-node') ? 1 : 2);
  const asJson = flags.choice('output', OUTPUTS) === 'json';
  const say = (line: string): void => io.err(`${line}\n`);
  const options = {
    ...{ cluster, agents, nodes, say, signal: io.signal },
    namespace: flags.one('test-namespace') ?? `weir-test-${randomBytes(3).toString('hex')}`,
    image: flags.one('image') ?? IMAGE,
    pullPolicy: flags.choice('image-pull-policy', PULL_POLICIES),
    externalTarget: flags.one('external-target'),
    timeoutMs: milliseconds(call, 'connect-timeout', '2s'),
    patienceMs: milliseconds(call, 'timeout', '2m'),
  };
  const patterns = flags.all('test');
  const scenarios = SCENARIOS.filter(({ name }) => isAnyChosen(patterns, name));
  if (scenarios.length === 0) throw new UsageError(`--test: no test matches; weir connectivity test --list shows them`);

  // Found out now, and not when all is done.
  const junitFile = flags.one('junit-file');
  if (junitFile !== undefined) writeFileSync(junitFile, '');
  await refuseExisting(agents, options.namespace);
  const tests: TestReport[] = [];
  try {
    say(`making namespace ${options.namespace} on ${nodes.join(' and ')}`);
    const addresses = await makeWorld(options);
    for (const scenario of scenarios) {
      const isChosen = ({ action }: Probe) => chosen(patterns, scenario.name, action);
      const report = await runScenario(options, addresses, scenario, isChosen);
      tests.push(report);
      if (!asJson) await io.out(testText(report, options.namespace, io.colors));
    }
  } catch (error) {
    if (!io.signal.aborted) throw error;
    say('interrupted');
  } finally {
    say(`deleting namespace ${options.namespace}`);
    await removeWorld(options);
  }
  return conclude(call, { namespace: options.namespace, nodes, tests }, asJson);
}

async function conclude({ flags, io }: Call, report: Report, asJson: boolean): Promise<ExitCode> {
  const file = flags.one('junit-file');
  if (file !== undefined) writeFileSync(file, junit(report));
  const passed = report.tests.every(hasPassed) && !io.signal.aborted;
  await io.out(asJson ? json({ passed, ...report }) : summaryText(report, io.colors));
  return passed ? EXIT.ok : EXIT.failed;
}

const ACTIONS = ['pod-to-pod', 'pod-to-service', 'dns', 'pod-to-host', 'host-to-pod', 'pod-to-world'] as const;

function isAnyChosen(patterns: readonly string[], name: string): boolean {
  return ACTIONS.some((action) => chosen(patterns, name, action));
}

/** It will be deleted at the end, with everything in it. */
async function refuseExisting({ cluster }: Agents, name: string): Promise<void> {
  const there = await cluster?.client.list('/api/v1/namespaces', { fieldSelector: `metadata.name=${name}` });
  if (there && there.items.length > 0)
    throw new CliError(`namespace ${name} is there already: name another by --test-namespace`);
}
