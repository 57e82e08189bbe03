/** An agent on its own: what it needs to know stands in a directory, and nobody else has to hear of its pods. */
import { join } from 'node:path';
import { openIdentityStore } from '../identity/store.ts';
import type { Prefix } from '../model/address.ts';
import { manifestsSource } from '../source/manifests/source.ts';
import type { Joined, JoinOptions } from './join.ts';

export async function standAlone({ config }: JoinOptions): Promise<Joined> {
  return {
    source: manifestsSource({
      directory: config.manifests,
      rescanMs: config.manifestsRescanSeconds * 1000,
      lastGoodDirectory: join(config.stateDirectory, 'manifests'),
    }),
    podCidrs: [config.podCidrV4, config.podCidrV6].filter((cidr): cidr is Prefix => cidr !== undefined),
    addresses: [],
    identities: await openIdentityStore({
      directory: config.stateDirectory,
      graceMs: config.identityGraceSeconds * 1000,
    }),
    podsArePublished: false,
    onRenumbered: () => {},
    announce: () => {},
    announced: async () => {},
    told: async () => {},
    report: () => {},
    ready: async () => {},
    close: async () => {},
  };
}
