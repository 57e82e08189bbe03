/** Why a packet passes or not, on both sides: verdicts from the compiled rows, reasons from the rules behind them. */
import { WeirError } from '../../errors.ts';
import type { Family } from '../../model/address.ts';
import type { ExplainedParty, ExplainedSide, Explanation } from '../../model/explanation.ts';
import { formatLabels } from '../../model/labels.ts';
import type { Direction } from '../../model/verdict.ts';
import type { Answer } from '../evaluate.ts';
import { commonFamilies, type Party } from '../workbench/party.ts';
import { formatPort, type PortQuestion, resolvePort } from '../workbench/port.ts';
import { decide, type Trace } from '../workbench/trace.ts';
import { type Packet, verdictOf, type Workbench } from '../workbench/workbench.ts';
import { findFix } from './fix.ts';
import { describeDecision, explainDocument, explainRule, type Lookup } from './words.ts';

export interface ExplainQuestion {
  /** Whether edits that would allow what is denied are looked for, which takes longer; default true. */
  readonly fixes?: boolean;
  readonly from: Party;
  readonly to: Party;
  readonly port: PortQuestion;
}

/** One explanation for each family in which the two may talk. Throws BAD_REQUEST if there is nothing to explain. */
export function explain(bench: Workbench, { from, to, port, fixes = true }: ExplainQuestion): Explanation[] {
  const nothing = (message: string): WeirError => new WeirError('BAD_REQUEST', 'explain', message);
  if (!from.subject && !to.subject) {
    throw nothing(
      `no policy is about ${from.name} or ${to.name}: one of the two must be a pod outside its node's network`,
    );
  }
  const families = commonFamilies(from, to);
  if (families.length === 0) throw nothing(`${from.name} and ${to.name} have no addresses of the same family`);
  const out: Explanation[] = [];
  for (const family of families) {
    const target = resolvePort(port, to.namedPorts, family);
    if (target === 'no-such-port') throw nothing(`${to.name} has no port named ${formatPort(port)}`);
    if (target !== 'other-family') out.push(explainPacket(bench, { from, to, target, family }, port, fixes));
  }
  if (out.length === 0)
    throw nothing(`${formatPort(port)} does not exist in the family of ${from.name} and ${to.name}`);
  return out;
}

function explainPacket(bench: Workbench, packet: Packet, port: PortQuestion, fixes: boolean): Explanation {
  const sides = bench.judge(packet);
  return {
    from: explainParty(bench, packet, 'ingress'),
    to: explainParty(bench, packet, 'egress'),
    port: port.port,
    protocol: packet.target.protocol,
    number: packet.target.number,
    family: packet.family === 4 ? 'IPv4' : 'IPv6',
    verdict: verdictOf(sides),
    egress: explainSide(bench, packet, 'egress', sides.egress, fixes),
    ingress: explainSide(bench, packet, 'ingress', sides.ingress, fixes),
  };
}

/** The party that is the peer in this direction. */
function explainParty(bench: Workbench, packet: Packet, direction: Direction): ExplainedParty {
  const party = direction === 'ingress' ? packet.from : packet.to;
  const { labels } = bench.peerOf(packet, direction);
  const address = addressOf(party, packet.family);
  return { name: party.name, kind: party.kind, labels: formatLabels(labels), ...(address && { address }) };
}

function addressOf({ addresses }: Party, family: Family): string | undefined {
  return addresses.find((address) => address.includes(':') === (family === 6));
}

function explainSide(
  bench: Workbench,
  packet: Packet,
  direction: Direction,
  answer: Answer | undefined,
  fixes: boolean,
): ExplainedSide {
  const party = direction === 'egress' ? packet.from : packet.to;
  if (!answer) {
    const sentence = `not judged: ${party.pod ? "the pod is in its node's network" : `${party.name} is no pod`}`;
    return { verdict: 'n/a', reason: 'not-judged', sentence, isolatedBy: [], idle: [] };
  }
  const lookup: Lookup = bench.objects;
  const trace = traceOf(bench, packet, direction) as Trace;
  const decision = decide(trace.matched, trace.isolatedBy.length > 0);
  if (decision.verdict !== answer.verdict || decision.by?.rule.id !== answer.rule) {
    const found = `${answer.verdict} by ${answer.rule ?? answer.reason}, ${decision.verdict} by ${decision.by?.rule.id ?? decision.reason}`;
    throw new WeirError('INTERNAL', 'explain', `the tables and the rules disagree about ${direction}: ${found}`);
  }
  const isDefault = decision.reason === 'default-deny';
  const rest = trace.matched.filter((one) => one !== decision.by);
  const next = decide(rest, !isDefault && trace.isolatedBy.length > 0);
  const { verdict, reason, sentence, rule } = describeDecision(decision, trace.isolatedBy, lookup);
  return {
    verdict,
    reason,
    sentence,
    ...(rule && { rule }),
    isolatedBy: trace.isolatedBy.map((ref) => explainDocument(ref, lookup)),
    ...(reason !== 'default-allow' && { next: describeDecision(next, trace.isolatedBy, lookup) }),
    idle: trace.idle.map((one) => ({ ...explainRule(one, lookup), why: one.audited ? 'audited' : 'expired' })),
    ...(verdict === 'denied' && fixes && { fix: findFix(bench, packet, direction) }),
  };
}

/** The rules behind one side; undefined if no policy is about it. */
export function traceOf(bench: Workbench, packet: Packet, direction: Direction): Trace | undefined {
  const { subject } = direction === 'egress' ? packet.from : packet.to;
  if (!subject) return undefined;
  const peer = bench.peerOf(packet, direction);
  return bench
    .tracer()
    .trace({ direction, subject, peer, peerPorts: bench.portsOf(peer.identity), target: packet.target });
}
