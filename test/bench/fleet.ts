/** A node with many pods and no traffic of their own: what the control-plane workloads (W8, W9) run on. */
import { join } from 'node:path';
import { tryCommand } from '../kit/command.ts';
import type { Netns } from '../kit/netns.ts';
import type { NodeUnderTest } from '../kit/node.ts';
import type { Load } from './load.ts';

export const FLEET_NAMESPACE = 'fleet';

/** Manifests of `count` pods `pod-0`..., labels app=pod and number=N. */
export function fleetManifest(count: number): string {
  const pods = Array.from(
    { length: count },
    (_, i) =>
      `---\napiVersion: v1\nkind: Pod\nmetadata: { name: pod-${i}, namespace: ${FLEET_NAMESPACE}, labels: { app: pod, number: "${i}" } }\n`,
  );
  return `apiVersion: v1\nkind: Namespace\nmetadata: { name: ${FLEET_NAMESPACE} }\n${pods.join('')}`;
}

/** One CNI call by a program of the CNI protocol, timed from fork to its end by load.c. */
export interface CniProgram {
  readonly name: string;
  /** Returns milliseconds. @throws when the program reports an error */
  call(command: 'ADD' | 'DEL', netns: Netns, number: number): Promise<number>;
}

export function weirCni(node: NodeUnderTest, load: Load): CniProgram {
  const binary = join(node.folder, 'bin/weir-cni');
  return {
    name: 'Weir',
    call: (command, netns, number) =>
      timedCall(
        [load.program, 'time', binary],
        command,
        netns,
        {
          CNI_PATH: join(node.folder, 'bin'),
          CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=${FLEET_NAMESPACE};K8S_POD_NAME=pod-${number}`,
        },
        { cniVersion: '1.0.0', name: 'weir', type: 'weir-cni' },
      ),
  };
}

/**
 * The distribution's plugin that wires the same way: a veth pair, routes, host-local addresses; no policy. IPv4 only, which
 * favours it: with an IPv6 address it waits a second or two for duplicate address detection.
 */
export function ptpCni(nodeNamespace: Netns, dataFolder: string, load: Load): CniProgram {
  const plugins = '/usr/lib/cni';
  const config = {
    cniVersion: '1.0.0',
    name: 'ptp',
    type: 'ptp',
    ipam: {
      type: 'host-local',
      dataDir: dataFolder,
      ranges: [[{ subnet: '10.99.0.0/16' }]],
      routes: [{ dst: '0.0.0.0/0' }],
    },
  };
  const words = nodeNamespace.enter([load.program, 'time', `${plugins}/ptp`]);
  return {
    name: 'ptp (IPv4 only)',
    call: (command, netns) => timedCall(words, command, netns, { CNI_PATH: plugins }, config),
  };
}

async function timedCall(
  words: readonly string[],
  command: 'ADD' | 'DEL',
  netns: Netns,
  env: Record<string, string>,
  config: object,
): Promise<number> {
  const result = await tryCommand(words, {
    env: { CNI_COMMAND: command, CNI_CONTAINERID: netns.name, CNI_NETNS: netns.path, CNI_IFNAME: 'eth0', ...env },
    input: JSON.stringify(config),
  });
  const took = /took (\d+)/.exec(result.stderr)?.[1];
  if (result.code !== 0 || took === undefined) throw new Error(`${command}: ${result.stdout}${result.stderr}`);
  return Number(took) / 1e6;
}
