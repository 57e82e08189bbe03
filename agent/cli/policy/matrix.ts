/** weir policy matrix: who may talk to whom. */

import type { MatrixAnswer } from '../../api/explain.ts';
import type { MatrixEntry } from '../../model/explanation.ts';
import { matrix, readMatrixQuestion } from '../../policy/matrix.ts';
import { withOneAgent } from '../agents.ts';
import type { Client } from '../client.ts';
import { type Call, type Command, EXIT } from '../command.ts';
import { OUTPUT_FLAG, OUTPUTS } from '../flags.ts';
import { table } from '../table.ts';
import { MANIFESTS_FLAG, openWorkbench, POLICY_FLAGS } from './manifests.ts';

export const PORT_FLAG = {
  name: 'port',
  value: 'PORT',
  repeat: true,
  sentence: 'A port: 80, 53/UDP, a name like http, or a type like 8/ICMP; may be repeated [those the policies name]',
};
export const PEER_FLAG = {
  name: 'peer',
  value: 'PARTY',
  repeat: true,
  sentence: 'ip:ADDRESS or entity:NAME (host, world, ...) beside the pods; may be repeated',
};

export const POLICY_MATRIX: Command = {
  words: ['policy', 'matrix'],
  operands: [],
  sentence: 'Show who may talk to whom: every pair of pods, both sides',
  flags: [MANIFESTS_FLAG, PORT_FLAG, PEER_FLAG, ...POLICY_FLAGS, OUTPUT_FLAG],
  examples: [
    'weir policy matrix --manifests ./manifests --port 8080/TCP --port dns',
    'weir policy matrix --manifests ./manifests --port 80 --peer ip:203.0.113.7 --peer entity:host -o json',
  ],
  async run(call) {
    const entries = await ask(call);
    if (call.flags.choice('output', OUTPUTS) === 'json') await call.io.out(jsonLines(entries));
    else await call.io.out(matrixTables(entries));
    return EXIT.ok;
  },
};

async function ask(call: Call): Promise<readonly MatrixEntry[]> {
  const { flags } = call;
  const ports = flags.all('port');
  const peers = flags.all('peer');
  if (flags.all('manifests').length === 0) {
    const answer = (client: Client) => client.get<MatrixAnswer>('/v1/matrix', { port: ports, peer: peers });
    return (await withOneAgent(call, answer)).entries;
  }
  const bench = openWorkbench(flags.all('manifests'), call);
  return [...matrix(bench, readMatrixQuestion(bench, ports, peers))];
}

/** A JSON array with one object a line. */
function jsonLines(values: readonly unknown[]): string {
  return values.length === 0 ? '[]\n' : `[\n${values.map((value) => `  ${JSON.stringify(value)}`).join(',\n')}\n]\n`;
}

const LEGEND = "A cell: what the sender's policies say, then the receiver's. + allowed, x denied, . not judged\n";
const SIGNS = { allowed: '+', denied: 'x', 'n/a': '.' } as const;

/** A table for each port and family; families that agree share one. */
export function matrixTables(entries: readonly MatrixEntry[]): string {
  if (entries.length === 0) return 'There is no pod to ask about.\n';
  const blocks: string[] = [LEGEND];
  for (const [port, ofPort] of Map.groupBy(entries, (entry) => `${entry.port}/${entry.protocol}`)) {
    const tables = [...Map.groupBy(ofPort, ({ family }) => family)].sort().map(([family, cells]) => {
      return { family, text: oneTable(cells) };
    });
    for (const [text, same] of Map.groupBy(tables, (one) => one.text)) {
      blocks.push(`${port} ${same.map(({ family }) => family).join(' and ')}\n${text}`);
    }
  }
  return blocks.join('\n');
}

function oneTable(cells: readonly MatrixEntry[]): string {
  const columns = [...new Set(cells.map(({ to }) => to))];
  const rows = [...Map.groupBy(cells, ({ from }) => from)].map(([from, own]) => {
    const signs = new Map(own.map(({ to, egress, ingress }) => [to, SIGNS[egress] + SIGNS[ingress]]));
    return [from, ...columns.map((to) => signs.get(to) ?? '')];
  });
  return table(['FROM \\ TO', ...columns], rows);
}
