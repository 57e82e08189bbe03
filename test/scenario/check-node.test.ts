/** weir check on a machine that others have set up before: a namespace with what Docker, kube-proxy and another plugin leave. */
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import type { Category } from '../../agent/cli/check/finding.ts';
import { type CommandResult, tryCommand } from '../kit/command.ts';
import { type Netns, Testbed } from '../kit/netns.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';

const CLI = fileURLToPath(new URL('../../agent/cli/main.ts', import.meta.url));

interface State {
  bed: Testbed;
  node: Netns;
}
const state = {} as State;
const test = privileged(suite('check on a node', state), 'root', 'nft', 'btf');

test.before.each(async () => {
  state.bed = await Testbed.open('check');
  state.node = await state.bed.netns('node');
  await state.node.ip('link add eth0 type bridge');
  await state.node.ip('link set eth0 up');
  await state.node.ip('address add 192.0.2.2/24 dev eth0');
  await state.node.ip('route add default via 192.0.2.1');
});
test.after.each(() => state.bed.close());

function check(words = '-o json'): Promise<CommandResult> {
  const line = [process.execPath, CLI, 'check', '--pre', '--node-only', ...words.split(' ')];
  return tryCommand(state.node.enter(line));
}

/** Descriptions of the network's findings that are no success, each with its result. */
function network({ stdout }: CommandResult): string[] {
  const { categories } = JSON.parse(stdout) as { categories: Category[] };
  const checks = categories.find(({ categoryName }) => categoryName === 'node-network')?.checks ?? [];
  return checks
    .filter(({ result }) => result !== 'success')
    .map(({ result, description }) => `${result} ${description}`);
}

test('a machine nobody has touched: nothing is in the way, and the kernel has what is needed', async () => {
  const found = await check();
  assert.is(found.code, 0, found.stdout + found.stderr);
  assert.equal(network(found), []);
  assert.not.match(found.stdout, 'could not be found out');
});

test('FORWARD DROP, kube-proxy`s chains, another plugin`s device, strict rp_filter', async () => {
  const rules = [
    'table ip filter {\nchain FORWARD {\ntype filter hook forward priority 0; policy drop;\n}\n}',
    'table ip nat {\nchain KUBE-SERVICES {\n}\n}',
  ];
  await state.node.run(['nft', '-f', '-'], { input: `${rules.join('\n')}\n` });
  await state.node.ip('link add cilium_host type bridge');
  await state.node.run(['sysctl', '-qw', 'net.ipv4.conf.eth0.rp_filter=1']);
  const found = await check();
  assert.is(found.code, 1);
  assert.equal(network(found), [
    'error nobody drops forwarded packets (FORWARD chain)',
    'warning no other network plugin left devices',
    'warning rp_filter is not strict on uplinks',
    'warning no kube-proxy translates Services',
  ]);
  const { stdout } = await check('--output table');
  assert.match(
    stdout,
    /^× nobody drops forwarded packets \(FORWARD chain\)\n {4}chain FORWARD .*\n {4}hint: accept packets of weir\+/m,
  );
  assert.match(stdout, /^‼ no kube-proxy translates Services\n {4}rules of a kube-proxy are there \(iptables\)$/m);
});

test.run();
