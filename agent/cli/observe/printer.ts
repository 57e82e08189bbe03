/** Flows as lines, in the forms Hubble knows. */
import type { Flow, FlowLine, LostEvents } from '../../flow/flow.ts';
import type { Flag } from '../../run/flags.ts';
import type { FlagValues, Io } from '../command.ts';
import { type Color, paint, printable } from '../table.ts';
import {
  decisionWord,
  policiesWord,
  type Side,
  sides,
  summaryWord,
  TIME_FORMATS,
  type TimeFormat,
  timeWord,
  typeWord,
  verdictWord,
  type WordOptions,
} from './words.ts';

/** The first is the default. "json" is another name of "jsonpb", as in Hubble. */
export const FLOW_OUTPUTS = ['compact', 'dict', 'json', 'jsonpb', 'table'] as const;
export type FlowOutput = (typeof FLOW_OUTPUTS)[number];

const COLORS = ['auto', 'always', 'never'] as const;

/** Of every command that prints flows. */
export const PRINTER_FLAGS: readonly Flag[] = [
  {
    name: 'output',
    short: 'o',
    value: FLOW_OUTPUTS.join('|'),
    choices: FLOW_OUTPUTS,
    sentence: `Form of the output [${FLOW_OUTPUTS[0]}]`,
  },
  { name: 'numeric', sentence: 'Addresses and numbers instead of names' },
  { name: 'print-node-name', sentence: 'Show the node in each line' },
  { name: 'print-policy-names', sentence: 'Show behind the verdict which policies decided' },
  {
    name: 'time-format',
    value: 'FORMAT',
    choices: TIME_FORMATS,
    sentence: `Form of times: ${TIME_FORMATS.join(', ')} [${TIME_FORMATS[0]}]`,
  },
  {
    name: 'color',
    value: COLORS.join('|'),
    choices: COLORS,
    sentence: `Colors; auto: on a terminal, unless $NO_COLOR [${COLORS[0]}]`,
  },
];

export interface PrinterOptions extends WordOptions {
  readonly output: FlowOutput;
  readonly nodeName: boolean;
  readonly policyNames: boolean;
  readonly timeFormat: TimeFormat;
  readonly colors: boolean;
}

/** What {@link PRINTER_FLAGS} were set to. */
export function printerOptions(flags: FlagValues, io: Io): PrinterOptions {
  const color = flags.choice('color', COLORS);
  return {
    output: flags.choice('output', FLOW_OUTPUTS),
    numeric: flags.on('numeric'),
    nodeName: flags.on('print-node-name'),
    policyNames: flags.on('print-policy-names'),
    timeFormat: flags.choice('time-format', TIME_FORMATS),
    colors: color === 'auto' ? io.colors : color === 'always',
  };
}

export interface Printer {
  /** What goes to stdout for the line, and to stderr. */
  print(line: FlowLine): { readonly out: string; readonly err: string };
}

export function createPrinter(options: PrinterOptions): Printer {
  let printed = 0;
  const print = (flow: Flow): string => {
    const first = printed++ === 0;
    if (options.output === 'dict') return (first ? '' : '------------\n') + dict(flow, options);
    if (options.output === 'table') return (first ? TABLE_HEADER(options) : '') + tableRow(flow, options);
    return compact(flow, options);
  };
  return {
    print(line) {
      if (options.output === 'json' || options.output === 'jsonpb')
        return { out: `${JSON.stringify(line)}\n`, err: '' };
      if (line.flow) return { out: print(line.flow), err: '' };
      return { out: '', err: line.lost_events ? lost(line.lost_events) : '' };
    },
  };
}

/** TIME[ [node]]: SRC (identity) ARROW DST (identity) TYPE VERDICT (SUMMARY) [decision] */
function compact(flow: Flow, options: PrinterOptions): string {
  const { source, destination } = sides(flow, options);
  const side = ({ host, identity }: Side): string => `${host} ${identity}`;
  // A reply is shown as the connection it belongs to: the initiator stays on the left.
  const ends = flow.is_reply ? [side(destination), '<-', side(source)] : [side(source), '->', side(destination)];
  const node = options.nodeName ? ` [${flow.node_name}]` : '';
  const head = printable(`${timeWord(flow.time, options.timeFormat)}${node}: ${ends.join(' ')} ${typeWord(flow)}`);
  const tail = printable(`(${summaryWord(flow)}) [${decisionWord(flow)}]`);
  return `${head} ${verdict(flow, options)}${policies(flow, options)} ${tail}\n`;
}

function dict(flow: Flow, options: PrinterOptions): string {
  const { source, destination } = sides(flow, options);
  const fields: [string, string][] = [
    ['TIMESTAMP', timeWord(flow.time, options.timeFormat)],
    ...(options.nodeName ? ([['NODE', flow.node_name]] as [string, string][]) : []),
    ['SOURCE', source.host],
    ['DESTINATION', destination.host],
    ['TYPE', typeWord(flow)],
    ['VERDICT', verdictWord(flow) + policies(flow, options)],
    ['SUMMARY', summaryWord(flow)],
    ['DECISION', decisionWord(flow)],
  ];
  return fields.map(([name, value]) => `${name.padStart(11)}: ${printable(value)}\n`).join('');
}

/** Widths that most rows keep to: a stream cannot know its longest. */
const WIDTHS = { time: 19, node: 15, host: 32, type: 16, verdict: 9 } as const;
/** Of microseconds, none of which is left out. */
const LONG_TIME = '2000-01-01T00:00:00.111111Z';
const TIME_WIDTHS = new Map(
  TIME_FORMATS.map((format) => [format, Math.max(WIDTHS.time, timeWord(LONG_TIME, format).length)]),
);
const TABLE_HEADER = (options: PrinterOptions): string =>
  tableLine(['TIMESTAMP', 'NODE', 'SOURCE', 'DESTINATION', 'TYPE', 'VERDICT', 'SUMMARY'], options);

function tableRow(flow: Flow, options: PrinterOptions): string {
  const { source, destination } = sides(flow, options);
  const cells = [
    timeWord(flow.time, options.timeFormat),
    flow.node_name,
    source.host,
    destination.host,
    typeWord(flow),
  ];
  const judged = verdictWord(flow) + policies(flow, options);
  return tableLine([...cells, judged, summaryWord(flow)], options);
}

function tableLine(cells: readonly string[], options: PrinterOptions): string {
  const time = TIME_WIDTHS.get(options.timeFormat) ?? WIDTHS.time;
  const widths = [time, WIDTHS.node, WIDTHS.host, WIDTHS.host, WIDTHS.type, WIDTHS.verdict, 0];
  const padded = cells.map((cell, i) => printable(cell).padEnd(widths[i] ?? 0));
  return `${padded
    .filter((_, i) => i !== 1 || options.nodeName)
    .join('   ')
    .trimEnd()}\n`;
}

const VERDICT_COLORS: Readonly<Record<Flow['verdict'], Color>> = {
  FORWARDED: 'green',
  DROPPED: 'red',
  AUDIT: 'yellow',
};

function verdict(flow: Flow, options: PrinterOptions): string {
  return paint(VERDICT_COLORS[flow.verdict], verdictWord(flow), options.colors);
}

function policies(flow: Flow, options: PrinterOptions): string {
  return options.policyNames ? printable(policiesWord(flow)) : '';
}

function lost(events: LostEvents): string {
  return `EVENTS LOST: ${events.source} (${events.weir.stage}) ${events.num_events_lost}\n`;
}
