/** Small documents and clusters for the tests of the policy engine: named, so that a test reads as its case. */
import type { Address } from '../../agent/model/address.ts';
import { type IdentityNumber, RESERVED_IDENTITIES } from '../../agent/model/identity.ts';
import type { Document, NamedPort, ObjectRef, Path } from '../../agent/model/object.ts';
import { podLabels } from '../../agent/model/pod-labels.ts';
import type { Direction } from '../../agent/model/verdict.ts';
import { createEngine, type Engine, type EngineOptions } from '../../agent/policy/engine.ts';
import { type Answer, judge } from '../../agent/policy/evaluate.ts';
import type { PeerKind } from '../../agent/policy/rule.ts';
import type { SubjectKey } from '../../agent/policy/subject.ts';

type Annotations = Readonly<Record<string, string>>;

function document(
  apiVersion: string,
  kind: string,
  namespace: string,
  name: string,
  body: object,
  annotations: Annotations,
): Document {
  const ref: ObjectRef = { apiVersion, kind, namespace, name, uid: '' };
  const raw = { apiVersion, kind, metadata: { name, ...(namespace ? { namespace } : {}), annotations }, ...body };
  // One line per step of the path: enough to see that the right place was asked for.
  return { ref, annotations, raw, origin: { place: `${name}.yaml`, line: (path: Path) => 10 + path.length } };
}

/** A CiliumNetworkPolicy named "policy" in namespace default. */
export function cnp(
  spec: unknown,
  { name = 'policy', namespace = 'default', annotations = {} as Annotations } = {},
): Document {
  return document('cilium.io/v2', 'CiliumNetworkPolicy', namespace, name, { spec }, annotations);
}
export function ccnp(spec: unknown, name = 'policy'): Document {
  return document('cilium.io/v2', 'CiliumClusterwideNetworkPolicy', '', name, { spec }, {});
}
export function cidrGroup(name: string, externalCIDRs: readonly string[]): Document {
  return document('cilium.io/v2', 'CiliumCIDRGroup', '', name, { spec: { externalCIDRs } }, {});
}
export function netpol(spec: unknown, { name = 'policy', namespace = 'default' } = {}): Document {
  return document('networking.k8s.io/v1', 'NetworkPolicy', namespace, name, { spec }, {});
}
export function clusterPolicy(spec: unknown, name = 'policy'): Document {
  return document('policy.networking.k8s.io/v1alpha2', 'ClusterNetworkPolicy', '', name, { spec }, {});
}
export function anyDocument(apiVersion: string, kind: string, body: object): Document {
  return document(apiVersion, kind, '', 'policy', body, {});
}

export interface PodPeer {
  readonly identity: IdentityNumber;
  readonly address: Address;
  readonly kind: PeerKind;
}
const at = (text: string): Address => text as Address;
export const host: PodPeer = { identity: RESERVED_IDENTITIES.host, address: at('192.168.0.1'), kind: 'node' };
export const remoteNode: PodPeer = {
  identity: RESERVED_IDENTITIES['remote-node'],
  address: at('192.168.0.2'),
  kind: 'node',
};
export function outside(address: string): PodPeer {
  const identity = RESERVED_IDENTITIES[address.includes(':') ? 'world-ipv6' : 'world-ipv4'];
  return { identity, address: at(address), kind: 'outside' };
}

/** "8080/TCP", "EchoRequest" or "GRE" as a packet's protocol and port. */
function transport(text: string): { protocol: number; port: number } {
  if (text === 'EchoRequest') return { protocol: 1, port: 8 << 8 };
  if (text === 'EchoRequest6') return { protocol: 58, port: 128 << 8 };
  if (text === 'GRE') return { protocol: 47, port: 0 };
  const [port, name = 'TCP'] = text.split('/');
  return { protocol: { TCP: 6, UDP: 17, SCTP: 132 }[name] as number, port: Number(port) };
}

export interface Bed {
  readonly engine: Engine;
  /** A pod in the engine as peer and as subject; the name's namespace is "default" unless written "ns/name". */
  pod(
    name: string,
    labels?: Readonly<Record<string, string>>,
    ports?: readonly NamedPort[],
  ): PodPeer & { readonly subject: SubjectKey };
  /** Applies the document and expects it to be valid. */
  apply(document: Document): void;
  answer(subject: SubjectKey, direction: Direction, peer: PodPeer, what: string, audited?: boolean): Answer;
  /** "allowed" or "denied" for what the subject receives, sends. */
  receives(subject: { readonly subject: SubjectKey }, from: PodPeer, what: string): string;
  sends(subject: { readonly subject: SubjectKey }, to: PodPeer, what: string): string;
}

export function bed(options: EngineOptions = {}): Bed {
  const engine = createEngine(options);
  let next = 256;
  const answer: Bed['answer'] = (subject, direction, peer, what, audited = false) => {
    engine.take();
    const policy = engine.policyOf(subject) ?? 0;
    return judge(engine.rows(), { policy, direction, peer, audited, ...transport(what) });
  };
  return {
    engine,
    pod(name, labels = {}, ports = []) {
      const [namespace = '', own] = name.includes('/') ? name.split('/') : ['default', name];
      const identity = next++;
      const all = podLabels(
        { namespace, labels: { app: own ?? '', ...labels }, serviceAccount: 'default' },
        { name: namespace, labels: { 'kubernetes.io/metadata.name': namespace } },
        { clusterName: options.clusterName ?? 'default' },
      );
      engine.upsertIdentity(identity, all);
      engine.setNamedPorts(identity, ports);
      const subject = engine.addSubject({ identity, labels: all, namedPorts: ports });
      return { identity, address: at(`10.0.0.${identity - 250}`), kind: 'pod', subject };
    },
    apply(one) {
      const { status, problems } = engine.upsertDocument(one);
      const errors = problems.filter(({ severity }) => severity === 'error');
      if (status !== 'valid') throw new Error(errors.map(({ message }) => message).join('\n'));
    },
    answer,
    receives: ({ subject }, from, what) => answer(subject, 'ingress', from, what).verdict,
    sends: ({ subject }, to, what) => answer(subject, 'egress', to, what).verdict,
  };
}
