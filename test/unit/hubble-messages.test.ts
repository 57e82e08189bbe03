/** The messages of the Hubble API are those of proto/, and read what newer clients send without losing a word. */
import { readFileSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { readFieldMask } from '../../agent/api/hubble/field-mask.ts';
import { generatedMessages } from '../../agent/api/hubble/generate.ts';
import {
  callsOf,
  decode,
  encode,
  FLOW,
  type GetFlowsRequest,
  timestamp,
  timestampMs,
} from '../../agent/api/hubble/messages.ts';
import { nodePatternMatches } from '../../agent/model/node-pattern.ts';
import { suite } from '../kit/suite.ts';

const messages = suite('hubble: messages');

messages('messages.gen.ts is current', () => {
  const committed = readFileSync(new URL('../../agent/api/hubble/messages.gen.ts', import.meta.url), 'utf8');
  assert.ok(committed === generatedMessages(), 'it is not: npm run generate');
});

messages('numbers on the wire are those of Hubble', () => {
  // field << 3 | wire type, written out by hand from the field tables
  const bytes = (message: object) => encode(FLOW, message).toString('hex');
  assert.is(bytes({ verdict: 2 }), '1002');
  assert.is(bytes({ Summary: 'x' }), '82ea300178');
  assert.is(bytes({ is_reply: { value: false } }), 'd20100');
  assert.is(bytes({ is_reply: { value: true } }), 'd201020801');
  assert.is(bytes({ drop_reason_desc: 133 }), 'c8018501');
  assert.is(bytes({ l4: { UDP: { source_port: 1, destination_port: 2 } } }), '3206120408011002');
  assert.is(bytes({ ingress_denied_by: [{ name: 'p', revision: '7' }] }), 'eaa00a050a01702007');
});

messages('what a request says comes back, 64 bits as a number, and nothing else', () => {
  const call = callsOf('observer.Observer').GetFlows;
  const request = {
    number: 20,
    since: { seconds: 1_795_000_000, nanos: 5 },
    whitelist: [{ source_port: ['80'], verdict: [2], reply: [false] }],
    field_mask: { paths: ['time'] },
  };
  assert.equal(call?.requestDeserialize(call.requestSerialize(request)), request);
  const everything = call?.requestDeserialize(Buffer.from('08ffffffffffffffffff01', 'hex')) as GetFlowsRequest;
  assert.is(everything.number, 2 ** 64);
});

messages('fields that are not known are kept, so that they can be refused', () => {
  const call = callsOf('observer.Observer').GetFlows;
  const request = call?.requestDeserialize(Buffer.from('3203c80c01', 'hex')) as GetFlowsRequest;
  assert.is(request.whitelist?.[0]?.$unknowns?.length, 1);
  assert.is(request.$unknowns, undefined);
});

messages('bytes that are no message are an error', () => {
  assert.throws(() => decode(FLOW, Buffer.from('ff', 'hex')));
  assert.throws(() => decode(FLOW, Buffer.from('3a05', 'hex')));
});

messages('time is told in whole microseconds', () => {
  assert.equal(timestamp(1_795_402_399_192.6724), { seconds: 1_795_402_399, nanos: 192_672_000 });
  assert.equal(timestamp(0.9999), { seconds: 0, nanos: 1_000_000 });
  assert.is(timestampMs({ seconds: 2, nanos: 500_000 }), 2000.5);
});

messages.run();

const masks = suite('hubble: field masks');

masks('paths become a tree, the wider wish wins', () => {
  assert.is(readFieldMask([], FLOW), undefined);
  const mask = readFieldMask(['time', 'source.pod_name', 'source.identity', 'IP', 'IP.source', 'l7.dns.query'], FLOW);
  assert.equal(
    mask,
    new Map<string, unknown>([
      ['time', 'all'],
      [
        'source',
        new Map([
          ['pod_name', 'all'],
          ['identity', 'all'],
        ]),
      ],
      ['IP', 'all'],
      ['l7', 'all'],
    ]),
  );
});

for (const [path, said] of [
  ['tme', /field_mask: "tme": expected one of .*time/],
  ['source.pod', /"source.pod": expected one of .*pod_name/],
  ['verdict.x', /verdict can only be asked for whole/],
  ['source.workloads.name', /workloads can only be asked for whole/],
  ['', /expected one of/],
  ['constructor', /expected one of/],
] as const) {
  masks(`${JSON.stringify(path)} is refused`, () => assert.throws(() => readFieldMask([path], FLOW), said));
}

masks.run();

const patterns = suite('hubble: patterns of node names');

for (const [pattern, matches] of [
  ['node-1', true],
  ['NODE-1', true],
  ['node-*', true],
  ['*', true],
  ['n*-*1', true],
  ['node', false],
  ['*2', false],
  ['node-1*node-1', false],
  ['prod/node-1', true],
  ['prod/', true],
  ['/node-1', true],
  ['p*d/*', true],
  ['test/node-1', false],
  ['', undefined],
  ['/', true],
  [' node-1. ', true],
  ['prod./ ', undefined],
  ['node-1..', undefined],
  ['.', undefined],
  ['a/b/c', undefined],
  ['node 1', undefined],
] as const) {
  patterns(`${JSON.stringify(pattern)}: ${matches ?? 'no pattern'}`, () => {
    assert.is(nodePatternMatches(pattern, 'prod', 'node-1'), matches);
  });
}

patterns('a thousand stars do not take for ever', () => {
  const started = performance.now();
  assert.is(nodePatternMatches(`${'*a'.repeat(1000)}b`, 'prod', 'a'.repeat(253)), false);
  assert.ok(performance.now() - started < 10_000);
});

patterns.run();
