/**
 * Matrix and explain against the oracle, on random clusters. A fresh seed per run, printed; `WEIR_SEED=n` repeats one.
 * That every suggested edit allows what it should is asked of the oracle too, with the edit made by hand.
 */
import * as assert from 'uvu/assert';
import type { ExplainedSide } from '../../agent/model/explanation.ts';
import { explain } from '../../agent/policy/explain/explain.ts';
import { matrix } from '../../agent/policy/matrix.ts';
import { readPort } from '../../agent/policy/workbench/port.ts';
import { suite } from '../kit/suite.ts';
import { formatScenario } from '../oracle/format.ts';
import { generate } from '../oracle/generate/scenario.ts';
import { ask, LOCAL_HOST } from '../oracle/judge.ts';
import type { Packet, PeerSpec, Scenario } from '../oracle/scenario.ts';
import { withEdits } from './questions-edit.ts';
import { benchOf } from './questions-world.ts';

const LONG = process.env.WEIR_LONG === '1' || process.argv.includes('--long');
const SCENARIOS = LONG ? 400 : 30;
const SEED = Number(process.env.WEIR_SEED ?? Math.floor(Math.random() * 2 ** 31));
const PORTS = ['53/UDP', '80/TCP', '8080', '8/ICMP', 'http'];

const test = suite('questions: matrix and explain against the oracle');
console.log(`questions oracle: seed ${SEED}, ${SCENARIOS} scenarios`);

test(`the matrix is the oracle's, seed ${SEED}`, () => {
  for (let i = 0; i < SCENARIOS; i++) {
    const scenario = generate(SEED + i, 0);
    const bench = benchOf(scenario);
    const peers = ['entity:remote-node', 'entity:host', 'ip:203.0.113.7', 'ip:2001:db8::7'].map(bench.party);
    for (const entry of matrix(bench, { ports: PORTS.map(readPort), peers })) {
      const number = portNumber(scenario, entry.to, entry.port, entry.protocol);
      if (number === undefined) {
        assert.equal([entry.ingress, entry.egress, entry.verdict], ['n/a', 'n/a', 'denied']);
        continue;
      }
      const family = entry.family === 'IPv4' ? 4 : 6;
      for (const direction of ['ingress', 'egress'] as const) {
        const [subject, other] = direction === 'ingress' ? [entry.to, entry.from] : [entry.from, entry.to];
        if (/^(ip|entity):/.test(subject)) {
          assert.is(entry[direction], 'n/a');
          continue;
        }
        const peer = peerSpec(scenario, other);
        if (!peer) continue; // the scenario has one node only
        const packet: Packet = { direction, subject, peer, family, ...wire(entry.protocol, number) };
        const expected = ask(scenario, packet, false).verdict;
        const say = `seed ${SEED + i}: ${direction} of ${JSON.stringify(entry)}\n${formatScenario(scenario)}`;
        assert.is(entry[direction], expected, say);
      }
    }
  }
});

test(`explanations are the oracle's, and their edits allow it, seed ${SEED}`, () => {
  let denials = 0;
  let fixed = 0;
  for (let i = 0; i < SCENARIOS; i++) {
    const scenario = generate(SEED + i, 12);
    const bench = benchOf(scenario);
    for (const packet of scenario.packets.filter(isAskable)) {
      const { direction } = packet;
      const pod = bench.party(packet.subject);
      const other = bench.party(partyText(scenario, packet));
      const [from, to] = direction === 'ingress' ? [other, pod] : [pod, other];
      const port = readPort(portText(packet));
      const all = explain(bench, { from, to, port });
      const one = all.find(({ family }) => family === (packet.family === 4 ? 'IPv4' : 'IPv6'));
      const side = one?.[direction] as ExplainedSide;
      const oracle = ask(scenario, packet, false);
      const say = `seed ${SEED + i}: ${JSON.stringify(packet)}\n${JSON.stringify(side, undefined, 1)}\n${formatScenario(scenario)}`;
      assert.is(side.verdict, oracle.verdict, say);
      if (side.rule) assert.ok(oracle.rules.includes(ruleName(side)), say);
      else
        assert.ok(
          oracle.rules.every((name) => name === LOCAL_HOST),
          say,
        );
      if (side.verdict !== 'denied') continue;
      denials++;
      if (!side.fix?.length) continue;
      fixed++;
      const after = ask(withEdits(scenario, side.fix), packet, false);
      assert.is(after.verdict, 'allowed', `the edits do not help: ${say}`);
    }
  }
  console.log(`questions oracle: edits for ${fixed} of ${denials} denials`);
  assert.ok(fixed > denials * 0.8, `edits were found for ${fixed} of ${denials} denials only`);
});

test.run();

function portNumber(scenario: Scenario, to: string, port: number | string, protocol: string): number | undefined {
  if (typeof port === 'number') return port;
  const pod = scenario.pods.find(({ namespace, name }) => `${namespace}/${name}` === to);
  return pod?.ports.find((own) => own.name === port && own.protocol === protocol)?.port;
}

const PROTOCOLS: Readonly<Record<string, number>> = { TCP: 6, UDP: 17, SCTP: 132, ICMPv4: 1, ICMPv6: 58 };

function wire(protocol: string, number: number): Pick<Packet, 'protocol' | 'port'> {
  return { protocol: PROTOCOLS[protocol] as number, port: protocol.startsWith('ICMP') ? number << 8 : number };
}

function peerSpec({ nodes }: Scenario, name: string): PeerSpec | undefined {
  if (name.startsWith('ip:')) return { type: 'outside', ipv4: '203.0.113.7', ipv6: '2001:db8::7', apiServer: false };
  if (!name.startsWith('entity:')) return { type: 'pod', pod: name };
  const node = name === 'entity:host' ? nodes[0] : nodes[1];
  return node && { type: 'node', node: node.name };
}

/** The command line has no words for protocols without ports, nor for an API server at a certain address. */
function isAskable({ protocol, peer, port, family }: Packet): boolean {
  const icmp = protocol === 1 || protocol === 58;
  if (icmp && (protocol === 1) !== (family === 4)) return false;
  if (icmp ? (port & 255) !== 0 : port === 0) return false;
  if (!Object.values(PROTOCOLS).includes(protocol)) return false;
  return (
    peer.type === 'pod' || peer.type === 'node' || (peer.type === 'outside' && !peer.apiServer && !isPodAddress(peer))
  );
}

/** The generator also puts strangers at addresses that look like pods'. */
function isPodAddress({ ipv4 }: { readonly ipv4: string }): boolean {
  return ipv4.startsWith('10.0.');
}

function partyText(scenario: Scenario, { peer, family }: Packet): string {
  const pick = (from: { ipv4: string; ipv6: string }): string => `ip:${family === 4 ? from.ipv4 : from.ipv6}`;
  if (peer.type === 'pod') return peer.pod;
  if (peer.type !== 'node') return pick(peer);
  return pick(scenario.nodes.find(({ name }) => name === peer.node) as { ipv4: string; ipv6: string });
}

function portText({ protocol, port }: Packet): string {
  const [name] = Object.entries(PROTOCOLS).find(([, number]) => number === protocol) as [string, number];
  return `${name.startsWith('ICMP') ? port >> 8 : port}/${name}`;
}

function ruleName({ rule }: ExplainedSide): string {
  if (!rule || rule.path === '') return LOCAL_HOST;
  const { kind, namespace, name } = rule.document;
  return `${kind} ${namespace === '' ? '' : `${namespace}/`}${name} ${rule.path}`;
}
