/** The guide's pods and policy, as every end-to-end test begins. */
import { type NodeOptions, NodeUnderTest, type PodUnderTest, repositoryFile } from './node.ts';

export interface Guide {
  readonly node: NodeUnderTest;
  readonly pods: Readonly<Record<'frontend' | 'backend' | 'stranger' | 'postgres' | 'otherFrontend', PodUnderTest>>;
  readonly policy: string;
}

export const GUIDE_PORTS = [8080, 8081, 5432, 5433] as const;

/** A node with the guide's five pods wired, each serving TCP and UDP on {@link GUIDE_PORTS}, and its policy in force. */
export async function startGuide(part: string, flags: NodeOptions['flags'] = []): Promise<Guide> {
  const [namespaces, pods, policy] = await Promise.all(
    ['namespaces.yaml', 'pods.yaml', 'backend-policy.yaml'].map((name) => repositoryFile(`demo/manifests/${name}`)),
  );
  const node = await NodeUnderTest.start(part, {
    manifests: { 'namespaces.yaml': namespaces ?? '', 'pods.yaml': pods ?? '', 'backend-policy.yaml': policy ?? '' },
    flags,
  });
  try {
    const wired = {
      frontend: await node.addPod('default', 'frontend'),
      backend: await node.addPod('default', 'backend'),
      stranger: await node.addPod('default', 'stranger'),
      postgres: await node.addPod('database', 'postgres'),
      otherFrontend: await node.addPod('other', 'frontend'),
    };
    for (const { peer } of Object.values(wired)) {
      await Promise.all(GUIDE_PORTS.flatMap((port) => [peer.serveTcp(port), peer.serveUdp(port)]));
    }
    return { node, pods: wired, policy: policy ?? '' };
  } catch (error) {
    await node.close();
    throw error;
  }
}
