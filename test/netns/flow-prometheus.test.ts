/** A real Prometheus server scrapes a real agent, and every query of the dashboard has data. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { tryCommand } from '../kit/command.ts';
import { type Guide, startGuide } from '../kit/guide.ts';
import { repositoryFile } from '../kit/node.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';

const AGENT = '127.0.0.1:9962';
const PROMETHEUS = '127.0.0.1:9090';
/** As somebody who comes from Hubble writes it, in the chart's hubble.metrics.enabled. */
const HUBBLE_METRICS =
  'drop:sourceContext=pod|ip;destinationContext=pod|ip flow:labelsContext=source_namespace,destination_namespace tcp icmp policy port-distribution dns';

const test = suite('metrics in Prometheus');
let guide: Guide;
let prometheus: ChildProcess;
let said = '';

test.before(async () => {
  guide = await startGuide('prom', [
    `--metrics-listen-address=${AGENT}`,
    `--hubble-metrics=${HUBBLE_METRICS}`,
    '--cilium-metrics',
  ]);
  const { node } = guide;
  const config = join(node.folder, 'prometheus.yaml');
  await writeFile(
    config,
    `scrape_configs:\n  - job_name: weir\n    scrape_interval: 1s\n    scrape_timeout: 1s\n    static_configs: [{ targets: ['${AGENT}'] }]\n`,
  );
  const [program = '', ...words] = node.netns.enter([
    'prometheus',
    `--config.file=${config}`,
    `--storage.tsdb.path=${join(node.folder, 'prometheus')}`,
    `--web.listen-address=${PROMETHEUS}`,
  ]);
  prometheus = spawn(program, words, { stdio: ['ignore', 'ignore', 'pipe'] });
  prometheus.stderr?.on('data', (chunk: Buffer) => {
    said = (said + chunk.toString()).slice(-8000);
  });
});
test.after(async () => {
  if (prometheus?.exitCode === null) {
    const gone = new Promise((resolve) => prometheus.once('exit', resolve));
    prometheus.kill('SIGTERM');
    await gone;
  }
  await guide?.node.close();
});

interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [number, string];
}

async function query(expression: string): Promise<Sample[]> {
  const words = ['promtool', 'query', 'instant', '--format=json', `http://${PROMETHEUS}`, expression];
  const { code, stdout, stderr } = await tryCommand(guide.node.netns.enter(words), { timeoutMs: 10_000 });
  if (code !== 0) throw new Error(`${expression}: ${stderr}`);
  return JSON.parse(stdout) as Sample[];
}

/** Resolves with the samples once there are some. */
function queried(expression: string): Promise<Sample[]> {
  return until(
    async () => {
      const samples = await query(expression).catch((error: Error) => {
        if (/refused|503/.test(error.message)) return [];
        throw error;
      });
      return samples.length > 0 ? samples : undefined;
    },
    { what: `data for ${expression}`, timeoutMs: 20_000, detail: () => said },
  );
}

/** A little of everything that flows. */
async function traffic(): Promise<void> {
  const { frontend, backend, stranger } = guide.pods;
  for (let i = 0; i < 3; i++) {
    await frontend.peer.tcp({ address: backend.ipv4, port: 8080 });
    await frontend.peer.tcp({ address: backend.ipv6, port: 8080 });
    await stranger.peer.tcp({ address: backend.ipv4, port: 8080, timeoutMs: 200 });
  }
}

test('Prometheus takes the scrape, asked for as OpenMetrics', async () => {
  await traffic();
  assert.is((await queried('up == 1')).length, 1);
  const { stdout } = await tryCommand(
    guide.node.netns.enter([
      'curl',
      '-s',
      '-i',
      '-H',
      'Accept: application/openmetrics-text',
      `http://${AGENT}/metrics`,
    ]),
  );
  assert.match(stdout, /content-type: application\/openmetrics-text/i);
  assert.match(stdout, /\n# EOF\n$/);
  const plain = await tryCommand(guide.node.netns.enter(['curl', '-s', `http://${AGENT}/metrics`]));
  const lint = await tryCommand(['promtool', 'check', 'metrics'], { input: plain.stdout });
  // hubble_* and cilium_* have names of others
  assert.equal(
    (lint.stderr + lint.stdout).split('\n').filter((line) => !/^(hubble_|cilium_|$)/.test(line)),
    [],
  );
});

test('every query of the dashboard has data', async () => {
  const board = JSON.parse(await repositoryFile('charts/weir/files/dashboard.json')) as {
    readonly panels: readonly { readonly title: string; readonly targets?: readonly { readonly expr: string }[] }[];
  };
  const expressions = board.panels.flatMap(({ targets }) => (targets ?? []).map(({ expr }) => expr));
  assert.ok(expressions.length > 20);
  await traffic();
  for (const expression of expressions) {
    await queried(expression.replaceAll('$__rate_interval', '1m').replaceAll('$__range', '5m'));
  }
});

test("what happened is there under Hubble's labels, Weir's rules and Cilium's names", async () => {
  const { backend, stranger } = guide.pods;
  const name = ({ namespace, name }: typeof backend) => `${namespace}/${name}`;
  const drops = await queried(
    `hubble_drop_total{reason="POLICY_DENIED",protocol="TCP",source="${name(stranger)}",destination="${name(backend)}"} >= 3`,
  );
  assert.is(drops.length, 1);
  await queried('hubble_flows_processed_total{type="Trace",subtype="to-endpoint",source_namespace="default"} > 0');
  await queried('hubble_port_distribution_total{protocol="TCP",port="8080"} >= 6');
  await queried('hubble_policy_verdicts_total{direction="ingress",match="l3-l4",action="forwarded"} >= 6');
  const rules = await queried('weir_rule_hits_total{policy="backend-policy",action="allow"} >= 6');
  assert.is(rules.length, 1);
  await queried('time() - weir_rule_last_hit_timestamp_seconds{policy="backend-policy"} < 60');
  await queried('cilium_drop_count_total{reason="Policy denied",direction="INGRESS"} >= 3');
  await queried('cilium_endpoint_state{endpoint_state="ready"} == 5');
});

test('hits of rules go on over a restart of the agent, and weir policy unused tells the rest', async () => {
  const { node } = guide;
  const before = await queried('weir_rule_hits_total{policy="backend-policy",action="allow"}');
  await node.stopAgent();
  await node.startAgent();
  interface Rules {
    readonly rules: readonly {
      readonly policy: { readonly name: string };
      readonly hits: number;
      readonly action: string;
    }[];
  }
  const { rules } = await node.getJson<Rules>('/v1/rules');
  const hits = rules.filter(({ policy, hits }) => policy.name === 'backend-policy' && hits > 0);
  assert.equal(
    hits.map((rule) => rule.hits),
    before.filter(({ value }) => value[1] !== '0').map(({ value }) => Number(value[1])),
  );
  const { code, stdout } = await node.weir('policy', 'unused', '--since', '1h');
  assert.is(code, 0);
  assert.match(stdout, /^0 rules decided nothing for 1h/);
  await assertKept(join(node.folder, 'state/rule-hits.json'));
});

async function assertKept(path: string): Promise<void> {
  assert.is((JSON.parse(await readFile(path, 'utf8')) as { readonly version: number }).version, 1);
}

test.run();
