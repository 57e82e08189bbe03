/**
 * Clients, Services that share backends, and changes in random order: whatever a backend answers arrives from the address
 * and port the client asked, at the port it asked from, and nowhere else.
 */
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { DatapathFixture, type TestPod } from '../kit/datapath-fixture.ts';
import { setIdentity, setPolicy } from '../kit/datapath-policy.ts';
import { setService } from '../kit/datapath-service.ts';
import { udp } from '../kit/packet.ts';
import { privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';

const test = privileged(suite('Services at random'), 'root');
const datapath = DatapathFixture.open({ maxEntries: { conntrack4: 4096, conntrack6: 4096 } });
test.after(() => datapath[Symbol.dispose]());
setPolicy(datapath, 16, {});
for (const identity of [1001, 1002, 1003, 1004]) setIdentity(datapath, identity);
const pods = [2, 3, 4, 5].map((n) =>
  datapath.pod({ identity: 999 + n, policy: 16, ipv4: `10.9.0.${n}`, ipv6: `fd09::${n}` }),
);
const [client, ...backends] = pods as [TestPod, ...TestPod[]];
const VIPS = 3;
const PORTS = [50001, 50002];
const SETS = [[0], [1], [0, 1], [0, 1, 2], [1, 2], []];

type Step =
  | { readonly kind: 'ask'; readonly vip: number; readonly port: number }
  | { readonly kind: 'direct'; readonly backend: number; readonly port: number }
  | { readonly kind: 'answer'; readonly nth: number }
  | { readonly kind: 'service'; readonly vip: number; readonly set: number }
  | { readonly kind: 'epoch' };

const below = (limit: number): fc.Arbitrary<number> => fc.integer({ min: 0, max: limit - 1 });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant('ask' as const), vip: below(VIPS), port: below(PORTS.length) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('direct' as const), backend: below(3), port: below(PORTS.length) }),
  },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('answer' as const), nth: fc.nat(100) }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('service' as const), vip: below(VIPS), set: below(SETS.length) }),
  },
  { weight: 1, arbitrary: fc.constant({ kind: 'epoch' as const }) },
);

interface Seen {
  readonly asked: string;
  readonly port: number;
  readonly backend: TestPod;
  readonly from: string;
  readonly fromPort: number;
}

for (const family of [4, 6] as const) {
  const of = (pod: TestPod): string => (family === 4 ? pod.ipv4 : pod.ipv6);
  const vip = (n: number): string => (family === 4 ? `10.96.1.${n + 1}` : `fd96:1::${n + 1}`);
  const bytes = (address: string): string =>
    Buffer.from(
      udp({ from: address, to: address })
        .bytes()
        .slice(...(family === 4 ? [26, 30] : [22, 38])),
    ).toString('hex');
  const endsOf = (frame: Uint8Array) => {
    const [source, destination, ports] = family === 4 ? [26, 30, 34] : [22, 38, 54];
    const view = new DataView(frame.buffer, frame.byteOffset);
    const size = destination - source;
    return {
      source: Buffer.from(frame.slice(source, destination)).toString('hex'),
      destination: Buffer.from(frame.slice(destination, destination + size)).toString('hex'),
      sport: view.getUint16(ports),
      dport: view.getUint16(ports + 2),
    };
  };

  async function run(steps: readonly Step[]): Promise<void> {
    for (const { key } of datapath.connections()) {
      if (typeof key.lowAddress === 'number') datapath.delete('conntrack4', key as never);
      else datapath.delete('conntrack6', key as never);
    }
    const sets: number[][] = [];
    const set = (n: number, members: readonly number[]): void => {
      sets[n] = [...members];
      setService(
        datapath,
        'udp',
        vip(n),
        53,
        members.map((at) => [of(backends[at] as TestPod), 5353]),
      );
    };
    for (let n = 0; n < VIPS; n++) set(n, [0, 1]);
    /** The last packet each (client port, address asked) brought to a backend: that is what a backend answers. */
    const seen = new Map<string, Seen>();

    async function send(asked: string, dport: number, port: number, allowed: readonly TestPod[]): Promise<void> {
      const result = await datapath.fromPod(client, udp({ from: of(client), to: asked, sport: port, dport }));
      if (result.verdict === 'drop' || allowed.length === 0) {
        assert.ok(allowed.length === 0 || result.reason === 'SERVICE_CLASH', result.reason);
        seen.delete(`${asked} ${port}`);
        return;
      }
      const { destination, sport, source } = endsOf(result.data);
      assert.is(source, bytes(of(client)));
      const backend = allowed.find((pod) => bytes(of(pod)) === destination);
      assert.ok(backend, `${asked} went to ${destination}`);
      for (const [key, other] of seen) {
        const same = other.backend === backend && other.fromPort === sport;
        if (same && key !== `${asked} ${port}`)
          assert.unreachable(`${asked} and ${other.asked} look the same to a backend`);
      }
      seen.set(`${asked} ${port}`, { asked, port, backend, from: of(client), fromPort: sport });
    }

    for (const one of steps) {
      switch (one.kind) {
        case 'ask':
          await send(
            vip(one.vip),
            53,
            PORTS[one.port] as number,
            (sets[one.vip] ?? []).map((at) => backends[at] as TestPod),
          );
          break;
        case 'direct':
          await send(of(backends[one.backend] as TestPod), 5353, PORTS[one.port] as number, [
            backends[one.backend] as TestPod,
          ]);
          break;
        case 'answer': {
          const all = [...seen.values()];
          const chosen = all[one.nth % Math.max(1, all.length)];
          if (chosen === undefined) break;
          const packet = udp({ from: of(chosen.backend), to: chosen.from, sport: 5353, dport: chosen.fromPort });
          const result = await datapath.fromPod(chosen.backend, packet);
          const { source, dport } = endsOf(result.data);
          assert.equal([result.verdict, source, dport], ['redirect', bytes(chosen.asked), chosen.port]);
          break;
        }
        case 'service':
          set(one.vip, SETS[one.set] as number[]);
          datapath.bumpEpoch();
          break;
        case 'epoch':
          datapath.bumpEpoch();
      }
    }
  }

  test(`IPv${family}: answers come from where the client asked`, async () => {
    await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), run), { numRuns: 150 });
  });
}

test.run();
