/**
 * What an agent has by where it runs: alone with a directory of manifests (standalone.ts), or as one node of a Kubernetes
 * cluster (kubernetes.ts). main.ts puts the same parts together either way.
 */
import type { Config } from '../config/config.ts';
import type { AskAccess } from '../kubernetes/access.ts';
import type { Address, Prefix } from '../model/address.ts';
import type { EndpointRecord } from '../model/endpoint.ts';
import type { Labels } from '../model/labels.ts';
import type { NamedPort, NodeRecord, Pod, Problem } from '../model/object.ts';
import type { RefusedDocument } from '../model/refused-document.ts';
import type { IdentityNumbers } from '../realize/identities-in-use.ts';
import type { Logger } from '../run/log.ts';
import type { Source } from '../source/source.ts';

/** An endpoint with the identity that is in force for it. */
export interface AnnouncedEndpoint {
  readonly record: EndpointRecord;
  readonly identity: number;
  readonly labels: Labels;
  readonly namedPorts: readonly NamedPort[];
  readonly pod: Pod | undefined;
}

/** What the agent says of itself. */
export interface AgentReport {
  readonly self: NodeRecord;
  readonly ready: boolean;
  readonly desiredRevision: number;
  readonly realizedRevision: number;
  readonly drops: number;
  readonly refused: readonly RefusedDocument[];
  readonly problems: readonly string[];
}

export interface Joined {
  readonly source: Source;
  /** This node's addresses for pods. */
  readonly podCidrs: readonly Prefix[];
  /** Where the node is reached, as far as it is known at the start; the source tells later. */
  readonly addresses: readonly Address[];
  readonly identities: IdentityNumbers & {
    problems(): Problem[];
    /** To be called every now and then. */
    collect(): Promise<void>;
    close(): Promise<void>;
  };
  /** Pods of other nodes are known by what those nodes publish, not by Pod objects. */
  readonly podsArePublished: boolean;
  /** Tells when a label set that is in use has another number now: its endpoints must ask again. */
  onRenumbered(tell: (labels: Labels) => void): void;
  /** All endpoints of this node as they are now: for the other nodes. */
  announce(endpoints: readonly AnnouncedEndpoint[]): void;
  /** Resolves when other nodes can know of the endpoint, or after a bounded time, which is said in the log. */
  announced(endpointId: number): Promise<void>;
  /** Resolves when other nodes can know of all that was announced before, however long that takes. */
  told(): Promise<void>;
  /**
   * What the agent says of itself, for people and for the cluster's chores, which ask again in between. To be called now
   * and then.
   */
  report(read: () => AgentReport): void;
  /** The node takes pods: the taint that keeps them away goes. */
  ready(): Promise<void>;
  /** What the API server says of a token; absent where there is no API server. */
  readonly access?: AskAccess;
  close(): Promise<void>;
}

export interface JoinOptions {
  readonly config: Config;
  readonly version: string;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

/** Only what is needed is loaded: the API client costs memory that an agent on its own does not have to pay. */
export async function join(options: JoinOptions): Promise<Joined> {
  if (options.config.source === 'kubernetes') return (await import('./kubernetes.ts')).joinCluster(options);
  return (await import('./standalone.ts')).standAlone(options);
}
