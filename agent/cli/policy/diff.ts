/** weir policy diff: which pairs, and which recorded flows, change verdict between two sets of manifests. */

import { diffPairs, onlyIn, type VerdictChange } from '../../policy/diff.ts';
import type { FlowChange } from '../../policy/diff-flows.ts';
import { diffFlows } from '../../policy/diff-flows.ts';
import { defaultPorts } from '../../policy/matrix-ports.ts';
import { formatPort, readPort } from '../../policy/workbench/port.ts';
import type { Workbench } from '../../policy/workbench/workbench.ts';
import { type Call, type Command, EXIT } from '../command.ts';
import { OUTPUT_FLAG, OUTPUTS } from '../flags.ts';
import { json, plural, table } from '../table.ts';
import { openWorkbench, POLICY_FLAGS } from './manifests.ts';
import { PEER_FLAG, PORT_FLAG } from './matrix.ts';
import { readRecord } from './record.ts';

export const POLICY_DIFF: Command = {
  words: ['policy', 'diff'],
  operands: ['OLD', 'NEW'],
  sentence: 'Show which pairs of pods change verdict between two sets of manifests, and which recorded flows would',
  flags: [
    { name: 'flows', value: 'FILE', sentence: 'Recorded flows, as JSON lines: what weir observe -o jsonpb prints' },
    PORT_FLAG,
    PEER_FLAG,
    { name: 'exit-code', sentence: 'Exit with 1 if anything changes' },
    ...POLICY_FLAGS,
    OUTPUT_FLAG,
  ],
  examples: [
    'weir policy diff ./manifests ./manifests.new',
    'weir observe --last 10000 -o jsonpb > flows.jsonl; weir policy diff ./old ./new --flows flows.jsonl',
  ],
  async run(call) {
    const [oldPath, newPath] = call.operands as [string, string];
    const before = openWorkbench([oldPath], call);
    const after = openWorkbench([newPath], call);
    const report = { pairs: pairs(before, after, call), flows: flows(before, after, call), ...pods(before, after) };
    const asJson = call.flags.choice('output', OUTPUTS) === 'json';
    await call.io.out(asJson ? json(report) : text(report));
    const changes = report.pairs.length + (report.flows?.length ?? 0);
    return changes > 0 && call.flags.on('exit-code') ? EXIT.failed : EXIT.ok;
  },
};

interface Report {
  readonly pairs: readonly VerdictChange[];
  /** Undefined: no record was given. */
  readonly flows: readonly FlowChange[] | undefined;
  readonly onlyOld: readonly string[];
  readonly onlyNew: readonly string[];
}

function pairs(before: Workbench, after: Workbench, { flags }: Call): VerdictChange[] {
  const asked = flags.all('port').map(readPort);
  const all = asked.length > 0 ? asked : [...defaultPorts(before), ...defaultPorts(after)];
  const ports = [...new Map(all.map((port) => [formatPort(port), port])).values()];
  return [...diffPairs(before, after, { ports, peers: [...new Set(flags.all('peer'))] })];
}

function flows(before: Workbench, after: Workbench, { flags }: Call): FlowChange[] | undefined {
  const file = flags.one('flows');
  return file === undefined ? undefined : diffFlows(before, after, readRecord(file));
}

function pods(before: Workbench, after: Workbench): Pick<Report, 'onlyOld' | 'onlyNew'> {
  return { onlyOld: onlyIn(before, after), onlyNew: onlyIn(after, before) };
}

function text({ pairs: changed, flows: recorded, onlyOld, onlyNew }: Report): string {
  const parts: string[] = [];
  if (onlyOld.length > 0) parts.push(`Only in the old manifests: ${onlyOld.join(', ')}\n`);
  if (onlyNew.length > 0) parts.push(`Only in the new manifests: ${onlyNew.join(', ')}\n`);
  parts.push(`${plural(changed.length, 'pair changes', 'pairs change')} verdict\n`);
  if (changed.length > 0)
    parts.push(table(['FROM', 'TO', 'PORT', 'FAMILY', 'OLD', 'NEW', 'WHY'], changed.map(pairRow)));
  if (recorded) parts.push(`${plural(recorded.length, 'recorded flow changes', 'recorded flows change')} verdict\n`);
  if (recorded && recorded.length > 0) {
    parts.push(table(['FROM', 'TO', 'PORT', 'FAMILY', 'OLD', 'NEW', 'RECORDED'], recorded.map(flowRow)));
  }
  return parts.join('');
}

function pairRow(change: VerdictChange): (string | readonly string[])[] {
  const { oldReasons, newReasons } = change;
  const all = change.new === 'denied' ? newReasons : [...oldReasons.map((one) => `was ${one}`), ...newReasons];
  const why = all.filter((one) => !one.startsWith('allowed by default'));
  return [...columns(change), why];
}

function flowRow(change: FlowChange): string[] {
  const counts = Object.entries(change.recorded).map(([verdict, count]) => `${count} ${verdict}`);
  return [...columns(change), counts.join(', ')];
}

function columns(change: VerdictChange | FlowChange): string[] {
  const { from, to, port, protocol, family } = change;
  return [from, to, `${port}/${protocol}`, family, change.old, change.new];
}
