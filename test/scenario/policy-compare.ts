/** Two sets of rows as the packets see them: the same policies, whatever numbers their sets, classes and policies have. */
import type { Direction, PolicyRows, VerdictRow } from '../../agent/model/verdict.ts';
import { CLASS_ANY } from '../../agent/model/verdict.ts';

/** Text that is equal for equal rows; and how many rows of each table there are, so that none is left behind. */
export function canonical(rows: PolicyRows): string {
  const byClass = Map.groupBy(rows.verdicts, ({ policy, direction, classId }) => `${policy} ${direction} ${classId}`);
  const identities = Map.groupBy(rows.identityClasses, ({ set }) => set);
  const addresses = Map.groupBy(rows.addressClasses, ({ set }) => set);
  const policies = new Map(rows.policies.map((row) => [row.id, row]));
  const subjects = rows.subjects.map(({ subject, policy }) => {
    const row = policies.get(policy);
    if (!row) return `${subject}: policy ${policy} is missing`;
    const directions = (['ingress', 'egress'] as const).map((direction) => {
      const { selectorSet, addressSet, ...flags } = row[direction];
      const entries = (classId: number): string => classText(byClass.get(`${policy} ${direction} ${classId}`) ?? []);
      const peers = (identities.get(selectorSet) ?? []).map(
        ({ identity, classId }) => `${identity} -> ${entries(classId)}`,
      );
      const blocks = (addresses.get(addressSet) ?? []).map(({ prefix, outside, node, pod }) => {
        const kinds = [outside, node, pod].map((classId) => (classId === CLASS_ANY ? '-' : entries(classId)));
        return `${prefix} -> ${kinds.join(' | ')}`;
      });
      return describe(direction, [
        JSON.stringify(flags),
        `any -> ${entries(CLASS_ANY)}`,
        ...peers.sort(),
        ...blocks.sort(),
      ]);
    });
    return [subject, ...directions].join('\n');
  });
  const counts = Object.entries(rows).map(([name, list]) => `${name} ${list.length}`);
  return [...subjects.sort(), ...counts].join('\n');
}

function describe(direction: Direction, lines: readonly string[]): string {
  return [`  ${direction}`, ...lines.map((line) => `    ${line}`)].join('\n');
}

function classText(rows: readonly VerdictRow[]): string {
  const texts = rows.map(({ protocol, port, portBits, enforced, audited }) => {
    const winner = (verdicts: VerdictRow['enforced']): string =>
      verdicts.map((one) => (one ? `${one.action}#${one.rule}@${one.precedence}` : '-')).join(',');
    return `${protocol ?? 'any'}/${port}/${portBits} ${winner(enforced)} ${winner(audited)}`;
  });
  return texts.sort().join('; ');
}
