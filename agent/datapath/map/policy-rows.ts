/**
 * Policies, verdicts and classes as structs (bpf/abi/policy.h) and back: flags as bits, prefix lengths that count the fields
 * before what is looked for. Pure.
 */
import { familyOf, prefixAddress, prefixLength } from '../../model/address.ts';
import type {
  Action,
  AddressClassRow,
  Direction,
  IdentityClassRow,
  PolicyDirectionRow,
  PolicyRow,
  TierVerdict,
  TierVerdicts,
  VerdictKey,
  VerdictRow,
} from '../../model/verdict.ts';
import * as abi from '../layout.gen.ts';
import type { AddressClassKey, IdentityClassKey } from '../plan/changes.ts';
import { ipAddress, prefixOf } from './addresses.ts';

const FLAGS: readonly (readonly [keyof PolicyDirectionRow, number])[] = [
  ['isolated', abi.PolicyFlags.POLICY_ISOLATED],
  ['auditIsolated', abi.PolicyFlags.POLICY_AUDIT_ISOLATED],
  ['hasDeny', abi.PolicyFlags.POLICY_HAS_DENY],
  ['hasAudit', abi.PolicyFlags.POLICY_HAS_AUDIT],
  ['hasAny', abi.PolicyFlags.POLICY_HAS_ANY],
  ['keepsEstablished', abi.PolicyFlags.POLICY_KEEP_ESTABLISHED],
];

function encodeDirectionRow(row: PolicyDirectionRow): abi.PolicyDirection {
  const flags = FLAGS.reduce((bits, [name, bit]) => (row[name] ? bits | bit : bits), 0);
  return { identitySet: row.selectorSet, addressSet: row.addressSet, flags };
}

function decodeDirectionRow(value: abi.PolicyDirection): PolicyDirectionRow {
  const has = (bit: number): boolean => (value.flags & bit) !== 0;
  return {
    isolated: has(abi.PolicyFlags.POLICY_ISOLATED),
    auditIsolated: has(abi.PolicyFlags.POLICY_AUDIT_ISOLATED),
    hasDeny: has(abi.PolicyFlags.POLICY_HAS_DENY),
    hasAudit: has(abi.PolicyFlags.POLICY_HAS_AUDIT),
    hasAny: has(abi.PolicyFlags.POLICY_HAS_ANY),
    keepsEstablished: has(abi.PolicyFlags.POLICY_KEEP_ESTABLISHED),
    selectorSet: value.identitySet,
    addressSet: value.addressSet,
  };
}

export function encodePolicy(row: PolicyRow): abi.Policy {
  return {
    revision: BigInt(row.revision),
    direction: [encodeDirectionRow(row.ingress), encodeDirectionRow(row.egress)],
  };
}

export function decodePolicy(id: number, value: abi.Policy): PolicyRow {
  const [ingress, egress] = value.direction.map(decodeDirectionRow) as [PolicyDirectionRow, PolicyDirectionRow];
  return { id, revision: Number(value.revision), ingress, egress };
}

const DIRECTIONS = {
  ingress: abi.Direction.DIRECTION_INGRESS,
  egress: abi.Direction.DIRECTION_EGRESS,
} as const satisfies Record<Direction, number>;

const ACTIONS = {
  allow: abi.PolicyAction.ACTION_ALLOW,
  deny: abi.PolicyAction.ACTION_DENY,
  pass: abi.PolicyAction.ACTION_PASS,
} as const satisfies Record<Action, number>;

/** @throws TypeError for port bits without a protocol: the longest-prefix order has the protocol first. */
export function encodeVerdictKey(key: VerdictKey): abi.VerdictKey {
  if (key.protocol === undefined && key.portBits !== 0) throw new TypeError('a verdict for a port needs a protocol');
  const prefixLen =
    key.protocol === undefined
      ? abi.VerdictPrefix.VERDICT_PREFIX_ANY_PROTOCOL
      : abi.VerdictPrefix.VERDICT_PREFIX_ANY_PORT + key.portBits;
  const { policy, classId, port } = key;
  return { prefixLen, policy, class: classId, direction: DIRECTIONS[key.direction], protocol: key.protocol ?? 0, port };
}

export function decodeVerdictKey(key: abi.VerdictKey): VerdictKey {
  const anyProtocol = key.prefixLen === abi.VerdictPrefix.VERDICT_PREFIX_ANY_PROTOCOL;
  const portBits = anyProtocol ? 0 : key.prefixLen - abi.VerdictPrefix.VERDICT_PREFIX_ANY_PORT;
  if (portBits < 0 || portBits > 16) throw new RangeError(`verdict prefix length ${key.prefixLen}`);
  return {
    policy: key.policy,
    classId: key.class,
    direction: key.direction === DIRECTIONS.ingress ? 'ingress' : 'egress',
    protocol: anyProtocol ? undefined : key.protocol,
    port: key.port,
    portBits,
  };
}

function encodeTier(verdict: TierVerdict | undefined): abi.TierVerdict {
  if (verdict === undefined) return { choice: 0, rule: 0 };
  // Unsigned: a precedence has up to 29 bits.
  const action = verdict.keep ? abi.PolicyAction.ACTION_DENY_KEEP : ACTIONS[verdict.action];
  const choice = ((verdict.precedence << abi.PolicyAction.ACTION_BITS) | action) >>> 0;
  return { choice, rule: verdict.rule };
}

function decodeTier(value: abi.TierVerdict): TierVerdict | undefined {
  const bits = value.choice & ((1 << abi.PolicyAction.ACTION_BITS) - 1);
  if (bits === abi.PolicyAction.ACTION_NONE) return undefined;
  const rest = { precedence: value.choice >>> abi.PolicyAction.ACTION_BITS, rule: value.rule };
  if (bits === abi.PolicyAction.ACTION_DENY_KEEP) return { action: 'deny', ...rest, keep: true };
  const action = (Object.keys(ACTIONS) as Action[]).find((name) => ACTIONS[name] === bits);
  if (action === undefined) throw new RangeError(`policy action ${bits}`);
  return { action, ...rest };
}

export function encodeVerdict(row: VerdictRow): abi.Verdict {
  return { enforced: row.enforced.map(encodeTier), audited: row.audited.map(encodeTier) };
}

export function decodeVerdict(key: abi.VerdictKey, value: abi.Verdict): VerdictRow {
  const tiers = (of: readonly abi.TierVerdict[]): TierVerdicts => of.map(decodeTier) as unknown as TierVerdicts;
  return { ...decodeVerdictKey(key), enforced: tiers(value.enforced), audited: tiers(value.audited) };
}

export function encodeIdentityClassKey(key: IdentityClassKey): abi.IdentityClassKey {
  return { set: key.set, identity: key.identity };
}

export function decodeIdentityClass(key: abi.IdentityClassKey, classId: number): IdentityClassRow {
  return { set: key.set, identity: key.identity, classId };
}

/** Bits of address_class_key before the address. */
const ADDRESS_CLASS_KEY_BITS = 64;

export function encodeAddressClassKey(key: AddressClassKey): abi.AddressClassKey {
  return {
    prefixLen: ADDRESS_CLASS_KEY_BITS + prefixLength(key.prefix),
    set: key.set,
    family: familyOf(key.prefix),
    address: ipAddress(prefixAddress(key.prefix)),
  };
}

export function encodeAddressClasses(row: AddressClassRow): abi.AddressClasses {
  return { outside: row.outside, node: row.node, pod: row.pod };
}

export function decodeAddressClass(key: abi.AddressClassKey, value: abi.AddressClasses): AddressClassRow {
  const prefix = prefixOf(key.address, key.family, key.prefixLen - ADDRESS_CLASS_KEY_BITS);
  return { set: key.set, prefix, ...value };
}
