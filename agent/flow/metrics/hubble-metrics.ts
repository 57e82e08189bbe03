/** Hubble's metrics as asked for: looks at every flow once, as it arrives, and keeps counts until somebody scrapes. */
import { DESTINATION, type PacketSide, SOURCE, type StoredFlow } from '../decode.ts';
import { eventName } from '../filter.ts';
import type { PartyName } from '../names.ts';
import { contextReader, isEgress, type LabelReader, labelReader } from './context.ts';
import { COUNTED, type Counted } from './counted.ts';
import { type SeriesOptions, SeriesSet } from './series.ts';
import type { MetricSpecification } from './specification.ts';

/** One metric with its series. */
export interface CountedFamily {
  readonly name: string;
  readonly help: string;
  readonly labels: readonly string[];
  readonly series: SeriesSet;
}

interface Counter extends CountedFamily {
  readonly specification: MetricSpecification;
  readonly counted: Counted;
  readonly readers: readonly LabelReader[];
  readonly podSides: readonly PacketSide[];
}

const NO_PODS: readonly PartyName[] = [];

export class HubbleMetrics {
  readonly #counters: readonly Counter[];

  constructor(specifications: readonly MetricSpecification[], options: SeriesOptions) {
    this.#counters = specifications.map((specification) => {
      const counted = COUNTED[specification.metric];
      const context = contextLabels(specification);
      const readers = context.map(([, reader]) => reader);
      const podSides = new Set(readers.flatMap(({ podOf }) => (podOf === undefined ? [] : [podOf])));
      return {
        name: counted.series,
        help: counted.help,
        labels: [...counted.labels(specification), ...context.map(([label]) => label)],
        series: new SeriesSet(options),
        specification,
        counted,
        readers,
        podSides: [...podSides],
      };
    });
  }

  /** The series of pods that are gone are left out: see {@link SeriesSet.forgetGone}. */
  families(): readonly CountedFamily[] {
    return this.#counters;
  }

  /** To be given to FlowHistory.watch. */
  readonly count = (flow: StoredFlow): void => {
    if (eventName(flow.type) === undefined) return;
    for (const { counted, specification, readers, podSides, series } of this.#counters) {
      const all = counted.values(flow, specification);
      if (all.length === 0) continue;
      const context = readers.map((reader) => reader.read(flow));
      const pods = podSides.length === 0 ? NO_PODS : podsOf(flow, podSides);
      for (const values of all) series.add([...values, ...context], pods);
    }
  };
}

/** Labels as Hubble names them: `source` and `destination`, then those of labelsContext. */
function contextLabels({ contexts, labels }: MetricSpecification): [label: string, reader: LabelReader][] {
  const ends: [string, LabelReader][] = [];
  for (const [end, side] of [
    ['source', SOURCE],
    ['destination', DESTINATION],
  ] as const) {
    const usual = contexts[`${end}Context`];
    const egress = contexts[`${end}EgressContext`] ?? usual;
    const ingress = contexts[`${end}IngressContext`] ?? usual;
    if (egress === undefined && ingress === undefined) continue;
    ends.push([end, byDirection(contextReader(egress ?? [], side), contextReader(ingress ?? [], side))]);
  }
  return [...ends, ...labels.map((name): [string, LabelReader] => [name, labelReader(name)])];
}

function byDirection(egress: LabelReader, ingress: LabelReader): LabelReader {
  return {
    read: (flow) => (isEgress(flow) ? egress : ingress).read(flow),
    podOf: egress.podOf ?? ingress.podOf,
  };
}

function podsOf(flow: StoredFlow, sides: readonly PacketSide[]): PartyName[] {
  return sides.flatMap((side) => {
    const name = flow.name(side);
    return name === undefined || name.pod === '' ? [] : [name];
  });
}
