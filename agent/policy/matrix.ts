/** Who may talk to whom: every pair of parties, judged on both sides. */
import { WeirError } from '../errors.ts';
import type { MatrixEntry } from '../model/explanation.ts';
import type { Answer } from './evaluate.ts';
import { defaultPorts } from './matrix-ports.ts';
import { commonFamilies, type Party } from './workbench/party.ts';
import { formatPort, type PortQuestion, readPort, resolvePort } from './workbench/port.ts';
import { type Packet, verdictOf, type Workbench } from './workbench/workbench.ts';

export interface MatrixQuestion {
  readonly ports: readonly PortQuestion[];
  /** Parties beside the pods: only the pods' side is judged, and not among themselves. */
  readonly peers: readonly Party[];
}

/** Reads --port and --peer; throws BAD_REQUEST with what was expected. Without ports: see defaultPorts. */
export function readMatrixQuestion(
  bench: Workbench,
  ports: readonly string[],
  peers: readonly string[],
): MatrixQuestion {
  for (const text of peers) {
    if (/^(ip|entity):/.test(text)) continue;
    throw new WeirError('BAD_REQUEST', 'read a peer', `peer: expected ip:ADDRESS or entity:NAME, got "${text}"`);
  }
  const asked = new Map(ports.map(readPort).map((port) => [formatPort(port), port]));
  const parties = new Map(peers.map((text) => bench.party(text)).map((party) => [party.name, party]));
  return { ports: asked.size > 0 ? [...asked.values()] : defaultPorts(bench), peers: [...parties.values()] };
}

/** Entries by from, to, port and family, in the order of pods, peers and ports. */
export function* matrix(bench: Workbench, { ports, peers }: MatrixQuestion): Generator<MatrixEntry, void, void> {
  const parties = [...bench.pods, ...peers];
  bench.prepare(bench.pods);
  for (const from of parties) {
    for (const to of parties) {
      if (peers.includes(from) && peers.includes(to)) continue;
      for (const port of ports) {
        for (const family of commonFamilies(from, to)) {
          const target = resolvePort(port, to.namedPorts, family);
          if (target === 'other-family') continue;
          const packet = target === 'no-such-port' ? undefined : { from, to, target, family };
          const sides = packet ? judged(bench, packet, peers) : CLOSED;
          yield {
            from: from.name,
            to: to.name,
            port: port.port,
            protocol: packet?.target.protocol ?? port.protocol ?? 'TCP',
            family: family === 4 ? 'IPv4' : 'IPv6',
            ...sides,
          };
        }
      }
    }
  }
}

type Sides = Pick<MatrixEntry, 'ingress' | 'egress' | 'verdict'>;

/** The destination has no port of that name: nothing can be sent to it. */
const CLOSED: Sides = { ingress: 'n/a', egress: 'n/a', verdict: 'denied' };

function judged(bench: Workbench, packet: Packet, peers: readonly Party[]): Sides {
  const all = bench.judge(packet);
  const sides = {
    egress: peers.includes(packet.from) ? undefined : all.egress,
    ingress: peers.includes(packet.to) ? undefined : all.ingress,
  };
  const word = (answer: Answer | undefined): MatrixEntry['ingress'] => answer?.verdict ?? 'n/a';
  return { ingress: word(sides.ingress), egress: word(sides.egress), verdict: verdictOf(sides) };
}
