/** The rows of one subject's policy as text a person can read, without numbers that mean nothing outside a run. */
import type { AddressClassRow, Direction, TierVerdicts, VerdictRow } from '../../agent/model/verdict.ts';
import { CLASS_ANY, TIERS } from '../../agent/model/verdict.ts';
import type { Engine } from '../../agent/policy/engine.ts';
import type { SubjectKey } from '../../agent/policy/subject.ts';

const PROTOCOLS: Readonly<Record<number, string>> = { 1: 'icmp', 6: 'tcp', 17: 'udp', 58: 'icmpv6', 132: 'sctp' };

/** Both directions; `names` says who has which identity. Call take() before. */
export function dump(engine: Engine, subject: SubjectKey, names: ReadonlyMap<number, string>): string {
  const lines = (['ingress', 'egress'] as const).flatMap((direction) =>
    directionLines(engine, subject, direction, names),
  );
  return lines.join('\n');
}

function directionLines(
  engine: Engine,
  subject: SubjectKey,
  direction: Direction,
  names: ReadonlyMap<number, string>,
): string[] {
  const rows = engine.rows();
  const policy = rows.policies.find(({ id }) => id === engine.policyOf(subject));
  if (!policy) return [`${direction}: no policy`];
  const { isolated, auditIsolated, selectorSet, addressSet } = policy[direction];
  const entries = (classId: number): string[] =>
    rows.verdicts
      .filter((row) => row.policy === policy.id && row.direction === direction && row.classId === classId)
      .map((row) => `    ${entryText(engine, row)}`)
      .sort();

  const anybody = entries(CLASS_ANY);
  const members = Map.groupBy(
    rows.identityClasses.filter(({ set }) => set === selectorSet),
    ({ classId }) => classId,
  );
  const classes = [...members].map(([classId, of]) => {
    const who = of.map(({ identity }) => names.get(identity) ?? String(identity)).sort();
    return [`  ${who.join(' ')}`, ...entries(classId)];
  });
  const prefixes = rows.addressClasses
    .filter(({ set }) => set === addressSet)
    .flatMap((row) =>
      kindsByClass(row).map(([classId, kinds]) => [`  ${row.prefix} (${kinds.join(' ')})`, ...entries(classId)]),
    );
  const mode = isolated ? 'isolated' : auditIsolated ? 'open, isolated if audited policies were enforced' : 'open';
  const blocks = [...classes, ...prefixes].sort(([a = ''], [b = '']) => (a < b ? -1 : 1));
  return [`${direction}: ${mode}`, ...(anybody.length > 0 ? ['  anybody', ...anybody] : []), ...blocks.flat()];
}

/** Kinds of peer that share a class of the prefix; kinds nothing matches are shown as such by their empty block. */
function kindsByClass(row: AddressClassRow): [number, string[]][] {
  const byClass = new Map<number, string[]>();
  for (const kind of ['outside', 'node', 'pod'] as const) {
    byClass.set(row[kind], [...(byClass.get(row[kind]) ?? []), kind]);
  }
  // A class of nobody is worth a line only where it takes something back from the prefix around it.
  return [...byClass].filter(([classId]) => classId !== CLASS_ANY || byClass.size === 1);
}

function entryText(engine: Engine, row: VerdictRow): string {
  const enforced = winners(engine, row.enforced);
  const audited = winners(engine, row.audited);
  return `${portText(row)} ${enforced}${audited === enforced ? '' : ` (audited: ${audited})`}`;
}

function winners(engine: Engine, verdicts: TierVerdicts): string {
  const texts = verdicts.flatMap((verdict, i) => {
    if (!verdict) return [];
    const tier = TIERS[i] === 'normal' ? '' : `${TIERS[i]} `;
    return [`${tier}${verdict.action} by ${engine.rule(verdict.rule)?.description}`];
  });
  return texts.join('; then ') || 'nothing';
}

function portText({ protocol, port, portBits }: VerdictRow): string {
  if (protocol === undefined) return 'all';
  const name = PROTOCOLS[protocol] ?? `protocol ${protocol}`;
  if (portBits === 0) return name;
  const last = port + 2 ** (16 - portBits) - 1;
  if (name.startsWith('icmp')) return `${name} type ${port >> 8}`;
  return `${name}/${port}${last === port ? '' : `-${last}`}`;
}
