/** The `weir` command from a person's machine, on a real cluster of two nodes: as a program, with nothing but a kubeconfig. */
import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { type CommandResult, tryCommand } from '../kit/command.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';
import { type Cluster, clusterName, startCluster } from './cluster.ts';
import { AGNHOST_IMAGE } from './images.ts';
import { CHECKOUT } from './paths.ts';
import { connect, runPods } from './pods.ts';
import { installWeir } from './weir.ts';

const test = privileged(suite('cli on a cluster'), 'root', 'kubernetes', 'etcd', 'containerd');
let cluster: Cluster;

/** The command, whatever its exit code. Nothing of this machine but the kubeconfig leads it anywhere. */
function weir(line: string, kubeconfig = cluster.kubeconfig): Promise<CommandResult> {
  const words = [process.execPath, join(CHECKOUT, 'agent/cli/main.ts'), ...line.split(' ')];
  return tryCommand(words, { env: { KUBECONFIG: kubeconfig, HOME: cluster.paths.folder }, timeoutMs: 240_000 });
}

async function succeeds(line: string): Promise<string> {
  const { code, stdout, stderr } = await weir(line);
  assert.is(code, 0, `weir ${line}: exit code ${code}\n${stdout}${stderr}`);
  return stdout;
}

test.before(async () => {
  cluster = await startCluster({ name: clusterName('cli'), nodes: 2, cni: 'none' });
});
test.after(() => cluster?.down());

test('check --pre: a cluster without a network can have Weir', async () => {
  const { code, stdout } = await weir('check --pre --cluster-only');
  assert.is(code, 0, stdout);
  assert.match(stdout, /^√ every node has pod CIDRs$/m);
  assert.match(stdout, /^√ no other network plugin is installed$/m);
  assert.not.match(stdout, '×');
});

test('without Weir there is nothing to ask, and the command says so', async () => {
  const { code, stderr } = await weir('status');
  assert.is(code, 1);
  assert.match(stderr, /no agent runs in namespace kube-system of https:.*is Weir installed\?/);
  const check = await weir('check --cluster-only');
  assert.is(check.code, 1);
  assert.match(check.stdout, /^× all CRDs are there$/m);
  assert.match(check.stdout, /^× agents can be asked$/m);
});

test('status --wait returns when every agent is ready', async () => {
  await installWeir(cluster, { routingMode: 'tunnel' });
  const out = await succeeds('status --wait --wait-duration 2m');
  assert.match(out, /^node1 +\S+ +OK/m);
  assert.match(out, /^2 of 2 nodes OK$/m);
  await cluster.ready();
});

test('check finds nothing wrong', async () => {
  const { categories } = JSON.parse(await succeeds('check --cluster-only -o json'));
  const wrong = categories.flatMap(
    ({ checks }: { checks: { result: string; description: string; error?: string }[] }) =>
      checks.filter(({ result }) => result === 'error').map(({ description, error }) => `${description}: ${error}`),
  );
  assert.equal(wrong, []);
});

test('endpoints of all nodes, with node and pod', async () => {
  await runPods(cluster, [
    { name: 'web', node: 'node1' },
    { name: 'client', node: 'node2' },
  ]);
  const out = await succeeds('endpoint list -A');
  assert.match(out, /^node1 +default\/web +\d+ /m);
  assert.match(out, /^node2 +default\/client +\d+ /m);
  assert.not.match(await succeeds('endpoint list --node node1'), 'default/client');
});

const policy = (port: number) =>
  JSON.stringify({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name: 'web', namespace: 'default' },
    spec: {
      podSelector: { matchLabels: { app: 'web' } },
      ingress: [{ from: [{ podSelector: { matchLabels: { app: 'client' } } }], ports: [{ port }] }],
    },
  });

test('policy wait: what kubectl has just applied is in force on every node when it returns', async () => {
  const { podIP } = (await cluster.get<{ status: { podIP: string } }>('pod', 'web')).status;
  await cluster.apply(policy(8080));
  assert.match(await succeeds('policy wait default/web'), 'default/web is in force on 2 nodes');
  assert.is(await connect(cluster, 'client', podIP), 'ok');
  await cluster.apply(policy(81));
  await succeeds('policy wait default/web');
  assert.is(await connect(cluster, 'client', podIP), 'TIMEOUT');
  const got = await succeeds('policy get default/web -A');
  assert.match(got, /^node1 +valid +\d+$/m);
  assert.match(got, /^node2 +valid +\d+$/m);
  assert.match(await succeeds('policy list'), /^default +web +NetworkPolicy +valid +2\/2 nodes/m);
});

test('explain: the agent of the sender`s node answers', async () => {
  const out = await succeeds('policy explain --from default/client --to default/web --port 8080/TCP');
  assert.match(out, /IPv4.*: denied/);
  assert.match(out, /isolated by NetworkPolicy default\/web/);
});

test('observe: one connection is seen on both nodes, in order', async () => {
  const out = await succeeds('observe --pod default/client --last 200 -o jsonpb');
  const lines = out.trim().split('\n');
  const flows = lines.map((line) => JSON.parse(line).flow as { time: string; node_name: string; verdict: string });
  assert.equal(new Set(flows.map(({ node_name }) => node_name)), new Set(['node1', 'node2']));
  const times = flows.map(({ time }) => time);
  assert.equal(times, [...times].sort());
  assert.ok(
    flows.some(({ verdict, node_name }) => verdict === 'DROPPED' && node_name === 'node1'),
    out,
  );
});

test('observe --follow shows both nodes as it happens', async () => {
  const { podIP } = (await cluster.get<{ status: { podIP: string } }>('pod', 'web')).status;
  const following = weirUntil('observe -f --pod default/client -o jsonpb', (out) => {
    return out.includes('"node_name":"node1"') && out.includes('"node_name":"node2"');
  });
  let code: number | null;
  try {
    await until(
      async () => {
        await connect(cluster, 'client', podIP, 8080, { timeoutMs: 200 });
        return following.isDone();
      },
      { what: 'flows of both nodes', timeoutMs: 60_000, detail: following.output },
    );
  } finally {
    code = await following.end();
  }
  assert.is(code, 0);
  // Their programs in the agents' containers end with them.
  await until(async () => (await dialing()).length === 0, {
    what: 'dial-stdio to end',
    timeoutMs: 20_000,
    detail: () => '',
  });
});

test('a person without the right to exec is told so, and sees what nodes wrote', async () => {
  const kubeconfig = await kubeconfigOf('reader', [
    { apiGroups: [''], resources: ['nodes', 'pods'], verbs: ['list'] },
    { apiGroups: ['weir.dev'], resources: ['weirnodes'], verbs: ['list'] },
  ]);
  const { code, stdout } = await weir('status', kubeconfig);
  assert.is(code, 1);
  assert.match(stdout, /^node1 +0\.\d+\.\d+ +Unreachable +\d+/m);
  assert.match(
    stdout,
    /^node2: cannot reach the agent of node2: .*403 Forbidden.*cannot (get|create) resource "pods\/exec"/m,
  );
});

test('the role of docs/cli.md is enough', async () => {
  const text = readFileSync(join(CHECKOUT, 'docs/cli.md'), 'utf8');
  const role = /```yaml\n(apiVersion: rbac[\s\S]*?)```/.exec(text)?.[1] ?? '';
  await cluster.apply(role);
  const kubeconfig = await kubeconfigOf('operator', []);
  const who = 'system:serviceaccount:default:operator';
  await cluster.kubectl('create', 'clusterrolebinding', 'weir-cli', '--clusterrole=weir-cli', `--user=${who}`);
  const inAgents = ['-n', 'kube-system', 'create', 'rolebinding', 'weir-cli', '--role=weir-cli'];
  await cluster.kubectl(...inAgents, `--user=${who}`);
  for (const line of ['status', 'endpoint list', 'policy wait default/web', 'check --cluster-only']) {
    const { code, stdout, stderr } = await weir(line, kubeconfig);
    assert.is(code, 0, `${line}\n${stdout}${stderr}`);
    assert.not.match(stdout, 'could not be found out');
  }
});

test('a node that does not answer is named; the others are shown', async () => {
  const [first] = cluster.nodes;
  await first?.stop('kubelet');
  try {
    const { code, stdout } = await weir('status');
    assert.is(code, 1);
    assert.match(stdout, /^node1 +\S+ +Unreachable/m);
    assert.match(stdout, /^node2 +\S+ +OK/m);
    const list = await weir('endpoint list -A');
    assert.is(list.code, 1);
    assert.match(list.stderr, /^weir: 1 of 2 nodes did not answer:\n {2}node1: /);
  } finally {
    await first?.startKubelet();
  }
  await until(async () => (await weir('status')).code === 0, { what: 'node1 to answer again', timeoutMs: 60_000 });
});

test('connectivity test: all of it, and nothing is left', async () => {
  const file = join(cluster.paths.folder, 'junit.xml');
  const out = await succeeds(
    `connectivity test --test-namespace wt-cli --image ${AGNHOST_IMAGE} --image-pull-policy Never --junit-file ${file}`,
  );
  assert.match(out, /^9 of 9 tests passed, \d+ connections tried$/m);
  assert.match(readFileSync(file, 'utf8'), 'failures="0"');
  assert.is((await cluster.tryKubectl('get', 'namespace', 'wt-cli')).code, 1);
});

/** Starts the command and interrupts it, as Ctrl-C does, when its output is enough. */
function weirUntil(line: string, isEnough: (out: string) => boolean) {
  const child = spawn(process.execPath, [join(CHECKOUT, 'agent/cli/main.ts'), ...line.split(' ')], {
    env: { ...process.env, KUBECONFIG: cluster.kubeconfig, HOME: cluster.paths.folder },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let out = '';
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  child.stderr.on('data', (data) => {
    out += data;
  });
  child.stdout.on('data', (data) => {
    out += data;
  });
  return {
    isDone: () => isEnough(out),
    output: () => out,
    end: () => {
      child.kill('SIGINT');
      return ended;
    },
  };
}

/** Command lines of what a `weir` elsewhere runs in the agents' containers right now. */
async function dialing(): Promise<string[]> {
  const script = 'for f in /proc/[0-9]*/cmdline; do tr "\\0" " " <$f; echo; done 2>/dev/null';
  const found: string[] = [];
  for (const { name } of cluster.nodes) {
    const pods = ['-n', 'kube-system', 'get', 'pod', '-l', 'k8s-app=weir', `--field-selector=spec.nodeName=${name}`];
    const pod = (await cluster.kubectl(...pods, '-o', 'name')).trim();
    const listed = await cluster.kubectl('-n', 'kube-system', 'exec', pod, '--', 'sh', '-c', script);
    found.push(...listed.split('\n').filter((line) => line.includes('weir.mjs dial-stdio')));
  }
  return found;
}

/** A kubeconfig of a service account with these rights in the whole cluster. */
async function kubeconfigOf(name: string, rules: readonly object[]): Promise<string> {
  await cluster.kubectl('create', 'serviceaccount', name);
  if (rules.length > 0) {
    const kind = { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'ClusterRole', metadata: { name }, rules };
    await cluster.apply(JSON.stringify(kind));
    const who = `--serviceaccount=default:${name}`;
    await cluster.kubectl('create', 'clusterrolebinding', name, `--clusterrole=${name}`, who);
  }
  const token = (await cluster.kubectl('create', 'token', name)).trim();
  const config = JSON.parse(await cluster.kubectl('config', 'view', '--raw', '-o', 'json'));
  const [user] = config.users;
  user.user = { token };
  const file = join(cluster.paths.folder, `${name}.kubeconfig`);
  writeFileSync(file, JSON.stringify(config));
  return file;
}

test.run();
