/** The status of a cluster: a row for each node, from its agent or, where that is silent, from what it last wrote. Pure. */
import type { StatusAnswer } from '../../api/status.ts';
import type { RecordObject } from '../../cluster/objects.ts';
import type { Answers } from '../agents.ts';
import { problemLine } from '../problem.ts';
import { type Color, paint, plural, printable, table } from '../table.ts';
import { statusLines } from './lines.ts';

export interface NodeRow {
  readonly node: string;
  readonly state: Color;
  /** What is not as it should be, in a word each: "programs", "policy"; [] for a green row. */
  readonly topics: readonly string[];
  /** Undefined when neither the agent nor its record says anything. */
  readonly said: Said | undefined;
  /** '' when the agent itself answered; else why not. */
  readonly why: string;
}

interface Said {
  readonly version: string;
  readonly ready: boolean;
  readonly revision: { readonly desired: number; readonly realized: number };
  readonly endpoints: number;
  readonly identities: number;
  readonly drops: number;
  readonly refused: number;
  /** Of a record: when it was written, RFC 3339. */
  readonly asOf?: string;
}

/** Every node once: those that answered, and those that did not with what their WeirNode says of an earlier time. */
export function nodeRows({ answers, silent }: Answers<StatusAnswer>, records: readonly RecordObject[]): NodeRow[] {
  const rows = [
    ...answers.map(({ node, value }) => answered(node, value)),
    ...silent.map(({ node, why }) => unanswered(node, why, records)),
  ];
  return rows.sort((a, b) => (a.node < b.node ? -1 : 1));
}

function answered(node: string, status: StatusAnswer): NodeRow {
  const { version, ready, revision, identities, drops } = status;
  const lines = statusLines(status, false).filter(({ state }) => state === 'red' || state === 'yellow');
  const said = {
    ...{ version, ready, revision, identities, drops },
    endpoints: Object.values(status.endpoints).reduce((sum, count) => sum + count, 0),
    refused: Object.entries(status.policies).reduce((sum, [state, count]) => sum + (state === 'valid' ? 0 : count), 0),
  };
  const state = lines.some((line) => line.state === 'red') ? 'red' : lines.length > 0 ? 'yellow' : 'green';
  return { node, state, topics: lines.map(({ topic }) => topic.toLowerCase()), said, why: '' };
}

function unanswered(node: string, why: string, records: readonly RecordObject[]): NodeRow {
  const status = records.find(({ metadata }) => metadata.name === node)?.status;
  const said: Said | undefined = status && {
    version: status.agentVersion ?? '',
    ready: status.ready ?? false,
    revision: { desired: status.desiredPolicyRevision ?? 0, realized: status.policyRevision ?? 0 },
    endpoints: status.endpoints ?? 0,
    identities: status.identities ?? 0,
    drops: status.drops ?? 0,
    refused: status.refusedCount ?? status.refused?.length ?? 0,
    asOf: status.updated ?? 'an unknown time',
  };
  return { node, state: 'red', topics: ['agent'], said, why };
}

/** What `status --wait` waits for: every agent answers and is ready, with its last revision in force. */
export function isSettled(rows: readonly NodeRow[]): boolean {
  return rows.every(({ said, why }) => why === '' && said?.ready && said.revision.realized >= said.revision.desired);
}

const HEADER = ['NODE', 'AGENT', 'STATUS', 'POLICY', 'ENDPOINTS', 'IDENTITIES', 'DROPS', 'REFUSED'];

export function nodesText(rows: readonly NodeRow[], answers: Answers<StatusAnswer>, colors: boolean): string {
  const cells = rows.map(({ node, state, topics, said, why }) => {
    const word = state === 'green' ? 'OK' : `${state === 'red' ? 'Wrong' : 'Look'}: ${topics.join(', ')}`;
    if (!said) return [node, '?', word, '?', '?', '?', '?', '?'];
    const { desired, realized } = said.revision;
    const policy = realized < desired ? `${realized} of ${desired}` : String(realized);
    const counts = [said.endpoints, said.identities, said.drops, said.refused].map(String);
    return [node, said.version, why === '' ? word : 'Unreachable', policy, ...counts];
  });
  const good = rows.filter(({ state }) => state === 'green').length;
  const summary = `${good} of ${plural(rows.length, 'node')} OK`;
  const color: Color = rows.some(({ state }) => state === 'red') ? 'red' : good < rows.length ? 'yellow' : 'green';
  return [
    table(HEADER, cells),
    ...unreachable(rows),
    ...problems(answers, colors),
    `${paint(color, summary, colors)}\n`,
  ].join('');
}

function unreachable(rows: readonly NodeRow[]): string[] {
  return rows
    .filter(({ why }) => why !== '')
    .map(({ node, why, said }) => {
      const old = said?.asOf === undefined ? '' : `; its row is as of ${said.asOf}`;
      return `${printable(`${node}: ${why}${old}`)}\n`;
    });
}

/** Each problem once, with the nodes that have it: most are a document's, which all nodes see. */
function problems({ answers, silent }: Answers<StatusAnswer>, colors: boolean): string[] {
  const all = answers.flatMap(({ node, value }) =>
    value.problems.map((problem) => ({ node, line: problemLine(problem, colors) })),
  );
  return [...Map.groupBy(all, ({ line }) => line)].map(([line, same]) => {
    const everywhere = silent.length > 0 ? 'all that answered' : 'all nodes';
    const where = same.length === answers.length ? everywhere : same.map(({ node }) => node).join(', ');
    return `  ${line} (${where})\n`;
  });
}
