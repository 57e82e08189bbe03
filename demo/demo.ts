/**
 * Weir's main job, for real, in about a minute: a node (a network namespace with the agent in it), five pods wired by the
 * CNI binary, the guide's policy, real traffic in both families, and what the agent says of every attempt. Exits 0 only
 * if every verdict was right. `--keep` leaves it running and says what to try.
 */

import { parseArgs } from 'node:util';
import { NodeUnderTest, type PodUnderTest, repositoryFile, WORLD } from '../test/kit/node.ts';
import type { Peer } from '../test/kit/traffic.ts';
import { until } from '../test/kit/until.ts';
import { bold, heading, line, mark, ok, verdictWord, wrong } from './print.ts';
import { type Attempt, type Party, PODS, SERVED_PORTS, TRUTH_TABLE } from './truth-table.ts';

const keep = keepWanted();
/** How long a denied packet's silence is listened to. */
const SILENCE_MS = 400;
const FAMILIES = ['IPv4', 'IPv6'] as const;
type FamilyName = (typeof FAMILIES)[number];
let failures = 0;
/** A terminal that is closed ends it too; the test bed sees to Ctrl-C. Either way what was made goes. */
process.on('SIGHUP', () => process.exit(129));

const files = ['namespaces.yaml', 'pods.yaml', 'backend-policy.yaml'];
const manifests = Object.fromEntries(
  await Promise.all(files.map(async (name) => [name, await repositoryFile(`demo/manifests/${name}`)] as const)),
);

heading('A node');
const node = await NodeUnderTest.start('demo', { manifests });
line(`agent runs in namespace ${bold(node.netns.name)}, manifests are read from ${node.manifests}`);

heading('Five pods, wired by weir-cni');
const pods = new Map<string, PodUnderTest>();
for (const party of PODS) {
  const [namespace = '', name = ''] = party.split('/');
  const pod = await node.addPod(namespace, name);
  pods.set(party, pod);
  line(`${party.padEnd(18)} ${pod.ipv4.padEnd(14)} ${pod.ipv6}`);
}
const worldPeer = await node.bed.peer(node.world);
for (const peer of [worldPeer, ...[...pods.values()].map((pod) => pod.peer)]) {
  await Promise.all(SERVED_PORTS.flatMap((port) => [peer.serveTcp(port), peer.serveUdp(port)]));
}

heading("The guide's policy, attempt by attempt");
line(bold(`${''.padEnd(4)}${'from'.padEnd(18)}${'to'.padEnd(18)}${'how'.padEnd(16)}verdict  decided by`));
for (const attempt of TRUTH_TABLE) for (const family of FAMILIES) await show(attempt, family);

heading('A live connection feels a policy change');
await flip();

heading('What the agent says');
for (const args of [['status'], ['endpoint', 'list'], ['policy', 'list'], ['observe', '--last', '6']]) {
  const { code, stdout, stderr } = await node.weir(...args);
  line(bold(`$ weir ${args.join(' ')}`));
  process.stdout.write(`${stdout || stderr}\n`);
  if (code !== 0) fail(`weir ${args.join(' ')} ended with ${code}`);
}

if (keep) {
  // Instead of the test bed's, which ends the process at once: its end is told, and the verdicts are what it exits with.
  process.removeAllListeners('SIGINT');
  const interrupted = new Promise((resolve) => process.on('SIGINT', resolve));
  line(`Everything keeps running until you press Ctrl-C. To try, in another shell:

  export WEIR_SERVER=unix://${node.apiSocket}
  npx weir status; npx weir endpoint list; npx weir observe -f
  nsenter --net=${pods.get('default/frontend')?.netns.path} ping -c 1 -W 1 ${pods.get('default/backend')?.ipv4}   # denied: see observe
  $EDITOR ${node.manifests}/backend-policy.yaml     # in force the moment it is saved
  nsenter --net=${node.netns.path} ip route; ls ${node.pinFolder}`);
  await interrupted;
}
await node.close();
line('removed: agent, pods, namespaces, pins, files');
if (failures > 0) {
  wrong(`${failures} of the verdicts or steps above were wrong`);
  process.exit(1);
}
ok(`all ${2 * TRUTH_TABLE.length} verdicts were right, and each flow names its rule`);
process.exit(0);

/** The command line; ends the process with 2 when there is anything else in it. */
function keepWanted(): boolean {
  try {
    return parseArgs({ options: { keep: { type: 'boolean', default: false } } }).values.keep;
  } catch (error) {
    console.error(`demo: ${(error as Error).message}\nusage: npm run demo [-- --keep]`);
    process.exit(2);
  }
}

async function show(attempt: Attempt, family: FamilyName): Promise<void> {
  const to = addressOf(attempt.to, family);
  const since = new Date().toISOString();
  const passed = await tryIt(attempt, to);
  const right = passed === attempt.allowed;
  const decided = await explain(attempt, family, since);
  const how = `${attempt.protocol}${attempt.port ? ` ${attempt.port}` : ''} ${family}`;
  line(
    `${mark(right)} ${attempt.from.padEnd(18)}${attempt.to.padEnd(18)}${how.padEnd(16)}${verdictWord(passed)}  ${decided}`,
  );
  if (!right) fail(`expected ${attempt.allowed ? 'allowed' : 'denied'}: ${attempt.because}`);
}

/** True if the other side's answer came back. */
async function tryIt({ from, protocol, port }: Attempt, to: string): Promise<boolean> {
  const target = { address: to, port, timeoutMs: SILENCE_MS };
  const netns = from === 'world' ? node.world : podOf(from).netns;
  if (protocol === 'ICMP') return netns.ping(to, SILENCE_MS);
  return (await (protocol === 'TCP' ? peerOf(from).tcp(target) : peerOf(from).udp(target))) === 'ok';
}

interface FlowLine {
  readonly verdict: string;
  readonly drop_reason_desc?: string;
  readonly weir: {
    readonly event: string;
    readonly rule?: { readonly description: string };
    readonly isolatedBy?: { kind: string; namespace: string; name: string }[];
  };
}

/** The rule, or the absence of one, that the agent recorded for this attempt. */
async function explain(attempt: Attempt, family: FamilyName, since: string): Promise<string> {
  const wanted = attempt.allowed ? 'FORWARDED' : 'DROPPED';
  const query = new URLSearchParams({
    ip: addressOf(attempt.to, family),
    verdict: wanted,
    protocol: attempt.protocol === 'ICMP' ? (family === 'IPv4' ? 'ICMPv4' : 'ICMPv6') : attempt.protocol,
    since,
    first: '1',
  });
  if (attempt.from !== 'world') query.set('from_pod', attempt.from);
  if (attempt.port) query.set('to_port', String(attempt.port));
  const [flow] = await until(
    async () => {
      const { flows } = await node.getJson<{ flows: FlowLine[] }>(`/v1/flows?${query}`);
      return flows.length > 0 && flows;
    },
    { what: `a flow that says ${wanted}`, timeoutMs: 3000 },
  ).catch((error: Error) => {
    fail(error.message);
    return [];
  });
  if (!flow) return '(no flow was recorded)';
  if (flow.weir.rule) return flow.weir.rule.description;
  const isolating = (flow.weir.isolatedBy ?? []).map(({ kind, namespace, name }) => `${kind} ${namespace}/${name}`);
  if (isolating.length > 0) return `default deny: isolated by ${isolating.join(', ')}`;
  return flow.drop_reason_desc ?? 'no policy isolates either side';
}

/** The allowing rule goes while a connection talks: its next packet is dropped; it comes back, and so does the talk. */
async function flip(): Promise<void> {
  const frontend = podOf('default/frontend').peer;
  const policy = manifests['backend-policy.yaml'] ?? '';
  const ticker = await frontend.startTicker('tcp', { address: podOf('default/backend').ipv4, port: 8080 }, 5);
  const received = async (): Promise<number> => (await frontend.tickerStats(ticker)).received;
  const talks = async (): Promise<void> => {
    const before = await received();
    await until(async () => (await received()) > before + 3, { what: 'the connection to talk' });
  };
  const step = async (text: string, change: () => Promise<void>, proof: () => Promise<unknown>): Promise<void> => {
    await change();
    await proof().then(
      () => line(`${mark(true)} ${text}`),
      (error: Error) => {
        line(`${mark(false)} ${text}`);
        fail(error.message);
      },
    );
  };
  const silent = (): Promise<unknown> =>
    until(async () => (await frontend.tickerStats(ticker)).silentMs > 300, { what: 'silence' });
  await step('frontend talks to backend:8080 over one TCP connection', async () => {}, talks);
  await step(
    'the file now allows port 9090 only: the connection falls silent',
    () => node.writeManifest('backend-policy.yaml', policy.replace('"8080"', '"9090"')),
    silent,
  );
  await step(
    'the file is as before: the same connection talks again',
    () => node.writeManifest('backend-policy.yaml', policy),
    talks,
  );
  await frontend.stopTicker(ticker);
}

function podOf(party: Party): PodUnderTest {
  const pod = pods.get(party);
  if (!pod) throw new Error(`no pod ${party}`);
  return pod;
}

function peerOf(party: Party): Peer {
  return party === 'world' ? worldPeer : podOf(party).peer;
}

function addressOf(party: Party, family: FamilyName): string {
  const { ipv4, ipv6 } = party === 'world' ? WORLD : podOf(party);
  return family === 'IPv4' ? ipv4 : ipv6;
}

function fail(message: string): void {
  failures += 1;
  line(`    ${message}`);
}
