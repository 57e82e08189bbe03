/**
 * The smallest edits that would allow what is denied, each tried: applied to copies of the documents, and judged again on
 * a bench of its own. Nothing is suggested that was not seen to work.
 */
import type { ExplainedEdit } from '../../model/explanation.ts';
import { type Document, refKey } from '../../model/object.ts';
import type { Direction } from '../../model/verdict.ts';
import type { Subject } from '../subject.ts';
import type { Objects } from '../workbench/objects.ts';
import type { Party } from '../workbench/party.ts';
import { decide, type Trace } from '../workbench/trace.ts';
import { createWorkbench, type Packet, type Workbench } from '../workbench/workbench.ts';
import { candidates, type Denial } from './candidates.ts';
import { type Candidate, edited, presentEdit } from './edit.ts';

/** A denial may hide another one behind it; more than this many are nobody's smallest edit. */
const MOST_EDITS = 4;

/** Empty: none of the edits known here helps. */
export function findFix(bench: Workbench, packet: Packet, direction: Direction): ExplainedEdit[] {
  const edits: Candidate[] = [];
  let trial = createTrial(bench, packet, direction, documentsOf(bench, packet, direction));
  while (trial.verdict === 'denied') {
    if (edits.length === MOST_EDITS) return [];
    const next = bestOf(trial, (documents) => createTrial(bench, packet, direction, documents));
    if (!next) return [];
    edits.push(next.candidate);
    trial = next.trial;
  }
  return edits.map(presentEdit);
}

interface Trial {
  readonly verdict: 'allowed' | 'denied';
  /** What decided. */
  readonly cause: string;
  readonly documents: ReadonlyMap<string, Document>;
  /** Documents that are not in force as they stand, by refKey. */
  readonly refused: ReadonlySet<string>;
  readonly denial: Denial;
}

type Try = (documents: ReadonlyMap<string, Document>) => Trial;

/** The first candidate that allows it; else the first that leaves another cause of the denial. */
function bestOf(trial: Trial, attempt: Try): { readonly candidate: Candidate; readonly trial: Trial } | undefined {
  let progress: { candidate: Candidate; trial: Trial } | undefined;
  for (const candidate of candidates(trial.denial)) {
    const after = edited(candidate);
    const next = attempt(new Map([...trial.documents, [refKey(after.ref), after]]));
    if (next.refused.has(refKey(after.ref))) continue;
    if (next.verdict === 'allowed') return { candidate, trial: next };
    if (next.cause !== trial.cause) progress ??= { candidate, trial: next };
  }
  return progress;
}

/** Those that can matter: what selects the subject, and the groups its rules may name. */
function documentsOf(bench: Workbench, packet: Packet, direction: Direction): Map<string, Document> {
  const { subject } = direction === 'egress' ? packet.from : packet.to;
  const peer = bench.peerOf(packet, direction);
  const question = { direction, subject: subject as Subject, peer, peerPorts: [], target: packet.target };
  const holding = new Set(
    bench
      .tracer()
      .trace(question)
      .holdings.map(({ document }) => refKey(document.ref)),
  );
  const all = bench.objects.documents.map((document): [string, Document] => [refKey(document.ref), document]);
  return new Map(all.filter(([key, { ref }]) => holding.has(key) || ref.kind === 'CiliumCIDRGroup'));
}

function createTrial(
  bench: Workbench,
  packet: Packet,
  direction: Direction,
  documents: ReadonlyMap<string, Document>,
): Trial {
  const lastValid = bench.options.lastValid?.filter(({ ref }) => documents.has(refKey(ref))) ?? [];
  const trial = createWorkbench(objectsFor(bench, packet, documents), { ...bench.options, lastValid });
  const tried = { ...packet, from: moved(packet.from, trial), to: moved(packet.to, trial) };
  const answer = trial.judge(tried)[direction];
  const [subject, other] = direction === 'egress' ? [tried.from, tried.to] : [tried.to, tried.from];
  const peer = trial.peerOf(tried, direction);
  const trace: Trace = trial.tracer().trace({
    direction,
    subject: subject.subject as Subject,
    peer,
    peerPorts: trial.portsOf(peer.identity),
    target: packet.target,
  });
  const decision = decide(trace.matched, trace.isolatedBy.length > 0);
  const [reserved] = [...peer.labels.keys()].filter((key) => key.startsWith('reserved:'));
  const entity = reserved?.slice('reserved:'.length);
  const wanted = { direction, peer: other, entity, family: packet.family, target: packet.target };
  return {
    verdict: answer?.verdict ?? 'allowed',
    cause: `${answer?.reason} ${decision.by?.rule.description} ${trace.isolatedBy.map(refKey)}`,
    documents,
    refused: new Set(trial.documents.filter(({ status }) => status !== 'valid').map(({ ref }) => refKey(ref))),
    denial: { wanted, subject, trace, decision, documents },
  };
}

/** Of the pods only those that share an identity with one of the two: others matter to neither. */
function objectsFor({ objects, pods }: Workbench, { from, to }: Packet, documents: Trial['documents']): Objects {
  const identities = new Set([from.subject?.identity, to.subject?.identity]);
  const alike = pods.filter(({ subject }) => subject && identities.has(subject.identity));
  return { ...objects, pods: alike.flatMap(({ pod }) => pod ?? []), documents: [...documents.values()] };
}

/** The same party on another bench, where identities have other numbers. */
function moved(party: Party, bench: Workbench): Party {
  if (!party.subject || !party.pod) return party;
  const { name, addresses, fixedFamily } = party;
  return { ...bench.imagine(party.pod), name, addresses, fixedFamily };
}
