/**
 * Rows of the policy tables in few words, for tests of the programs:
 *
 *     setPolicy(datapath, 16, { ingress: { isolated: true, identitySet: 5 } });
 *     setVerdict(datapath, { policy: 16, class: 7, direction: 'ingress', protocol: 6, port: 80 }, { normal: allow(1, 501) });
 */
import {
  Direction,
  PolicyAction,
  type PolicyDirection,
  PolicyFlags,
  type TierVerdict,
  VerdictPrefix,
} from '../../agent/datapath/layout.gen.ts';
import { familyOf, parsePrefix, prefixAddress, prefixLength } from '../../agent/model/address.ts';
import type { DatapathFixture } from './datapath-fixture.ts';
import { paddedAddress } from './datapath-rows.ts';

export interface DirectionWords {
  readonly isolated?: boolean;
  readonly auditIsolated?: boolean;
  readonly hasDeny?: boolean;
  readonly hasAudit?: boolean;
  readonly hasAny?: boolean;
  readonly keepsEstablished?: boolean;
  readonly identitySet?: number;
  readonly addressSet?: number;
}

/** Left out: a direction that isolates nothing and has no rules. */
export function setPolicy(
  datapath: DatapathFixture,
  id: number,
  words: { ingress?: DirectionWords; egress?: DirectionWords },
): void {
  datapath.put('policies', id, {
    revision: 1n,
    direction: [directionRow(words.ingress ?? {}), directionRow(words.egress ?? {})],
  });
}

function directionRow(words: DirectionWords): PolicyDirection {
  const flags =
    (words.isolated ? PolicyFlags.POLICY_ISOLATED : 0) |
    (words.auditIsolated ? PolicyFlags.POLICY_AUDIT_ISOLATED : 0) |
    (words.hasDeny ? PolicyFlags.POLICY_HAS_DENY : 0) |
    (words.hasAudit ? PolicyFlags.POLICY_HAS_AUDIT : 0) |
    (words.hasAny ? PolicyFlags.POLICY_HAS_ANY : 0) |
    (words.keepsEstablished ? PolicyFlags.POLICY_KEEP_ESTABLISHED : 0);
  return { identitySet: words.identitySet ?? 0, addressSet: words.addressSet ?? 0, flags };
}

export interface TierWords {
  readonly admin?: TierVerdict;
  readonly normal?: TierVerdict;
  readonly baseline?: TierVerdict;
}

const NO_RULE: TierVerdict = { choice: 0, rule: 0 };

function verdictOf(action: number): (precedence: number, rule: number) => TierVerdict {
  return (precedence, rule) => ({ choice: (precedence << PolicyAction.ACTION_BITS) | action, rule });
}
export const allow = verdictOf(PolicyAction.ACTION_ALLOW);
export const deny = verdictOf(PolicyAction.ACTION_DENY);
export const pass = verdictOf(PolicyAction.ACTION_PASS);
export const redirect = verdictOf(PolicyAction.ACTION_REDIRECT);
export const denyKeep = verdictOf(PolicyAction.ACTION_DENY_KEEP);

export interface VerdictPlace {
  readonly policy: number;
  readonly class: number;
  readonly direction: 'ingress' | 'egress';
  /** Left out: every protocol. */
  readonly protocol?: number;
  /** Left out: every port. ICMP: type << 8 | code. */
  readonly port?: number;
  /** How many leading bits of the port count; default all 16. */
  readonly portBits?: number;
}

/** The audited verdict equals the enforced one unless given. */
export function setVerdict(
  datapath: DatapathFixture,
  place: VerdictPlace,
  enforced: TierWords,
  audited: TierWords = enforced,
): void {
  const tiers = (words: TierWords): TierVerdict[] => [
    words.admin ?? NO_RULE,
    words.normal ?? NO_RULE,
    words.baseline ?? NO_RULE,
  ];
  const { policy, direction, protocol, port, portBits = 16 } = place;
  const prefixLen =
    protocol === undefined
      ? VerdictPrefix.VERDICT_PREFIX_ANY_PROTOCOL
      : VerdictPrefix.VERDICT_PREFIX_ANY_PORT + (port === undefined ? 0 : portBits);
  const key = {
    prefixLen,
    policy,
    class: place.class,
    direction: direction === 'ingress' ? Direction.DIRECTION_INGRESS : Direction.DIRECTION_EGRESS,
    protocol: protocol ?? 0,
    port: port ?? 0,
  };
  datapath.put('verdicts', key, { enforced: tiers(enforced), audited: tiers(audited) });
}

/** The identity is compiled in; with a set, it is also in that class of it. */
export function setIdentity(datapath: DatapathFixture, identity: number, set?: number, classId?: number): void {
  if (set !== undefined && classId !== undefined) datapath.put('identity_class', { set, identity }, classId);
  datapath.put('identities', identity, 1);
}

export function setAddressClass(
  datapath: DatapathFixture,
  set: number,
  prefix: string,
  classes: { outside?: number; node?: number; pod?: number },
): void {
  const parsed = parsePrefix(prefix);
  if (parsed === undefined) throw new TypeError(`not a prefix: ${prefix}`);
  const key = {
    prefixLen: 64 + prefixLength(parsed),
    set,
    family: familyOf(parsed),
    address: paddedAddress(prefixAddress(parsed)),
  };
  datapath.put('address_class', key, { outside: classes.outside ?? 0, node: classes.node ?? 0, pod: classes.pod ?? 0 });
}
