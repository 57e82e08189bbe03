/**
 * An agent as one node of a Kubernetes cluster: policies and pods come from the API server, and what nodes must know of
 * each other goes through it (agent/cluster).
 */
import { createClusterState } from '../cluster/state.ts';
import { createAccess } from '../kubernetes/access.ts';
import { createClient } from '../kubernetes/client.ts';
import { connect } from '../kubernetes/connection.ts';
import type { Labels } from '../model/labels.ts';
import type { Problem } from '../model/object.ts';
import { routerAddress } from '../model/router-address.ts';
import { startDocumentStatus } from '../source/kubernetes/document-status.ts';
import { DocumentTable } from '../source/kubernetes/document-table.ts';
import { kubernetesSource } from '../source/kubernetes/source.ts';
import type { AgentReport, AnnouncedEndpoint, Joined, JoinOptions } from './join.ts';
import { createMerge } from './merge.ts';
import { ownNode, whileNodeStays } from './own-node.ts';
import { publishedEndpoint } from './published-endpoint.ts';

/** Longest that ADD waits for the other nodes to be able to know of the pod. */
const ANNOUNCE_MS = 3000;

export async function joinCluster(options: JoinOptions): Promise<Joined> {
  const { config, signal } = options;
  const { nodeName, stateDirectory } = config;
  const log = options.log.with({ part: 'cluster' });
  const connection = await connect({ kubeconfig: config.kubeconfig, server: config.kubernetesServer || undefined });
  const client = createClient({ connection });
  const node = await ownNode({ client, nodeName, stateDirectory, log, signal });

  const documents = new DocumentTable();
  /** What this agent says of itself, as of now. */
  let ask: (() => AgentReport) | undefined;
  const renumbered: ((labels: Labels) => void)[] = [];
  const merge = createMerge(2);
  const published = merge.input();
  const state = await createClusterState({
    client,
    nodeName,
    namespace: config.kubernetesNamespace,
    stateDirectory,
    log,
    identityGraceMs: config.identityGraceSeconds * 1000,
    onChanges: published.change,
    onSynced: published.synced,
    onRenumbered(labels) {
      for (const tell of renumbered) tell(labels);
    },
    onHeld(held) {
      log.info('this agent does the chores of the cluster');
      startDocumentStatus({ client, nodeName, documents, refused: () => ask?.().refused, log, signal: held });
    },
    signal,
  });
  state.describe({ ...node, routerAddresses: node.podCidrs.map(routerAddress) });

  const source = kubernetesSource({ client, nodeName, documents, log });
  const here = whileNodeStays(source, { nodeName, podCidrs: node.podCidrs });
  const uids = new Map<number, string>();
  let described = JSON.stringify(node.addresses);

  /** By container: said once. */
  const tooMany = new WeakSet<AnnouncedEndpoint['record']>();
  function unpublishable({ record }: AnnouncedEndpoint): void {
    if (tooMany.has(record)) return;
    tooMany.add(record);
    const { namespace, podName } = record;
    log.error('a pod has too many named ports to be told to other nodes: they deny it', {
      pod: `${namespace}/${podName}`,
    });
  }

  return {
    source: { name: source.name, run: (sink, until) => here.run(merge.into(sink), until) },
    podCidrs: node.podCidrs,
    addresses: node.addresses,
    identities: {
      acquire: state.identities.acquire,
      release: state.identities.release,
      collect: () => state.identities.collect(),
      problems: () => state.problems().map(asProblem),
      close: async () => {},
    },
    podsArePublished: true,
    onRenumbered: (tell) => void renumbered.push(tell),
    announce(endpoints) {
      uids.clear();
      const published = endpoints.flatMap((endpoint) => {
        const one = publishedEndpoint(endpoint);
        if (one) uids.set(endpoint.record.id, one.uid);
        else unpublishable(endpoint);
        return one ?? [];
      });
      state.endpoints.announce(published);
    },
    async announced(id) {
      const uid = uids.get(id);
      if (uid !== undefined) await state.endpoints.announced(uid, ANNOUNCE_MS);
    },
    told: state.endpoints.told,
    report(read) {
      ask = read;
      const { self, ...said } = read();
      const addresses = JSON.stringify(self.addresses);
      if (self.addresses.length > 0 && addresses !== described) {
        described = addresses;
        state.describe(self);
      }
      state.report({
        agentVersion: options.version,
        ready: said.ready,
        policyRevision: said.realizedRevision,
        desiredPolicyRevision: said.desiredRevision,
        endpoints: uids.size,
        identities: state.identities.size,
        drops: said.drops,
        refused: said.refused,
        refusedCount: said.refused.length,
        problems: said.problems,
      });
    },
    ready: async () => state.setReady(true),
    access: createAccess(client),
    async close() {
      await state.stopped;
      client.close();
    },
  };
}

function asProblem(message: string): Problem {
  return { severity: 'error', code: 'cluster-state', message, path: [], place: '', line: undefined };
}
