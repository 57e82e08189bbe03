/** The codecs agree with the C compiler, with themselves, and with what bpf/gen would write today. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import * as layout from '../../agent/datapath/layout.gen.ts';
import { suite } from '../kit/suite.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const test = suite('layout');

/** Values of the golden program (layout-golden.c), as TypeScript has them: host order, bigint for 64 bits. */
const bytes = (length: number, first: number): Uint8Array => Uint8Array.from({ length }, (_, i) => first + i);
const GOLDEN: Record<string, [layout.Codec<never>, unknown]> = {
  endpoint: [
    layout.endpoint as layout.Codec<never>,
    {
      identity: 1,
      policy: 2,
      ifindex: 0x100003,
      aggregation: 4,
      mac: bytes(6, 5),
      ipv4: 0x0a090807,
      ipv6: bytes(16, 32),
    },
  ],
  policy: [
    layout.policy as layout.Codec<never>,
    {
      revision: 0x0102030405060708n,
      direction: [
        { identitySet: 1, addressSet: 2, flags: 3 },
        { identitySet: 4, addressSet: 5, flags: 6 },
      ],
    },
  ],
  verdict_key: [
    layout.verdictKey as layout.Codec<never>,
    { prefixLen: 96, policy: 16, class: 0x80000001, direction: 1, protocol: 6, port: 8080 },
  ],
  verdict: [
    layout.verdict as layout.Codec<never>,
    {
      enforced: [1, 3, 5].map((choice) => ({ choice, rule: choice + 1 })),
      audited: [7, 9, 11].map((choice) => ({ choice, rule: choice + 1 })),
    },
  ],
  address_class_key: [
    layout.addressClassKey as layout.Codec<never>,
    { prefixLen: 88, set: 3, family: 4, address: bytes(16, 1) },
  ],
  peer: [layout.peer as layout.Codec<never>, { identity: 1001, endpoint: 7, kind: 2, node: 0 }],
  conntrack_key4: [
    layout.conntrackKey4 as layout.Codec<never>,
    { lowAddress: 0x0a000001, highAddress: 0x0a000002, lowPort: 80, highPort: 40000, protocol: 6 },
  ],
  conntrack_entry: [
    layout.conntrackEntry as layout.Codec<never>,
    {
      expires: 1n,
      created: 2n,
      reported: 3n,
      packets: [4n, 5n],
      bytes: [6n, 0xffffffffffffffffn],
      identity: [8, 9],
      endpoint: [10, 11],
      node: [17, 18],
      policy: [12, 13],
      rule: [14, 0xffffffff],
      epoch: 16,
      flags: 0x0102,
      tcpFlags: Uint8Array.of(0x12, 0x10),
      service: { address: bytes(16, 33), port: 80, clientPort: 40000 },
      aggregation: 2,
    },
  ],
  flow_event: [
    layout.flowEvent as layout.Codec<never>,
    {
      time: 1n,
      created: 2n,
      packets: [3n, 4n],
      bytes: [5n, 6n],
      source: bytes(16, 1),
      destination: bytes(16, 17),
      sourcePort: 40000,
      destinationPort: 443,
      family: 6,
      protocol: 17,
      type: 5,
      reason: 9,
      direction: 1,
      tcpFlags: 2,
      icmpType: 3,
      icmpCode: 4,
      flags: 0x41,
      identity: [7, 8],
      endpoint: [9, 10],
      policy: [11, 12],
      rule: [13, 14],
      length: 1500,
      ifindex: 0x100001,
      service: bytes(16, 49),
      servicePort: 53,
    },
  ],
};

/** name -> size and hex bytes, printed by a C program that includes the same headers. */
function golden(): Map<string, { size: number; hex: string }> {
  const folder = mkdtempSync(join(tmpdir(), 'wt-layout-'));
  try {
    const program = join(folder, 'golden');
    execFileSync('cc', [
      '-Wall',
      '-Werror',
      '-D__doc(text)=',
      `-I${ROOT}/bpf`,
      '-o',
      program,
      join(ROOT, 'test/bpf/layout-golden.c'),
    ]);
    const lines = execFileSync(program, { encoding: 'utf8' }).trim().split('\n');
    return new Map(
      lines.map((line) => line.split(' ')).map(([name = '', size, hex = '']) => [name, { size: Number(size), hex }]),
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

test('sizes and bytes are those of the C compiler', () => {
  const compiled = golden();
  assert.equal([...compiled.keys()].sort(), Object.keys(GOLDEN).sort());
  for (const [name, [codec, value]] of Object.entries(GOLDEN)) {
    const c = compiled.get(name);
    assert.is(codec.size, c?.size, `size of ${name}`);
    assert.is(Buffer.from(codec.encode(value as never)).toString('hex'), c?.hex, `bytes of ${name}`);
    assert.equal(codec.decode(Buffer.from(c?.hex ?? '', 'hex')), value, `${name} decoded`);
  }
});

test('every struct survives a round trip, at any offset', () => {
  for (const [name, codec] of structs()) {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: codec.size, maxLength: codec.size }), fc.nat(64), (raw, offset) => {
        const value = codec.decode(raw);
        const buffer = new Uint8Array(codec.size + offset).fill(0xee);
        codec.encode(value, buffer, offset);
        assert.equal(codec.decode(buffer, offset), value, name);
        assert.equal(codec.decode(codec.encode(value)), value, name);
        assert.ok(
          buffer.subarray(0, offset).every((byte) => byte === 0xee),
          `${name} writes before its place`,
        );
      }),
      { numRuns: 50 },
    );
  }
});

test('padding is written as zeros, so that keys compare', () => {
  const key = { lowAddress: 1, highAddress: 2, lowPort: 3, highPort: 4, protocol: 6 };
  const dirty = new Uint8Array(layout.conntrackKey4.size).fill(0xff);
  layout.conntrackKey4.encode(key, dirty);
  assert.equal(dirty, layout.conntrackKey4.encode(key));
});

test('what does not fit is refused with the name of the field', () => {
  const peer = { identity: 1, endpoint: 0, kind: 0, node: 0 };
  assert.throws(
    () => layout.peer.encode({ ...peer, identity: 2 ** 32 }),
    /Peer\.identity: expected an integer from 0 to 4294967295/,
  );
  assert.throws(() => layout.peer.encode({ ...peer, kind: -1 }), /Peer\.kind/);
  assert.throws(() => layout.peer.encode({ ...peer, kind: 0.5 }), /Peer\.kind/);
  const key = { family: 4, address: new Uint8Array(4) };
  assert.throws(() => layout.peerKey.encode(key), /PeerKey\.address: expected 16 bytes, got 4/);
  assert.throws(() => layout.policy.encode({ revision: -1n, direction: [] }), /Policy\.revision/);
});

test('every drop reason has words', () => {
  const reasons = Object.entries(layout.DropReason).filter(
    ([name]) => name !== 'DROP_NONE' && name !== 'DROP_REASON_COUNT',
  );
  for (const [name, value] of reasons) {
    assert.is(layout.dropReasonName[value], name);
    assert.ok((layout.DROP_REASON_DOC[value] ?? '').length > 10, `${name} has no comment beside it in bpf/abi/drop.h`);
  }
  assert.is(reasons.length, layout.DropReason.DROP_REASON_COUNT - 1);
});

test('the committed file is what bpf/gen writes', () => {
  const generated = execFileSync(process.execPath, [join(ROOT, 'bpf/gen/main.ts'), '--stdout'], { encoding: 'utf8' });
  const committed = readFileSync(join(ROOT, 'agent/datapath/layout.gen.ts'), 'utf8');
  assert.ok(generated === committed, 'agent/datapath/layout.gen.ts is out of date: npm run generate');
});

function structs(): [string, layout.Codec<unknown>][] {
  const isCodec = (value: unknown): value is layout.Codec<unknown> =>
    typeof value === 'object' && value !== null && 'decode' in value && 'size' in value;
  return Object.entries(layout).flatMap(([name, value]): [string, layout.Codec<unknown>][] =>
    isCodec(value) ? [[name, value]] : [],
  );
}

test.run();
