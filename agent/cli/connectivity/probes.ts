/** Everything that is tried in a world: pairs of pods, in every family both have. Pure. */
import type { Probe } from './probe.ts';
import { SERVICE_PORT, type TestPod } from './world.ts';

export interface Addresses {
  /** Of pods (of the host network: their node's), by name. */
  readonly pods: ReadonlyMap<string, readonly string[]>;
  /** ClusterIPs of Services, by name. */
  readonly services: ReadonlyMap<string, readonly string[]>;
}

/** @param world "HOST:PORT" outside the cluster; absent: the world is not tried */
export function allProbes(pods: readonly TestPod[], { pods: addresses, services }: Addresses, world?: string): Probe[] {
  const clients = pods.filter(({ labels }) => labels.kind === 'client');
  const echoes = pods.filter(({ labels }) => labels.kind === 'echo');
  const hosts = pods.filter(({ hostNetwork }) => hostNetwork);
  const probe = (action: Probe['action'], from: TestPod, to: TestPod, host: string, port: number): Probe[] => {
    const sameNode = from.node === to.node;
    const target = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
    const family = host.includes(':') ? 'IPv6' : /^[0-9.]+$/.test(host) ? 'IPv4' : 'any';
    return (['tcp', 'udp'] as const).map((protocol) => ({
      ...{ action, from: from.name, to: to.name, target, protocol, family, sameNode },
    }));
  };
  const to = (pod: TestPod) => addresses.get(pod.name) ?? [];
  return [
    ...clients.flatMap((client) => [
      ...[...echoes, ...clients.filter((other) => other !== client)].flatMap((pod) =>
        to(pod).flatMap((address) => probe('pod-to-pod', client, pod, address, pod.port)),
      ),
      ...echoes.flatMap((echo) => [
        ...(services.get(echo.name) ?? []).flatMap((ip) => probe('pod-to-service', client, echo, ip, SERVICE_PORT)),
        ...probe('dns', client, echo, echo.name, SERVICE_PORT).filter(({ protocol }) => protocol === 'tcp'),
      ]),
      ...hosts.flatMap((host) => to(host).flatMap((address) => probe('pod-to-host', client, host, address, host.port))),
      ...(world === undefined ? [] : [worldProbe(client, world)]),
    ]),
    ...hosts.flatMap((host) =>
      [...clients.slice(0, 1), ...echoes].flatMap((pod) =>
        to(pod).flatMap((address) => probe('host-to-pod', host, pod, address, pod.port)),
      ),
    ),
  ];
}

function worldProbe(from: TestPod, target: string): Probe {
  const family = target.startsWith('[') ? 'IPv6' : /^[0-9.:]+$/.test(target) ? 'IPv4' : 'any';
  return { action: 'pod-to-world', from: from.name, to: 'world', target, protocol: 'tcp', family, sameNode: false };
}
