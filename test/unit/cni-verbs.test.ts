/** Each verb on a fake node, from the frame to the JSON on stdout, and the queue of DELs. */
import { mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { answer } from '../../agent/cni/answer.ts';
import { type DeleteQueue, openDeleteQueue } from '../../agent/cni/replay.ts';
import type { CniReadiness } from '../../agent/cni/request.ts';
import { WeirError } from '../../agent/errors.ts';
import { createLogger } from '../../agent/run/log.ts';
import { suite } from '../kit/suite.ts';
import { type Agent, container, createWorld, type World } from './endpoint-world.ts';

interface Node {
  readonly world: World;
  readonly agent: Agent;
  readonly queue: DeleteQueue;
  readonly queueFolder: string;
  readonly log: string[];
  readiness: CniReadiness;
  /** Runs a verb on container `a` of pod default/a; '' or the JSON it answered. */
  run(verb: string, config?: object | string, variables?: Record<string, string>): Promise<Answer>;
}
interface Answer {
  readonly exit: number;
  // biome-ignore lint/suspicious/noExplicitAny: the JSON of any verb, looked into by tests
  readonly json: any;
}

const VARIABLES = {
  CNI_CONTAINERID: 'a',
  CNI_NETNS: '/run/netns/a',
  CNI_IFNAME: 'eth0',
  CNI_PATH: '/opt/cni/bin',
  CNI_ARGS: 'IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=a',
};

function frameOf(verb: string, config: object | string, variables: Record<string, string> = {}): Buffer {
  const entries = Object.entries({ CNI_COMMAND: verb, ...VARIABLES, ...variables });
  const text =
    typeof config === 'string'
      ? config
      : JSON.stringify({ cniVersion: '1.1.0', name: 'weir', type: 'weir-cni', ...config });
  return Buffer.from(`${entries.map(([name, value]) => `${name}=${value}\0`).join('')}\0${text}`);
}

async function onNode(body: (node: Node) => Promise<void>): Promise<void> {
  const world = createWorld();
  const queueFolder = mkdtempSync(join(tmpdir(), 'wt-cni-queue-'));
  const log: string[] = [];
  try {
    const agent = await world.boot();
    container(world, 'a');
    const { endpoints } = agent;
    const logger = createLogger({ level: 'debug', format: 'text', write: (line) => log.push(line) });
    const queue = await openDeleteQueue({ folder: queueFolder, del: endpoints.del, log: logger });
    const node: Node = {
      world,
      agent,
      queue,
      queueFolder,
      log,
      readiness: { state: 'ready' },
      async run(verb, config = {}, variables = {}) {
        const parts = { endpoints, queue, readiness: () => node.readiness };
        const { exit, text } = await answer(frameOf(verb, config, variables), parts, () => {});
        return { exit, json: text === '' ? '' : JSON.parse(text) };
      },
    };
    await body(node);
  } finally {
    world.remove();
    rmSync(queueFolder, { recursive: true });
  }
}

const add = suite('cni ADD');
add('1.1.0: interfaces with MTU, addresses on the pod side, default routes', () =>
  onNode(async ({ run, agent }) => {
    const { exit, json } = await run('ADD', { mtu: 1400, dns: { nameservers: ['10.96.0.10'] } });
    assert.is(exit, 0);
    const [record] = agent.endpoints.list();
    assert.equal(json, {
      cniVersion: '1.1.0',
      interfaces: [
        { name: record?.hostInterface, mac: '0a:77:65:69:72:01', mtu: 1400 },
        { name: 'eth0', mac: record?.mac, mtu: 1400, sandbox: '/run/netns/a' },
      ],
      ips: [
        { address: '10.7.0.2/32', gateway: '169.254.1.1', interface: 1 },
        { address: 'fd07::2/128', gateway: 'fe80::1', interface: 1 },
      ],
      routes: [
        { dst: '0.0.0.0/0', gw: '169.254.1.1' },
        { dst: '::/0', gw: 'fe80::1' },
      ],
      dns: { nameservers: ['10.96.0.10'] },
    });
  }),
);
for (const version of ['0.3.1', '0.4.0', '1.0.0', '1.1.0']) {
  add(`${version}: the fields that version has`, () =>
    onNode(async ({ run }) => {
      const { json } = await run('ADD', { cniVersion: version });
      assert.is(json.cniVersion, version);
      assert.equal(
        json.ips.map((ip: { version?: string }) => ip.version),
        version < '1' ? ['4', '6'] : [undefined, undefined],
      );
      assert.is('mtu' in json.interfaces[0], version === '1.1.0');
      assert.is('sandbox' in json.interfaces[0], false);
    }),
  );
}
add('twice: an error of ours, no second address', () =>
  onNode(async ({ run, agent }) => {
    await run('ADD');
    const { exit, json } = await run('ADD', { cniVersion: '1.0.0' });
    assert.equal([exit, json.code, json.cniVersion], [1, 100, '1.0.0']);
    assert.match(json.msg, /eth0 of container a exists already/);
    assert.is(agent.pool.use()[0]?.used, 1);
  }),
);
add('behind another plugin, from an unknown version, with a field we do not have', () =>
  onNode(async ({ run, world }) => {
    assert.is((await run('ADD', { prevResult: { ips: [] } })).json.code, 7);
    assert.equal((await run('ADD', { cniVersion: '0.2.0' })).json.code, 1);
    assert.is((await run('ADD', { ipam: { type: 'host-local' } })).json.code, 2);
    assert.is((await run('ADD', {}, { CNI_ARGS: 'FOO=1' })).json.code, 4);
    assert.is((await run('ADD', {}, { CNI_NETNS: '' })).json.code, 4);
    assert.is((await run('ADD', '{')).json.code, 6);
    assert.equal(world.residue(), []);
  }),
);
add('while the agent starts: try again, and why', () =>
  onNode(async (node) => {
    node.readiness = { state: 'starting', reason: 'waiting for the first list of manifests' };
    const { json } = await node.run('ADD');
    assert.is(json.code, 11);
    assert.match(json.msg, /first list of manifests/);
  }),
);
add('a pod the source does not have: try again, with its name', () =>
  onNode(async ({ run, world }) => {
    world.pods.clear();
    const { json } = await run('ADD');
    assert.is(json.code, 11);
    assert.match(json.msg, /pod default\/a/);
  }),
);
add.run();

const others = suite('cni DEL, CHECK, GC, STATUS, VERSION');
others('DEL: twice, without a namespace, and whatever the configuration says', () =>
  onNode(async ({ run, world, agent }) => {
    await run('ADD');
    const wrong = { ipam: { type: 'host-local' }, mtu: 'x', unknown: 1, prevResult: {} };
    assert.equal(await run('DEL', wrong, { CNI_NETNS: '' }), { exit: 0, json: '' });
    assert.equal(await run('DEL', wrong, { CNI_NETNS: '', CNI_ARGS: 'rubbish' }), { exit: 0, json: '' });
    assert.equal(world.residue(), []);
    assert.is(agent.pool.use()[0]?.used, 0);
  }),
);
others('CHECK: needs prevResult, finds every difference, ignores what others added', () =>
  onNode(async ({ run, world }) => {
    const { json: result } = await run('ADD');
    const check = (change: (copy: typeof result) => void) => {
      const prevResult = structuredClone(result);
      change(prevResult);
      return run('CHECK', { prevResult });
    };
    assert.equal(await check(() => {}), { exit: 0, json: '' });
    assert.is((await run('CHECK')).json.code, 7);
    const fine = await check((copy) => {
      copy.interfaces.push({ name: 'bond0', mac: '00:00:00:00:00:01' });
      copy.ips.push({ address: '192.0.2.1/24', interface: 2 });
    });
    assert.is(fine.exit, 0);
    const cases: readonly [(copy: typeof result) => void, RegExp][] = [
      [(copy) => copy.interfaces.splice(1, 1), /no interface eth0 in \/run\/netns\/a/],
      [(copy) => copy.interfaces.splice(0, 1), /no interface weir[0-9a-f]+ on the node/],
      [(copy) => Object.assign(copy.interfaces[1], { mac: '00:00:00:00:00:01' }), /MAC address 00:00/],
      [(copy) => copy.ips.pop(), /no address fd07::2\/128/],
      [(copy) => copy.ips.push({ address: '10.7.0.3/32', interface: 1 }), /10\.7\.0\.3\/32, which it was not given/],
      [(copy) => Object.assign(copy, { interfaces: 'x', ips: [1, null] }), /no interface eth0/],
    ];
    for (const [change, says] of cases) {
      const { json } = await check(change);
      assert.is(json.code, 101);
      assert.match(json.msg, says);
    }
    world.links.clear();
    assert.match((await check(() => {})).json.msg, /is gone/);
    assert.is((await run('CHECK', { prevResult: result }, { CNI_CONTAINERID: 'b' })).json.code, 3);
    assert.is((await run('CHECK', { cniVersion: '0.3.1', prevResult: result })).json.code, 1);
  }),
);
others('GC: what is not listed goes', () =>
  onNode(async ({ run, agent }) => {
    await run('ADD');
    assert.equal(await run('GC'), { exit: 0, json: '' });
    assert.is(agent.endpoints.list().length, 1, 'nothing was said to be stale');
    assert.is((await run('GC', { 'cni.dev/valid-attachments': {} })).json.code, 7);
    const listed = { 'cni.dev/valid-attachments': [{ containerID: 'a', ifname: 'eth0' }] };
    assert.equal(await run('GC', listed), { exit: 0, json: '' });
    assert.is(agent.endpoints.list().length, 1);
    await run('GC', { ...listed, name: 'another-network', 'cni.dev/valid-attachments': [] });
    assert.is(agent.endpoints.list().length, 1);
    assert.equal(await run('GC', { 'cni.dev/valid-attachments': [] }), { exit: 0, json: '' });
    assert.is(agent.endpoints.list().length, 0);
  }),
);
others('STATUS: ready, starting, degraded, and a configuration that ADD would refuse', () =>
  onNode(async (node) => {
    assert.equal(await node.run('STATUS'), { exit: 0, json: '' });
    assert.is((await node.run('STATUS', { ipMasq: true })).json.code, 2);
    node.readiness = { state: 'starting', reason: 'x' };
    assert.is((await node.run('STATUS')).json.code, 50);
    node.readiness = { state: 'degraded', reason: 'the kernel refused a change' };
    const { json } = await node.run('STATUS');
    assert.equal([json.code, json.msg], [51, 'weir-agent is degraded: the kernel refused a change']);
  }),
);
others('VERSION: in the version asked, or the newest', () =>
  onNode(async ({ run }) => {
    const supportedVersions = ['0.3.1', '0.4.0', '1.0.0', '1.1.0'];
    assert.equal((await run('VERSION', '{"cniVersion":"0.4.0"}')).json, { cniVersion: '0.4.0', supportedVersions });
    assert.equal((await run('VERSION', '{"cniVersion":"9"}')).json, { cniVersion: '1.1.0', supportedVersions });
  }),
);
others.run();

const queue = suite('cni: DELs kept while the agent was away');
queue('are applied once, in their order, and then gone', () =>
  onNode(async ({ run, queueFolder, queue, agent }) => {
    await run('ADD');
    writeFileSync(join(queueFolder, '999.000000001-1'), frameOf('DEL', {}, { CNI_CONTAINERID: 'b' }));
    writeFileSync(join(queueFolder, '1000.000000000-1'), frameOf('DEL', ''));
    assert.is(await queue.replay(), 2);
    assert.equal(readdirSync(queueFolder), []);
    assert.is(agent.endpoints.list().length, 0);
    assert.is(await queue.replay(), 0);
  }),
);
queue('an ADD of the same container applies its own first, so it cannot be deleted by an old one', () =>
  onNode(async ({ run, queueFolder, queue, agent }) => {
    await run('ADD');
    writeFileSync(join(queueFolder, '1000.000000000-1'), frameOf('DEL', ''));
    writeFileSync(join(queueFolder, '1000.000000000-2'), frameOf('DEL', '', { CNI_CONTAINERID: 'b' }));
    assert.is((await run('ADD')).exit, 0);
    assert.equal(readdirSync(queueFolder), ['1000.000000000-2']);
    await queue.replay();
    assert.is(agent.endpoints.list().length, 1);
  }),
);
queue('one that fails stays and is tried again; those after it are applied', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'wt-cni-queue-'));
  try {
    const done: string[] = [];
    let failing = true;
    const del = async ({ containerId }: { containerId: string }): Promise<void> => {
      if (containerId === 'a' && failing) throw new WeirError('DATAPATH_FAILED', 'unwire', 'EBUSY');
      done.push(containerId);
    };
    const log = createLogger({ level: 'error', format: 'text', write: () => {} });
    const opened = await openDeleteQueue({ folder, del, log });
    writeFileSync(join(folder, '1.0-1'), frameOf('DEL', ''));
    writeFileSync(join(folder, '2.0-1'), frameOf('DEL', '', { CNI_CONTAINERID: 'b' }));
    assert.is(await opened.replay(), 1);
    assert.equal(readdirSync(folder), ['1.0-1']);
    failing = false;
    await opened.replay();
    assert.equal(done, ['b', 'a']);
    assert.equal(readdirSync(folder), []);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
queue('what is no DEL is set aside, unfinished files wait for their writer for an hour', () =>
  onNode(async ({ queueFolder, queue, log }) => {
    writeFileSync(join(queueFolder, '1.0-1'), 'rubbish');
    writeFileSync(join(queueFolder, '2.0-1'), frameOf('ADD', {}));
    writeFileSync(join(queueFolder, '3.0-1'), frameOf('DEL', {}, { CNI_CONTAINERID: '../x' }));
    writeFileSync(join(queueFolder, '4.0-1'), Buffer.alloc(2 << 20));
    writeFileSync(join(queueFolder, '.5.0-1'), '');
    writeFileSync(join(queueFolder, '.6.0-1'), '');
    utimesSync(join(queueFolder, '.6.0-1'), 1, 1);
    assert.is(await queue.replay(), 0);
    assert.equal(readdirSync(queueFolder).sort(), [
      '.5.0-1',
      '1.0-1.broken',
      '2.0-1.broken',
      '3.0-1.broken',
      '4.0-1.broken',
    ]);
    assert.is(log.filter((line) => line.includes('set aside')).length, 4);
    await queue.replay();
    assert.is(log.filter((line) => line.includes('set aside')).length, 4);
  }),
);
queue.run();
