/** Recorded flows from a file: JSON lines of flows, of a stream's lines, or of whole pages, as /v1/flows answers. */
import { readFileSync } from 'node:fs';
import type { Flow } from '../../flow/flow.ts';
import { parseAddress } from '../../model/address.ts';
import type { RecordedFlow, RecordedSide } from '../../policy/diff-flows.ts';
import type { Target } from '../../policy/workbench/port.ts';
import { CliError } from '../command.ts';

/** First packets only: a reply is allowed by its connection. Throws CliError for what is no record of flows. */
export function* readRecord(file: string): Generator<RecordedFlow> {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    throw new CliError(`cannot read ${file}: ${(cause as Error).message}`, { cause });
  }
  for (const [i, line] of text.split('\n').entries()) {
    if (line.trim() === '') continue;
    for (const flow of flowsOf(line, `${file}:${i + 1}`)) {
      const recorded = readFlow(flow, `${file}:${i + 1}`);
      if (recorded) yield recorded;
    }
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
