/**
 * The wires of a cluster, all in namespaces: a switch that is also the router ("lan"), the control plane's and the nodes'
 * namespaces on it, and a host beyond the router that belongs to nobody ("world"). addresses.ts has the picture. One link
 * joins the control plane with the machine itself, for a person's kubectl.
 */
import { existsSync, readdirSync } from 'node:fs';
import { command, tryCommand } from '../kit/command.ts';
import { Netns } from '../kit/netns.ts';
import { until } from '../kit/until.ts';
import {
  type Addresses,
  CONTROL_PLANE,
  families,
  LAN_PREFIX,
  machineLink,
  nodeAddresses,
  ROUTER,
  WORLD,
  WORLD_ROUTER,
  withPrefix,
} from './addresses.ts';
import type { ClusterPaths } from './paths.ts';
import type { ClusterRecord, NodeRecord } from './record.ts';

/**
 * Of the veth ends in nodes. Both ends of a veth in new namespaces would get index 2, and linkwatch
 * (net/core/link_watch.c, linkwatch_urgent_event) then takes the pair for a plain device and lets it wait for its carrier.
 */
const LINK_INDEX = 1000;

export async function makeNetwork(paths: ClusterPaths, record: ClusterRecord): Promise<void> {
  const lan = await newNetns(paths, 'lan');
  await ipBatch(lan, [
    'link add lan type bridge',
    ...withPrefix(ROUTER, record.dualStack).map((address) => addressAdd(address, 'lan')),
    'link set lan up',
  ]);
  await setSysctls(lan, ['net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1']);

  const world = await newNetns(paths, 'world');
  await wire(world, lan, 'world', withPrefix(WORLD, record.dualStack));
  await ipBatch(
    lan,
    withPrefix(WORLD_ROUTER, record.dualStack).map((address) => addressAdd(address, 'world')),
  );
  await defaultRoutes(world, WORLD_ROUTER, record.dualStack);

  const controlPlane = await newNetns(paths, 'control-plane');
  await plugIn(controlPlane, lan, 'control-plane', CONTROL_PLANE, record.dualStack);
  const link = machineLink(record.number);
  await command([
    'ip',
    'link',
    'add',
    record.machineLink,
    'type',
    'veth',
    'peer',
    'name',
    'machine',
    'netns',
    controlPlane.name,
  ]);
  await ipBatch(undefined, [
    `address add ${link.machine}/30 dev ${record.machineLink}`,
    `link set ${record.machineLink} up`,
  ]);
  await ipBatch(controlPlane, [`address add ${link.controlPlane}/30 dev machine`, 'link set machine up']);
}

/** A node's namespace, on the switch, with a default route: as a machine is after its installation. */
export async function makeNodeNetns(paths: ClusterPaths, record: ClusterRecord, node: NodeRecord): Promise<Netns> {
  const netns = await newNetns(paths, node.name);
  const lan = new Netns(paths.netns('lan'));
  await plugIn(netns, lan, node.name, nodeAddresses(node.number), record.dualStack);
  return netns;
}

/** Pulls the plug first: the kernel takes a namespace apart some time after its name is gone, and its links with it. */
export async function removeNodeNetns(paths: ClusterPaths, node: string): Promise<void> {
  await new Netns(paths.netns('lan')).tryRun(['ip', 'link', 'del', node]);
  const name = paths.netns(node);
  if (existsSync(`/run/netns/${name}`)) await command(['ip', 'netns', 'del', name]);
}

/** Whatever there is with this cluster's name. */
export async function removeNetwork(paths: ClusterPaths, link: string | undefined): Promise<void> {
  const names = existsSync('/run/netns') ? readdirSync('/run/netns') : [];
  for (const name of names.filter((each) => each.startsWith(`${paths.name}-`)))
    await command(['ip', 'netns', 'del', name]);
  // Its other end was in a namespace: it is gone, or about to be.
  if (link !== undefined) await tryCommand(['ip', 'link', 'del', link]);
}

async function newNetns(paths: ClusterPaths, part: string): Promise<Netns> {
  const netns = new Netns(paths.netns(part));
  await command(['ip', 'netns', 'add', netns.name]);
  await netns.ip('link set lo up');
  return netns;
}

/** A port of the switch. */
async function plugIn(netns: Netns, lan: Netns, port: string, addresses: Addresses, dualStack: boolean): Promise<void> {
  await wire(netns, lan, port, withPrefix(addresses, dualStack, LAN_PREFIX));
  await lan.ip(`link set ${port} master lan`);
  await defaultRoutes(netns, ROUTER, dualStack);
}

/** eth0 in `netns`, with `addresses`, and its other end `port` in `lan`. */
async function wire(netns: Netns, lan: Netns, port: string, addresses: readonly string[]): Promise<void> {
  await command([
    'ip',
    'link',
    'add',
    'index',
    String(LINK_INDEX),
    'name',
    'eth0',
    'netns',
    netns.name,
    'type',
    'veth',
    'peer',
    'name',
    port,
    'netns',
    lan.name,
  ]);
  await lan.ip(`link set ${port} up`);
  await ipBatch(netns, [...addresses.map((address) => addressAdd(address, 'eth0')), 'link set eth0 up']);
  // IPv6 uses a link only once its operational state is up.
  await until(async () => (await netns.ip('-br link show eth0')).includes(' UP '), {
    what: `eth0 of ${netns.name} to be up`,
  });
}

async function defaultRoutes(netns: Netns, router: Addresses, dualStack: boolean): Promise<void> {
  await ipBatch(
    netns,
    families(router, dualStack).map((address) => `route add default via ${address}`),
  );
}

export async function setSysctls(netns: Netns, settings: readonly string[]): Promise<void> {
  await netns.run(['sysctl', '-q', '-w', ...settings]);
}

function addressAdd(address: string, link: string): string {
  return `address add ${address} dev ${link}${address.includes(':') ? ' nodad' : ''}`;
}

async function ipBatch(netns: Netns | undefined, lines: readonly string[]): Promise<void> {
  const words = ['ip', '-batch', '-'];
  await command(netns?.enter(words) ?? words, { input: `${lines.join('\n')}\n` });
}
