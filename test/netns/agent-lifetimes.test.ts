/** Annotations that bound a policy: audit reports and changes nothing, expires-at ends what it allows; and `weir policy wait`. */
import * as assert from 'uvu/assert';
import { type Guide, startGuide } from '../kit/guide.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';

const test = suite('policies with a lifetime');
let guide: Guide;
test.before(async () => {
  guide = await startGuide('lifetime');
});
test.after(() => guide?.node.close());

const DENIED = { port: 8080, timeoutMs: 300 } as const;
const annotated = (annotation: string): string =>
  guide.policy.replace('metadata:', `metadata:\n  annotations: { ${annotation} }`);

/** Writes the policy and waits until that very version is in force. */
async function write(text: string): Promise<void> {
  const { policies } = await guide.node.getJson<{ policies: { revision: number }[] }>('/v1/policies');
  await guide.node.writeManifest('backend-policy.yaml', text);
  const after = String(policies[0]?.revision ?? 0);
  const { code, stderr } = await guide.node.weir(
    'policy',
    'wait',
    'default/backend-policy',
    '--timeout',
    '10s',
    '--after',
    after,
  );
  assert.is(code, 0, stderr);
}

/** Until the time that the annotation bounds, `attempt` succeeds. A machine too slow to see that is given longer. */
async function openUntil(annotation: (time: string) => string, attempt: () => Promise<string>): Promise<void> {
  for (let leadMs = 3000; ; leadMs *= 2) {
    const time = Date.now() + leadMs;
    await write(annotated(annotation(new Date(time).toISOString())));
    const outcome = await attempt();
    if (Date.now() > time && leadMs < 60_000) continue;
    assert.is(outcome, 'ok');
    return;
  }
}

interface Audited {
  readonly flows: readonly {
    readonly verdict: string;
    readonly weir: { readonly wouldDeny?: boolean; readonly isolatedBy?: readonly { readonly name: string }[] };
  }[];
}

test('an audited policy closes nothing, and says by name what it would have closed, also after a restart', async () => {
  const { stranger, backend } = guide.pods;
  await write(annotated('weir.dev/audit: "true"'));
  for (const round of ['before the restart', 'after the restart']) {
    assert.is(await stranger.peer.tcp({ address: backend.ipv4, port: 8080 }), 'ok', round);
    const flow = await until(
      async () =>
        (await guide.node.getJson<Audited>('/v1/flows?verdict=AUDIT&from_pod=default/stranger&to_port=8080&last=1'))
          .flows[0],
      { what: `an audit event ${round}` },
    );
    assert.is(flow.weir.wouldDeny, true);
    assert.equal(
      flow.weir.isolatedBy?.map(({ name }) => name),
      ['backend-policy'],
    );
    if (round === 'before the restart') {
      await guide.node.stopAgent('SIGKILL');
      await guide.node.startAgent();
    }
  }
  await write(guide.policy);
  assert.is(await stranger.peer.tcp({ address: backend.ipv4, ...DENIED }), 'timeout');
});

test('audit-until: from that time on the policy enforces, by itself', async () => {
  const { stranger, backend } = guide.pods;
  await openUntil(
    (time) => `weir.dev/audit: "true", weir.dev/audit-until: "${time}"`,
    () => stranger.peer.tcp({ address: backend.ipv6, port: 8080 }),
  );
  await until(async () => (await stranger.peer.tcp({ address: backend.ipv6, ...DENIED })) === 'timeout', {
    what: 'enforcement',
  });
  await write(guide.policy);
});

test('expires-at: its allows end, its isolation stays; a time nobody can read counts as expired', async () => {
  const { frontend, backend } = guide.pods;
  await openUntil(
    (time) => `weir.dev/expires-at: "${time}"`,
    () => frontend.peer.tcp({ address: backend.ipv4, port: 8080 }),
  );
  await until(async () => (await frontend.peer.tcp({ address: backend.ipv4, ...DENIED })) === 'timeout', {
    what: 'the end',
  });
  await write(guide.policy);
  assert.is(await frontend.peer.tcp({ address: backend.ipv4, port: 8080 }), 'ok');
  await write(annotated('weir.dev/expires-at: "next week"'));
  assert.is(await frontend.peer.tcp({ address: backend.ipv4, ...DENIED }), 'timeout');
  await write(guide.policy);
});

test('policy wait says why it waits in vain', async () => {
  const { code, stderr } = await guide.node.weir('policy', 'wait', 'nobody', '--timeout', '200ms');
  assert.is(code, 1);
  assert.match(stderr, /no policy is named nobody/);
});

test.run();
