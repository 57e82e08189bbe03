/** What is looked at in the status of one agent, and in which colour. Pure. */
import type { StatusAnswer } from '../../api/status.ts';
import { problemLine } from '../problem.ts';
import { type Color, paint, plural, printable } from '../table.ts';
import { duration } from '../time.ts';

export interface StatusLine {
  readonly topic: string;
  readonly state: Color | undefined;
  readonly text: string;
}

/** As they stand before a topic. */
export const WORDS: Readonly<Record<Color, string>> = { green: 'OK', yellow: 'Look', red: 'Wrong' };

/** What is looked at, in order. Red: something does not work as asked. Yellow: it works, but somebody should look. */
export function statusLines(status: StatusAnswer, verbose: boolean): StatusLine[] {
  const errors = status.problems.filter((problem) => problem.severity === 'error').length;
  const warnings = status.problems.length - errors;
  return [
    {
      topic: 'Weir',
      state: status.ready ? 'green' : 'red',
      text: status.ready
        ? `${status.version}, up ${duration(status.uptimeSeconds)}`
        : `${status.version}, waiting for ${status.pending.join(', ')}`,
    },
    { topic: 'Node', state: undefined, text: status.node },
    {
      topic: 'Source',
      state: status.source.synced ? 'green' : 'red',
      text: `${status.source.name}${status.source.synced ? '' : ', not read completely yet'}`,
    },
    policyLine(status),
    {
      topic: 'Endpoints',
      state: status.endpoints['not-ready'] ? 'yellow' : 'green',
      text: countsText(status.endpoints, 'none'),
    },
    programsLine(status),
    ...deviceLines(status),
    { topic: 'Identities', state: undefined, text: String(status.identities) },
    { topic: 'Drops', state: undefined, text: plural(status.drops, 'packet') },
    flowsLine(status),
    ...mapLines(status, verbose),
    {
      topic: 'Problems',
      state: errors > 0 ? 'red' : warnings > 0 ? 'yellow' : 'green',
      text: status.problems.length === 0 ? 'none' : `${plural(errors, 'error')}, ${plural(warnings, 'warning')}`,
    },
  ];
}

function policyLine({ revision, policies }: StatusAnswer): StatusLine {
  const behind = revision.realized < revision.desired;
  const text = `revision ${revision.realized} in force${behind ? `, ${revision.desired} is being applied` : ''}; ${countsText(policies, 'no documents')}`;
  const bad = (policies.unreadable ?? 0) + (policies.isolating ?? 0) > 0;
  const odd = behind || (policies['kept-previous'] ?? 0) > 0;
  return { topic: 'Policy', state: bad ? 'red' : odd ? 'yellow' : 'green', text };
}

function programsLine({ attachments }: StatusAnswer): StatusLine {
  const { expected, missing } = attachments;
  if (missing.length === 0) return { topic: 'Programs', state: 'green', text: `${expected} of ${expected} attached` };
  const text = `${expected - missing.length} of ${expected} attached; missing at endpoint ${missing.join(', ')}`;
  return { topic: 'Programs', state: 'red', text };
}

/** The node's own devices: one that lacks its program lets through what it should refuse. None on an agent without nodes. */
function deviceLines({ devices }: StatusAnswer): StatusLine[] {
  return [...Map.groupBy(devices, ({ device }) => device)].map(([device, programs]) => {
    const faults = programs.flatMap(({ program, fault }) =>
      fault === undefined ? [] : [`${program} is not: ${fault}`],
    );
    const attached = programs.filter(({ fault }) => fault === undefined);
    const names = attached.map(({ program, mode }) => (mode === undefined ? program : `${program} (${mode})`));
    const text = [`${names.join(', ') || 'nothing'} attached`, ...faults].join('; ');
    return { topic: `Device ${device}`, state: faults.length > 0 ? 'red' : 'green', text };
  });
}

function flowsLine({ flows }: StatusAnswer): StatusLine {
  const { overwritten, ...lost } = flows.lost;
  const count = Object.values(lost).reduce((sum, one) => sum + one, 0);
  const names = Object.entries(lost).filter(([, one]) => one > 0);
  const where = names.map(([stage, one]) => `${stage} ${one}`).join(', ');
  const text = `${flows.records} held, going back ${duration(flows.seconds)}; ${count} lost${where && ` (${where})`}`;
  return { topic: 'Flows', state: count > 0 ? 'yellow' : 'green', text };
}

const FULL = 0.9;
function mapLines({ maps }: StatusAnswer, verbose: boolean): StatusLine[] {
  const shown = maps.filter((map) => verbose || map.entries >= FULL * map.capacity);
  return shown.map(({ name, entries, capacity }) => ({
    topic: `Map ${name}`,
    state: entries >= FULL * capacity ? 'yellow' : undefined,
    text: `${entries} of ${capacity} (${Math.round((100 * entries) / capacity)} %)`,
  }));
}

/** The lines, then every problem. */
export function statusText(lines: readonly StatusLine[], status: StatusAnswer, colors: boolean): string {
  const width = Math.max(...lines.map(({ topic }) => topic.length)) + 4;
  const text = lines.map(({ topic, state, text: said }) => {
    const word = state === undefined ? '     ' : paint(state, WORDS[state].padEnd(5), colors);
    return `${`${topic}:`.padEnd(width)}${word}   ${printable(said)}`;
  });
  return `${[...text, ...status.problems.map((problem) => `  ${problemLine(problem, colors)}`)].join('\n')}\n`;
}

/** "3 valid, 1 isolating"; counts of zero are left out. */
function countsText(counts: Readonly<Record<string, number>>, none: string): string {
  const some = Object.entries(counts).filter(([, count]) => count > 0);
  return some.length === 0 ? none : some.map(([name, count]) => `${count} ${name}`).join(', ');
}
