/**
 * weir-install: what the chart's Jobs and hooks run, and what a person runs by hand on a node where Helm is gone. What each
 * verb does is told by --help.
 */
import { readConfig } from '../config/config.ts';
import { asWeirError, WeirError } from '../errors.ts';
import { createClient, type KubernetesClient } from '../kubernetes/client.ts';
import { connect } from '../kubernetes/connection.ts';
import { didYouMean } from '../model/did-you-mean.ts';
import { type Flag, parseFlags } from '../run/flags.ts';
import { finishRemoval } from './cluster-removal.ts';
import { removeCniConfiguration } from './cni.ts';
import { cniFilesOf } from './cni-files.ts';
import { applyDefinitions, definitionsOf } from './definitions.ts';
import { removeFromNode } from './remove.ts';

const USAGE = `Usage: weir-install VERB [flags]

  apply-crds       brings the cluster's CustomResourceDefinitions to this version; those of others are left alone:
                   [--kubeconfig FILE]
  remove           takes everything of Weir off this node; flags are those of weir-agent, e.g. --config FILE
  remove-cni       only the CNI configuration: others that were put aside are in force again, until an
                   agent starts; flags as for remove
  finish-removal   waits for the DaemonSet of the cleanup, deletes what agents left in the API server, then that DaemonSet:
                   [--namespace kube-system] [--daemonset weir-cleanup] [--timeout SECONDS, else 240] [--kubeconfig FILE]
`;

/** How long an agent may take to end: its own limit is 10 s, and the kubelet kills it after 15. */
const AGENT_ENDS_MS = 60_000;
const KUBECONFIG: Flag = { name: 'kubeconfig', value: 'FILE', sentence: '' };
const REMOVAL_FLAGS: readonly Flag[] = [
  KUBECONFIG,
  { name: 'namespace', value: 'NAME', sentence: '' },
  { name: 'daemonset', value: 'NAME', sentence: '' },
  { name: 'timeout', value: 'SECONDS', sentence: '' },
];
const HELP = ['--help', '-h'];

const tell = (change: string): void => void process.stdout.write(`${change}\n`);
const tellAll = (changes: readonly string[]): void => changes.forEach(tell);

const VERBS: Readonly<Record<string, (args: readonly string[]) => Promise<void>>> = {
  'apply-crds': async (args) =>
    tellAll(await applyDefinitions(await clientOf(clusterFlags(args, [KUBECONFIG])), await definitionsOf())),
  remove: (args) => removeFromNode({ config: nodeConfig(args), tell, agentEndsMs: AGENT_ENDS_MS }),
  'remove-cni': async (args) => tellAll(await removeCniConfiguration(cniFilesOf(nodeConfig(args)))),
  async 'finish-removal'(args) {
    const flags = clusterFlags(args, REMOVAL_FLAGS);
    const timeoutMs = seconds(flags.get('timeout') ?? '240') * 1000;
    const options = {
      client: await clientOf(flags),
      namespace: flags.get('namespace') ?? 'kube-system',
      daemonSet: flags.get('daemonset') ?? 'weir-cleanup',
      timeoutMs,
    };
    await finishRemoval(options, tell);
  },
};

function nodeConfig(args: readonly string[]) {
  return readConfig({ args, environment: process.env });
}

function clusterFlags(args: readonly string[], known: readonly Flag[]): ReadonlyMap<string, string> {
  const { values, words, errors } = parseFlags(args, known);
  const wrong = [...errors, ...words.map((word) => `unexpected "${word}"`)];
  if (wrong.length > 0) throw new WeirError('CONFIG_INVALID', 'read flags', wrong.join('\n'));
  return new Map([...values].map(([name, [value = '']]) => [name, value]));
}

function seconds(written: string): number {
  if (/^[0-9]{1,9}$/.test(written)) return Number(written);
  throw new WeirError(
    'CONFIG_INVALID',
    'read flags',
    `--timeout: expected a whole number of seconds, got "${written}"`,
  );
}

async function clientOf(flags: ReadonlyMap<string, string>): Promise<KubernetesClient> {
  return createClient({ connection: await connect({ kubeconfig: flags.get('kubeconfig') }) });
}

const [word = '--help', ...args] = process.argv.slice(2);
const verb = VERBS[word];
if (verb === undefined || args.some((arg) => HELP.includes(arg))) {
  const isAsked = verb !== undefined || word === 'help' || HELP.includes(word);
  const mistake = `weir-install: there is no "${word}"${didYouMean(word, Object.keys(VERBS))}\n\n`;
  process.stderr.write(isAsked ? USAGE : `${mistake}${USAGE}`);
  process.exit(isAsked ? 0 : 2);
}
try {
  await verb(args);
  process.exit(0); // The API client keeps connections open.
} catch (cause) {
  const error = asWeirError(cause, word);
  process.stderr.write(`weir-install: ${error.message}${error.details === '' ? '' : `\n${error.details}`}\n`);
  process.exit(error.code === 'CONFIG_INVALID' ? 2 : 1);
}
