/** weir policy explain: why a packet would be allowed or denied, by which rule, and what edit would allow it. */
import type { ExplainAnswer } from '../../api/explain.ts';
import { objectPath } from '../../kubernetes/path.ts';
import type {
  ExplainedDecision,
  ExplainedDocument,
  ExplainedEdit,
  ExplainedParty,
  ExplainedSide,
  Explanation,
} from '../../model/explanation.ts';
import { explain } from '../../policy/explain/explain.ts';
import { readPort } from '../../policy/workbench/port.ts';
import type { Flag } from '../../run/flags.ts';
import { type Agents, askFirst, withAgents } from '../agents.ts';
import type { Client } from '../client.ts';
import { type Call, type Command, EXIT, UsageError } from '../command.ts';
import { json, paint, printable } from '../table.ts';
import { MANIFESTS_FLAG, openWorkbench, POLICY_FLAGS } from './manifests.ts';

const PARTY = 'NAMESPACE/POD, ip:ADDRESS, entity:NAME, or labels like app=frontend';

export const TEXT_OUTPUT_FLAG: Flag = {
  name: 'output',
  short: 'o',
  value: 'text|json',
  choices: ['text', 'json'],
  sentence: 'Form of the output [text]',
};

export const POLICY_EXPLAIN: Command = {
  words: ['policy', 'explain'],
  operands: [],
  sentence: 'Say why a packet would be allowed or denied, by which rule, and what edit would allow it',
  flags: [
    { name: 'from', value: 'PARTY', sentence: `Who sends: ${PARTY}` },
    { name: 'to', value: 'PARTY', sentence: 'Who receives' },
    { name: 'port', value: 'PORT', sentence: 'Destination: 8080/TCP, a port name like http, or a type like 8/ICMP' },
    MANIFESTS_FLAG,
    ...POLICY_FLAGS,
    TEXT_OUTPUT_FLAG,
  ],
  examples: [
    'weir policy explain --from default/frontend --to default/backend --port 8080/TCP',
    'weir policy explain --from app=frontend --to ip:203.0.113.7 --port 443 --manifests ./manifests',
  ],
  async run(call) {
    const explanations = await ask(call);
    const asJson = call.flags.one('output') === 'json';
    await call.io.out(asJson ? json(explanations) : explanationTexts(explanations, call.io.colors));
    return EXIT.ok;
  },
};

async function ask(call: Call): Promise<readonly Explanation[]> {
  const { flags } = call;
  const [from, to, port] = ['from', 'to', 'port'].map((name) => {
    const value = flags.one(name);
    if (value === undefined) throw new UsageError(`--${name} is needed`);
    return value;
  }) as [string, string, string];
  if (flags.all('manifests').length === 0) {
    const question = (client: Client) => client.get<ExplainAnswer>('/v1/explain', { from, to, port });
    return withAgents(call, async (agents) => (await answerOfSubject(agents, [from, to], question)).explanations);
  }
  const question = readPort(port);
  const bench = openWorkbench(flags.all('manifests'), call);
  return explain(bench, { from: bench.party(from), to: bench.party(to), port: question });
}

/**
 * Of many agents, the one that wires the sender is asked, else the receiver's, else any: an agent knows its own pods best,
 * and whoever does not run pods of the cluster may know less than the others.
 */
async function answerOfSubject<T>(
  { all, cluster }: Agents,
  parties: readonly string[],
  question: (client: Client) => Promise<T>,
): Promise<T> {
  const first = cluster && all.length > 1 ? await nodesOf(parties, cluster) : [];
  const rank = (node: string): number => (first.includes(node) ? first.indexOf(node) : first.length);
  return askFirst(
    [...all].sort((a, b) => rank(a.node) - rank(b.node)),
    question,
  );
}

/** Nodes of the parties that are pods, in order. */
async function nodesOf(parties: readonly string[], { client }: NonNullable<Agents['cluster']>): Promise<string[]> {
  const nodes: string[] = [];
  for (const party of parties) {
    const [, namespace, name] = /^([-a-z0-9]+)\/([-.a-z0-9]+)$/.exec(party) ?? [];
    if (namespace === undefined || name === undefined) continue;
    const path = objectPath({ apiVersion: 'v1', plural: 'pods' }, namespace, name);
    const pod = await client.get<PodOnNode>(path).catch(() => undefined); // The agent says it better.
    if (pod?.spec?.nodeName) nodes.push(pod.spec.nodeName);
  }
  return nodes;
}

interface PodOnNode {
  readonly spec?: { readonly nodeName?: string };
}

/** The families one below the other; one that says the same as the one before is only named. */
export function explanationTexts(explanations: readonly Explanation[], colors: boolean): string {
  const texts = new Map<string, string[]>();
  for (const explanation of explanations) {
    const text = body(explanation, colors);
    texts.set(text, [...(texts.get(text) ?? []), explanation.family]);
  }
  const [first] = explanations;
  if (!first) return '';
  const number = first.port === first.number ? '' : ` (${first.number})`;
  const title = `${first.from.name} -> ${first.to.name} ${first.port}/${first.protocol}${number}\n`;
  const parts = [...texts].map(([text, families]) => `\n${families.join(' and ')}: ${text}`);
  return title + [first.from, first.to].map(partyLine).join('') + parts.join('');
}

/** Control characters of names and snippets are shown, not sent: they could write over the terminal. */
function lines(...all: readonly string[]): string {
  return all
    .map((text) =>
      text
        .split('\n')
        .map((line) => `${printable(line).trimEnd()}\n`)
        .join(''),
    )
    .join('');
}

function partyLine({ name, kind, labels, address }: ExplainedParty): string {
  const at = address === undefined || name === `ip:${address}` ? '' : ` at ${address}`;
  const own = labels.filter((label) => !label.startsWith('k8s:io.'));
  return lines(`  ${[`${name}: ${kind}${at}`, ...own].join(' ')}`);
}

function body({ verdict, egress, ingress, from, to }: Explanation, colors: boolean): string {
  const word = paint(verdict === 'allowed' ? 'green' : 'red', verdict, colors);
  return `${word}\n${side('egress', from, egress)}${side('ingress', to, ingress)}`;
}

function side(direction: string, party: ExplainedParty, explained: ExplainedSide): string {
  const out = [lines(`  ${direction} of ${party.name}: ${explained.sentence}`)];
  const { rule, isolatedBy, next, idle, fix } = explained;
  if (rule) out.push(lines(`    peers: ${rule.peers.join(', ')}`, `    ports: ${rule.ports.join(', ')}`));
  if (isolatedBy.length > 0) out.push(lines(`    isolated by ${isolatedBy.map(documentText).join(', ')}`));
  if (next) out.push(lines(`    next: ${nextText(next, rule !== undefined)}`));
  for (const one of idle) out.push(lines(`    ${one.why}: ${one.description} would ${one.action} it`));
  if (fix?.length === 0) out.push(lines('    no small edit that would allow it is known'));
  for (const edit of fix ?? []) out.push(editText(edit));
  return out.join('');
}

function nextText({ sentence }: ExplainedDecision, hasRule: boolean): string {
  return `without ${hasRule ? 'that rule' : 'the isolation'} ${sentence}`;
}

function documentText({ kind, namespace, name, place, line }: ExplainedDocument): string {
  const where = place === '' ? '' : ` (${place}${line === undefined ? '' : `:${line}`})`;
  return `${kind} ${namespace === '' ? '' : `${namespace}/`}${name}${where}`;
}

const PLACES: Readonly<Record<ExplainedEdit['operation'], string>> = {
  add: 'under',
  insert: 'before',
  remove: 'remove',
  'new-document': 'as a new document',
};

function editText({ operation, document, path, snippet, sentence }: ExplainedEdit): string {
  const { place, line } = document;
  const where = place === '' ? '' : `${place}${line === undefined ? '' : `:${line}`}, `;
  const head = `    to allow it (tried): ${sentence}; ${where}${[PLACES[operation], path].join(' ').trim()}:`;
  return lines(
    head,
    ...snippet
      .trimEnd()
      .split('\n')
      .map((text) => `      ${text}`),
  );
}
