/** Recorded flows from a file: JSON lines of flows, of a stream's lines, or of whole pages, as /v1/flows answers. */
import { readFileSync } from 'node:fs';
import type { Flow } from '../../flow/flow.ts';
import { parseAddress } from '../../model/address.ts';
import type { RecordedFlow, RecordedSide } from '../../policy/diff-flows.ts';
import type { SeenFlow } from '../../policy/from-flows/seen.ts';
import type { Target } from '../../policy/workbench/port.ts';
import { CliError } from '../command.ts';

/** First packets only: a reply is allowed by its connection. Throws CliError for what is no record of flows. */
export function* readRecord(file: string): Generator<RecordedFlow> {
  for (const { flow, where } of flowsIn(file)) {
    const recorded = readFlow(flow, where);
    if (recorded) yield recorded;
  }
}

/** All flows as they were recorded. Throws CliError for what is no record of flows. */
export function* readFlows(file: string): Generator<Flow> {
  for (const { flow } of flowsIn(file)) yield flow;
}

/**
 * A connection or a drop as its initiator began it, also where only a later event of it was seen. Undefined for what no
 * policy judged: drops of replies, verdicts that were not enforced, frames without IP or ports.
 */
export function seenFlow(flow: Flow, where: string): SeenFlow | undefined {
  const { weir, l4, source, destination, IP, is_reply: isReply, time } = flow;
  if (weir.event === 'audit' || weir.related || (isReply && weir.event === 'drop')) return undefined;
  if (!isReply) {
    const seen = readFlow(flow, where);
    return seen && { ...seen, time };
  }
  // the reply's source port is the one the connection was opened to; of ICMP only the request tells its type
  const [protocol, ports] = Object.entries(l4 ?? {})[0] ?? [];
  if (!IP || (protocol !== 'TCP' && protocol !== 'UDP' && protocol !== 'SCTP')) return undefined;
  return {
    from: side(destination, IP.destination, where),
    to: side(source, IP.source, where),
    target: { protocol, number: (ports as { readonly source_port: number }).source_port },
    verdict: flow.verdict,
    time,
  };
}

function* flowsIn(file: string): Generator<{ readonly flow: Flow; readonly where: string }> {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    throw new CliError(`cannot read ${file}: ${(cause as Error).message}`, { cause });
  }
  for (const [i, line] of text.split('\n').entries()) {
    if (line.trim() === '') continue;
    const where = `${file}:${i + 1}`;
    for (const flow of flowsOf(line, where)) yield { flow, where };
  }
}

function flowsOf(line: string, where: string): readonly Flow[] {
  let value: { readonly flow?: Flow; readonly flows?: readonly Flow[]; readonly lost_events?: unknown } & Partial<Flow>;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw new CliError(`${where}: expected a flow as JSON, one a line: ${(cause as Error).message}`, { cause });
  }
  if (value?.flows) return value.flows;
  if (value?.flow) return [value.flow];
  if (value?.lost_events) return [];
  if (value?.verdict && value.source) return [value as Flow];
  throw new CliError(`${where}: expected a flow as /v1/flows has it, found ${line.slice(0, 60)}`);
}

/** Undefined for what no policy judged: replies, frames without IP or ports. */
function readFlow(flow: Flow, where: string): RecordedFlow | undefined {
  const target = targetOf(flow);
  if (flow.is_reply || !flow.IP || !target) return undefined;
  return {
    from: side(flow.source, flow.IP.source, where),
    to: side(flow.destination, flow.IP.destination, where),
    target,
    verdict: flow.verdict,
  };
}

function targetOf({ l4 }: Flow): Target | undefined {
  if (l4?.TCP) return { protocol: 'TCP', number: l4.TCP.destination_port };
  if (l4?.UDP) return { protocol: 'UDP', number: l4.UDP.destination_port };
  if (l4?.SCTP) return { protocol: 'SCTP', number: l4.SCTP.destination_port };
  if (l4?.ICMPv4) return { protocol: 'ICMPv4', number: l4.ICMPv4.type };
  if (l4?.ICMPv6) return { protocol: 'ICMPv6', number: l4.ICMPv6.type };
  return undefined;
}

function side({ namespace, pod_name, labels }: Flow['source'], text: string, where: string): RecordedSide {
  const address = parseAddress(text);
  if (!address) throw new CliError(`${where}: expected an IP address, found ${JSON.stringify(text)}`);
  return { pod: namespace && pod_name ? `${namespace}/${pod_name}` : undefined, address, labels: labels ?? [] };
}
