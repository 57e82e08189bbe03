/** The engine against cyclonus: all cases of its generator, judged by its own simulation of NetworkPolicy. */
import { execFileSync } from 'node:child_process';
import * as assert from 'uvu/assert';
import type { TransportName } from '../../agent/model/object.ts';
import { createJudge } from '../../agent/policy/evaluate.ts';
import { privileged } from '../kit/privileged.ts';
import { stockProgram } from '../kit/stock.ts';
import { suite } from '../kit/suite.ts';
import type { PeerSpec, PortName, RawDocument, Scenario } from '../oracle/scenario.ts';
import { buildWorld } from './policy-world.ts';

/** As test/stock/cyclonus/main.go writes it. */
interface Step {
  readonly name: string;
  readonly namespaces: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly pods: readonly {
    readonly namespace: string;
    readonly name: string;
    readonly labels: Readonly<Record<string, string>> | null;
    readonly ip: string;
    readonly ports: readonly PortName[];
  }[];
  readonly outside: readonly string[];
  readonly policies: readonly object[] | null;
  readonly ports: readonly { readonly port: number; readonly protocol: TransportName }[];
  readonly verdicts: string;
}

const PROTOCOLS: Readonly<Record<TransportName, number>> = { TCP: 6, UDP: 17, SCTP: 132 };
const SIDES = [
  { direction: 'ingress', bit: 1 },
  { direction: 'egress', bit: 2 },
] as const;

const test = privileged(suite('policy: engine and cyclonus agree'), 'stock');

test('every pair, port and side of every case', () => {
  const lines = execFileSync(stockProgram('cyclonus'), { encoding: 'utf8', maxBuffer: 1 << 28 })
    .trim()
    .split('\n');
  const counts = { allowed: 0, denied: 0 };
  const differences: string[] = [];
  for (const step of lines.map((line) => JSON.parse(line) as Step)) differences.push(...compare(step, counts));
  console.log(`cyclonus: ${lines.length} steps, ${counts.allowed} allowed, ${counts.denied} denied`);
  assert.equal(differences.slice(0, 5), [], `${differences.length} differences`);
  assert.ok(lines.length > 400 && counts.denied > 100_000 && counts.allowed > 100_000);
});
test.run();

/** A line for each side that is judged otherwise. */
function compare(step: Step, counts: { allowed: number; denied: number }): string[] {
  const world = buildWorld(scenarioOf(step), 1);
  const refused = world.engine.documents().filter(({ status }) => status !== 'valid');
  const differences = refused.map(({ ref, problems }) => `${step.name}: ${ref.name} refused: ${problems[0]?.message}`);
  const judge = createJudge(world.rows);
  const parties: PeerSpec[] = [
    ...step.pods.map(({ namespace, name }): PeerSpec => ({ type: 'pod', pod: `${namespace}/${name}` })),
    ...step.outside.map((ipv4): PeerSpec => ({ type: 'outside', ipv4, ipv6: '2001:db8::1', apiServer: false })),
  ];
  const digits = [...step.verdicts].map(Number)[Symbol.iterator]();
  for (const from of parties) {
    for (const to of parties) {
      for (const { port, protocol } of step.ports) {
        const digit = digits.next().value as number;
        if (from === to) continue; // A pod always reaches itself, and cyclonus does not know that.
        for (const { direction, bit } of SIDES) {
          const [subject, peer] = direction === 'ingress' ? [to, from] : [from, to];
          if (subject.type !== 'pod') continue;
          const packet = {
            direction,
            subject: subject.pod,
            peer,
            family: 4,
            protocol: PROTOCOLS[protocol],
            port,
          } as const;
          const { verdict } = judge(world.question(packet));
          const expected = digit & bit ? 'allowed' : 'denied';
          counts[expected] += 1;
          if (verdict === expected) continue;
          differences.push(`${step.name}: ${JSON.stringify(packet)} is ${verdict}, cyclonus says ${expected}`);
        }
      }
    }
  }
  return differences;
}

function scenarioOf(step: Step): Scenario {
  const ipv6 = (i: number): string => `fd00::${(i + 1).toString(16)}`;
  return {
    namespaces: Object.entries(step.namespaces).map(([name, labels]) => ({ name, labels })),
    pods: step.pods.map(({ ip, labels, ...pod }, i) => {
      return { ...pod, labels: labels ?? {}, serviceAccount: 'default', ipv4: ip, ipv6: ipv6(i) };
    }),
    nodes: [{ name: 'node', labels: {}, ipv4: '10.1.1.1', ipv6: 'fd01::1' }],
    services: [],
    documents: (step.policies ?? []).map((policy) => {
      return { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', ...policy } as RawDocument;
    }),
    enforcement: 'default',
    now: 0,
    packets: [],
  };
}
