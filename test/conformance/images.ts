/**
 * The images that Kubernetes' tests name, made of what this machine has: no registry is asked. Where a test runs programs of an
 * image, they are the same programs (agnhost, dig, OpenBSD's nc, curl, CoreDNS), built here or Debian's; where it only wants
 * something that runs, it gets a pause.
 */
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Cluster } from '../cluster/cluster.ts';
import { PAUSE_IMAGE } from '../cluster/containerd.ts';
import {
  addBusybox,
  addWithLibraries,
  archiveOf,
  BUSYBOX_IMAGE,
  copyProgram,
  pathOf,
  type Recipe,
} from '../cluster/images.ts';
import { command } from '../kit/command.ts';
import { stockProgram } from '../kit/stock.ts';

/** Stands for the tests' registries: see {@link writeRegistries}. */
const REGISTRY = 'weir.test';
const TOOLS_IMAGE = `${REGISTRY}/agnhost:2.56`;
const BOOM_SERVER_IMAGE = `${REGISTRY}/regression-issue-74839:1.2`;

/** The versions are those of k8s.io/kubernetes/test/utils/image/manifest.go in 1.34. */
const OTHER_NAMES: Readonly<Record<string, string>> = {
  [`${REGISTRY}/jessie-dnsutils:1.7`]: TOOLS_IMAGE,
  [`${REGISTRY}/busybox:1.37.0-1`]: BUSYBOX_IMAGE,
  [`${REGISTRY}/pause:3.10.1`]: PAUSE_IMAGE,
  // EndpointSlices of Pods that run; nobody connects to them.
  [`${REGISTRY}/nginx:1.14-4`]: PAUSE_IMAGE,
};

/** Puts all of them on all nodes. */
export async function provideTestImages(cluster: Cluster): Promise<void> {
  for (const recipe of await recipes()) await cluster.loadImage(await archiveOf(recipe));
  for (const node of cluster.nodes)
    for (const [name, of] of Object.entries(OTHER_NAMES))
      await node.run(['ctr', '-n', 'k8s.io', 'images', 'tag', '--force', of, name]);
}

/** A KUBE_TEST_REPO_LIST file, by which the tests ask for their images here. */
export function writeRegistries(file: string): void {
  writeFileSync(file, `promoterE2eRegistry: ${REGISTRY}\ngcRegistry: ${REGISTRY}\n`);
}

async function recipes(): Promise<Recipe[]> {
  const [busybox, openssl] = [await pathOf('busybox'), await pathOf('openssl')];
  // Not busybox's shell: it runs its own nc and wget whatever is in the path.
  const tools = {
    sh: 'dash',
    bash: 'bash',
    curl: 'curl',
    wget: 'wget',
    nc: 'nc.openbsd',
    dig: 'dig',
    nslookup: 'nslookup',
    getent: 'getent',
  };
  const programs = await Promise.all(
    Object.entries(tools).map(async ([name, of]) => [name, await pathOf(of)] as const),
  );
  const [agnhost, coredns, boomServer] = [
    stockProgram('agnhost'),
    stockProgram('coredns'),
    stockProgram('boom-server'),
  ];
  return [
    {
      name: TOOLS_IMAGE,
      entrypoint: ['/agnhost'],
      arguments: ['pause'],
      from: [agnhost, coredns, busybox, openssl, ...programs.map(([, path]) => path)],
      fill: async (root) => {
        await addBusybox(root, busybox);
        for (const [name, path] of programs) await addWithLibraries(root, path, name);
        copyProgram(agnhost, join(root, 'agnhost'));
        copyProgram(coredns, join(root, 'coredns'));
        mkdirSync(join(root, 'uploads'));
        await addLocalhostCertificate(root, openssl);
      },
    },
    {
      name: BOOM_SERVER_IMAGE,
      entrypoint: ['/boom-server'],
      from: [boomServer],
      fill: async (root) => copyProgram(boomServer, join(root, 'boom-server')),
    },
  ];
}

/** What agnhost's servers show who asks by TLS, whoever runs them in the container. */
async function addLocalhostCertificate(root: string, openssl: string): Promise<void> {
  const [key, certificate] = [join(root, 'localhost.key'), join(root, 'localhost.crt')];
  await command([
    ...[openssl, 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=localhost', '-days', '3650'],
    ...['-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '-keyout', key, '-out', certificate],
  ]);
  chmodSync(key, 0o644);
}
