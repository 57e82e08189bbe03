/** What explain says of a running node, against the packets themselves; and its suggestions, followed. */
import * as assert from 'uvu/assert';
import { parse, stringify } from 'yaml';
import type { ExplainAnswer, MatrixAnswer } from '../../agent/api/explain.ts';
import type { ExplainedSide, Explanation } from '../../agent/model/explanation.ts';
import { type Attempt, TRUTH_TABLE } from '../../demo/truth-table.ts';
import { type Guide, startGuide } from '../kit/guide.ts';
import { WORLD } from '../kit/node.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';
import { withEdits } from '../scenario/questions-edit.ts';

type Question = Pick<Attempt, 'from' | 'to' | 'protocol' | 'port'>;

const test = suite('explain on a running node');
let guide: Guide;

test.before(async () => {
  guide = await startGuide('explain');
});
test.after(() => guide?.node.close());

/** Of the world an address decides the family. */
function partyText(party: Attempt['from'], family: 4 | 6): string {
  return party === 'world' ? `ip:${family === 4 ? WORLD.ipv4 : WORLD.ipv6}` : party;
}

function portText({ protocol, port }: Question): string {
  return protocol === 'ICMP' ? 'EchoRequest/ICMP' : `${port}/${protocol}`;
}

async function explained(attempt: Question, family: 4 | 6): Promise<Explanation> {
  const [from, to] = [attempt.from, attempt.to].map((party) => partyText(party, family)) as [string, string];
  const query = new URLSearchParams({ from, to, port: portText(attempt) });
  const { explanations } = await guide.node.getJson<ExplainAnswer>(`/v1/explain?${query}`);
  const one = explanations.find((explanation) => explanation.family === `IPv${family}`);
  assert.ok(one, `no answer for IPv${family}`);
  return one as Explanation;
}

// That the packets themselves do what the table says is what agent-policy.test.ts shows.
for (const attempt of TRUTH_TABLE) {
  for (const family of [4, 6] as const) {
    test(`${attempt.from} -> ${attempt.to} ${portText(attempt)} IPv${family}: ${attempt.allowed}`, async () => {
      const explanation = await explained(attempt, family);
      assert.is(explanation.verdict, attempt.allowed ? 'allowed' : 'denied', JSON.stringify(explanation));
    });
  }
}

test('a drop and its explanation name the same policy; an allowed flow and its explanation the same rule', async () => {
  const { frontend, backend, stranger } = guide.pods;
  await frontend.peer.tcp({ address: backend.ipv4, port: 8080 });
  await stranger.peer.tcp({ address: backend.ipv4, port: 8080, timeoutMs: 300 });
  interface Flows {
    readonly flows: readonly {
      readonly weir: {
        readonly rule?: { readonly path: string; readonly line?: number };
        readonly isolatedBy?: unknown;
      };
    }[];
  }
  const flow = (from: string, verdict: string) =>
    until(
      async () =>
        (await guide.node.getJson<Flows>(`/v1/flows?from_pod=${from}&to_port=8080&verdict=${verdict}&last=1`)).flows[0],
      { what: `a flow of ${from}` },
    );
  const attempt: Question = { from: 'default/frontend', to: 'default/backend', protocol: 'TCP', port: 8080 };
  const allowed = (await explained(attempt, 4)).ingress;
  const forwarded = (await flow('default/frontend', 'FORWARDED')).weir.rule;
  assert.equal([forwarded?.path, forwarded?.line], [allowed.rule?.path, allowed.rule?.line]);
  const denied = (await explained({ ...attempt, from: 'default/stranger' }, 4)).ingress;
  const names = denied.isolatedBy.map(({ kind, namespace, name }) => ({ kind, namespace, name }));
  assert.equal((await flow('default/stranger', 'DROPPED')).weir.isolatedBy, names);
});

test('the suggested edit, made, lets the packet through', async () => {
  const { frontend, backend } = guide.pods;
  const target = { address: backend.ipv6, port: 8081, timeoutMs: 300 };
  assert.is(await frontend.peer.tcp(target), 'timeout');
  const attempt: Question = { from: 'default/frontend', to: 'default/backend', protocol: 'TCP', port: 8081 };
  const { fix } = (await explained(attempt, 6)).ingress as ExplainedSide;
  const document = parse(guide.policy);
  document.metadata.namespace ??= 'default';
  const [changed] = withEdits({ documents: [document] } as never, fix ?? []).documents;
  await guide.node.writeManifest('backend-policy.yaml', stringify(changed));
  await until(async () => (await frontend.peer.tcp(target)) === 'ok', { what: 'the packet to pass' });
  assert.is((await explained(attempt, 6)).verdict, 'allowed');
  await guide.node.writeManifest('backend-policy.yaml', guide.policy);
});

test('the command line asks the agent; the matrix knows the node, the pods and the API that was asked', async () => {
  const run = await guide.node.weir(
    'policy',
    'explain',
    '--from',
    'default/stranger',
    '--to',
    'default/backend',
    '--port',
    '8080',
  );
  assert.is(run.code, 0, run.stderr);
  assert.match(run.stdout, /IPv4 and IPv6: denied\n/);
  assert.match(run.stdout, /backend-policy\.yaml:\d+/);
  const table = await guide.node.weir('policy', 'matrix', '--port', '8080', '--peer', 'entity:host');
  assert.match(table.stdout, /^entity:host +\.\+/m);
  const { entries } = await guide.node.getJson<MatrixAnswer>('/v1/matrix?port=8080');
  assert.is(entries.length, 5 * 5 * 2);
  const unknown = await guide.node.weir(
    'policy',
    'explain',
    '--from',
    'a/b',
    '--to',
    'default/backend',
    '--port',
    '8080',
  );
  assert.equal([unknown.code, unknown.stderr], [1, 'weir: there is no pod a/b\n']);
});

test.run();
