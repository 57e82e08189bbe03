/**
 * weir-agent: the composition root. Settings, then the parts, then how they are joined, then run until a signal. No
 * decisions are made here.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import packageJson from '../package.json' with { type: 'json' };
import type { NodeLabels } from './api/hubble/flow-message.ts';
import { openHubble } from './api/hubble/open.ts';
import type { HubbleServer } from './api/hubble/server.ts';
import { createMetrics } from './api/metrics.ts';
import { openApis } from './api/open.ts';
import { openDeleteQueue } from './cni/replay.ts';
import type { CniReadiness } from './cni/request.ts';
import { startCniServer } from './cni/server.ts';
import { type Config, readConfig } from './config/config.ts';
import { describeSettings } from './config/reference.ts';
import { createKernelDatapath } from './datapath/kernel.ts';
import { cgroupDirectory } from './datapath/program/cgroup.ts';
import { localPrefixes } from './datapath/wiring/node.ts';
import { createEndpoints } from './endpoint/lifecycle.ts';
import { netnsExists } from './endpoint/netns.ts';
import { openRecordStore } from './endpoint/record-store.ts';
import { openRestingAddresses } from './endpoint/resting-addresses.ts';
import { asWeirError, ERRORS, WeirError } from './errors.ts';
import type { Exporter } from './export/export.ts';
import { exportProblems } from './export/problems.ts';
import { archiveProblems, openArchive } from './flow/archive/open.ts';
import { FlowHistory } from './flow/history.ts';
import { HubbleMetrics } from './flow/metrics/hubble-metrics.ts';
import { readMetricSpecifications } from './flow/metrics/specification.ts';
import { openRuleHits } from './flow/rule-hits-file.ts';
import { labelFilter } from './identity/label-filter.ts';
import { allowCniConfiguration, installCniPlugin, writeCniConfiguration } from './install/cni.ts';
import { cniFilesOf } from './install/cni-files.ts';
import { createPool } from './ipam/pool.ts';
import { agentReport, announcedEndpoints, announcing } from './join/announce.ts';
import { join as joinOthers } from './join/join.ts';
import type { Labels } from './model/labels.ts';
import type { Namespace, Pod, Problem } from './model/object.ts';
import { podLabels } from './model/pod-labels.ts';
import { createEngine } from './policy/engine.ts';
import { readLastValid, writeLastValid } from './realize/last-valid.ts';
import { createUpkeep, needsUpkeep, selfOf } from './realize/node-upkeep.ts';
import { createRealizer } from './realize/realizer.ts';
import { createView } from './realize/view.ts';
import { takeLock } from './run/lock.ts';
import { createLogger, type Logger } from './run/log.ts';
import { listenForLogLevel } from './run/log-level.ts';
import { type Loop, startLoop } from './run/loop.ts';
import { createReadiness } from './run/readiness.ts';
import { listenForShutdown } from './run/shutdown.ts';

/** DEL answers within this; below the 30 s weir-cni waits. */
const DELETE_DEADLINE_MS = 20_000;
const SHUTDOWN_DEADLINE_MS = 10_000;
/** How often what nothing announces is looked at. */
const CHORES_MS = {
  connections: 5000,
  endpoints: 2000,
  localAddresses: 2000,
  node: 2000,
  report: 2000,
  cniConfiguration: 10_000,
  identities: 60_000,
  ruleHits: 30_000,
} as const;

/** What is told sooner is looked at at most so often: nodes join by the hundred. */
const NEWS_MS = 200;

const NO_LABELS = {};

async function run(config: Config, log: Logger): Promise<void> {
  const startedAt = Date.now();
  const wantedMetrics = readMetricSpecifications(config.hubbleMetrics);
  if (wantedMetrics.errors.length > 0) {
    throw new WeirError('CONFIG_INVALID', 'read settings', `--hubble-metrics: ${wantedMetrics.errors.join('\n')}`);
  }
  if (wantedMetrics.silent.length > 0) {
    log.warn('metrics of layer 7 count nothing: no such events are seen', { metrics: wantedMetrics.silent.join(' ') });
  }
  const shutdown = listenForShutdown({ deadlineMs: SHUTDOWN_DEADLINE_MS, log });
  const { signal } = shutdown;
  for (const folder of [config.runDirectory, config.stateDirectory]) {
    await mkdir(folder, { recursive: true, mode: 0o700 });
  }
  const lock = await takeLock(config.stateDirectory);
  const readiness = createReadiness([
    'the endpoints of before the restart',
    'the first policies in force',
    'the CNI socket',
    ...(needsUpkeep(config) ? ['the ways to other nodes'] : []),
  ]);
  const joined = await joinOthers({ config, version: packageJson.version, log, signal });
  const { podCidrs, identities, source } = joined;
  const self = { nodeName: config.nodeName, podCidrs, addresses: joined.addresses };

  // ---- the parts, from the kernel up
  const datapath = await createKernelDatapath({ config, log: log.with({ part: 'datapath' }) });
  const lastValid = await readLastValid(config.stateDirectory);
  const policySettings = {
    enforcement: config.policyEnforcement,
    clusterName: config.clusterName,
    allowLocalHost: config.allowLocalHost,
    cidrMatchesNodes: config.cidrMatchesNodes,
  };
  const engine = createEngine({
    ...policySettings,
    ...(await datapath.firstNumbers()),
    now: startedAt,
  });
  const relevant = labelFilter(config.identityLabels);
  const labelsOf = (pod: Pod, namespace: Namespace | undefined): Labels => relevant(podLabels(pod, namespace, config));
  let hubble: HubbleServer | undefined;
  let exports: readonly Exporter[] = [];
  let networkLoop: Loop | undefined;
  const realizer = createRealizer({
    engine,
    datapath,
    identities,
    nodeName: config.nodeName,
    podCidrs,
    clusterPodCidrs: config.clusterPodCidrs,
    tunnel: config.routingMode === 'tunnel',
    underlay: config.underlay === 'auto' ? 'auto' : config.underlay === 'ipv4' ? 4 : 6,
    podsArePublished: joined.podsArePublished,
    services: config.services,
    labelsOf,
    onNodes: () => networkLoop?.trigger(),
    log: log.with({ part: 'realize' }),
    lastValid: lastValid.documents,
    keepDocuments: (documents) => writeLastValid(config.stateDirectory, documents),
    onAddresses: (change) => hubble?.addressesChanged(change),
    onRevision() {
      joined.announce(announcedEndpoints(realizer));
      hubble?.changed();
    },
    now: Date.now,
  });
  joined.onRenumbered(realizer.renumber);
  const upkeep = needsUpkeep(config)
    ? createUpkeep({
        network: (await import('./network/network.ts')).createNetwork({
          settings: config,
          log: log.with({ part: 'network' }),
        }),
        datapath,
        realizer,
        ...self,
        denyFile: config.denyCidrsFile,
        cgroup: config.services ? await cgroupDirectory(config.cgroupDirectory) : undefined,
        log: log.with({ part: 'network' }),
      })
    : undefined;
  const archive = await openArchive(config, log.with({ part: 'flow' }));
  const flows = new FlowHistory({
    archive,
    node: config.nodeName,
    names: realizer.names,
    memoryBytes: config.flowMemoryMiB << 20,
    ringLost: () => datapath.counters().eventsLost,
  });
  const hubbleMetrics = new HubbleMetrics(wantedMetrics.metrics, {
    most: config.metricSeriesMax,
    isThere: realizer.names.isThere,
    now: () => performance.now(),
  });
  if (wantedMetrics.metrics.length > 0) flows.watch(hubbleMetrics.count);
  const ruleHits = await openRuleHits(config.stateDirectory, flows.rules);
  datapath.onEvents(flows.listener);
  const records = await openRecordStore(join(config.stateDirectory, 'endpoints'));
  const pool = createPool(podCidrs, {
    restMs: joined.podsArePublished ? config.addressRestSeconds * 1000 : 0,
    now: () => performance.now(),
  });
  const resting = await openRestingAddresses(config.stateDirectory);
  pool.rest(resting.addresses);
  const endpoints = createEndpoints({
    datapath,
    pool,
    store: records,
    realize: announcing(realizer, joined),
    podMtu: () => upkeep?.podMtu() ?? config.mtuBytes,
    log: log.with({ part: 'endpoint' }),
    addDeadlineMs: config.addDeadlineMs,
    podDeadlineMs: config.podWaitMs,
    deleteDeadlineMs: DELETE_DEADLINE_MS,
    netnsExists,
    onAdded: (seconds, outcome) => metrics.cniRequest('ADD', outcome === 'ok' ? 0 : ERRORS[outcome].cni, seconds),
  });
  // ---- the way up: what people and programs may ask, also while the agent starts
  const ownProblems: Problem[] = [...lastValid.problems, ...ruleHits.problems, ...resting.problems];
  const view = createView({
    version: packageJson.version,
    nodeName: config.nodeName,
    startedAt,
    sourceName: source.name,
    engine,
    datapath,
    realizer,
    flows,
    pending: readiness.pending,
    problems: () => [
      ...ownProblems,
      ...archiveProblems(archive),
      ...exportProblems(exports),
      ...identities.problems(),
      ...(upkeep?.problems() ?? []),
    ],
    unattached: () => datapath.unattached(),
    policy: () => ({ ...policySettings, labelsOf, lastValid: engine.lastValid(), now: Date.now() }),
  });
  const metrics = createMetrics(view, {
    hubble: hubbleMetrics,
    cilium: config.ciliumMetrics,
    seriesMax: config.metricSeriesMax,
    exports: () => exports,
  });
  const keepRuleHits = (): Promise<void> => {
    const rules = view.policies().flatMap((policy) => policy.rules.map(({ id }) => id));
    return ruleHits.keep(rules, Date.now());
  };
  // in a cluster agents say where they are; manifests say it for them
  const { withAgent, records: nodeRecords } = realizer.desired.nodes;
  const agents = config.source === 'kubernetes' ? withAgent : nodeRecords;
  const apis = await openApis({
    config,
    state: view,
    metrics,
    agents,
    judge: joined.access,
    log: log.with({ part: 'api' }),
  });
  const nodeLabels = () => realizer.desired.inventory.nodes.get(config.nodeName)?.labels ?? NO_LABELS;
  hubble = await openHubble(
    config,
    {
      flows,
      startedAt,
      nodes: withAgent,
      state: view,
      names: realizer.names,
      nodeLabels,
      version: packageJson.version,
      refused: metrics.hubbleRefused,
    },
    log.with({ part: 'hubble' }),
  );

  exports = await openExports(config, flows, nodeLabels, log.with({ part: 'export' }));

  // ---- the way down: what was there before, then what is wanted, then new pods
  const restored = await endpoints.restore();
  ownProblems.push(...restored.problems);
  for (const record of restored.endpoints) void realizer.admit(record, undefined).catch(() => {}); // seen by turn()
  readiness.done('the endpoints of before the restart');
  if (config.cniInstall) {
    await allowCniConfiguration(cniFilesOf(config));
    for (const change of await installCniPlugin(cniFilesOf(config))) log.info(change);
  }
  const loop = (name: string, everyMs: number, work: () => Promise<unknown> | unknown) =>
    startLoop({
      name,
      minMs: NEWS_MS,
      retryMs: everyMs,
      resyncMs: everyMs,
      signal,
      run: async () => void (await work()),
      onError: (cause, failures) => log.error(`${name} failed; tried again`, { cause, failures }),
    });
  await upkeep?.run();
  // Before there is news of nodes. A pod that runs is to reach those that are known; what cannot be done is told, and no reason to wait.
  networkLoop =
    upkeep &&
    loop("looking after the node's network", CHORES_MS.node, async () => {
      const isKnown = !readiness.pending().includes('the first policies in force');
      await upkeep.run().finally(() => isKnown && readiness.done('the ways to other nodes'));
    });
  realizer.setLocalAddresses(await localPrefixes());
  const sourceEnded = source.run(realizer, signal).catch((error: unknown) => {
    log.error('the source cannot work', { cause: error });
    shutdown.begin('the source cannot work');
  });
  void realizer.firstRealized.then(() => {
    readiness.done('the first policies in force');
    networkLoop?.trigger();
  });
  const queue = await openDeleteQueue({
    folder: join(config.stateDirectory, 'cni-queue'),
    del: (key) => endpoints.del(key),
    log: log.with({ part: 'cni' }),
  });
  const cni = await startCniServer({
    socketPath: config.cniSocket,
    endpoints,
    queue,
    readiness: (): CniReadiness => {
      const [waitingFor] = readiness.pending();
      if (waitingFor !== undefined) {
        const trouble = [...realizer.problemsByPlace.values()].flat().find(({ severity }) => severity === 'error');
        return { state: 'starting', reason: `waiting for ${waitingFor}${trouble ? `: ${trouble.message}` : ''}` };
      }
      const { failure, isApplied } = realizer;
      return failure && !isApplied ? { state: 'degraded', reason: failure.message } : { state: 'ready' };
    },
    log: log.with({ part: 'cni' }),
  });
  await queue.replay();
  readiness.done('the CNI socket');

  // ---- chores
  const writeConfiguration = async (): Promise<void> => {
    if (!config.cniInstall || readiness.pending().length > 0) return;
    for (const change of await writeCniConfiguration(cniFilesOf(config))) log.info(change);
  };
  const chore = (...words: Parameters<typeof loop>) => loop(...words).stopped;
  const chores = [
    networkLoop?.stopped,
    chore('telling the other nodes', CHORES_MS.report, () =>
      joined.report(() => agentReport(view, selfOf(realizer, self))),
    ),
    chore('keeping the CNI configuration', CHORES_MS.cniConfiguration, writeConfiguration),
    chore('collecting expired connections', CHORES_MS.connections, () => datapath.collectConnections()),
    chore('looking after endpoints', CHORES_MS.endpoints, () => endpoints.collect()),
    chore('applying kept DELs', CHORES_MS.endpoints, () => queue.replay()),
    chore('reading local addresses', CHORES_MS.localAddresses, () => localPrefixes().then(realizer.setLocalAddresses)),
    chore('keeping what the rules decided', CHORES_MS.ruleHits, keepRuleHits),
    chore('collecting identities', CHORES_MS.identities, () => identities.collect().then(realizer.askAgain)),
  ];
  await readiness.ready;
  await writeConfiguration();
  await joined.ready();
  log.info('ready', { node: config.nodeName, source: source.name, endpoints: restored.endpoints.length });

  // ---- until a signal; what is pinned goes on without us
  await new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
  await Promise.all([apis, hubble, ...exports, cni].map((server) => server?.close()));
  await Promise.all([sourceEnded, ...chores]);
  await keepRuleHits();
  await resting.keep(pool.resting()).catch((cause: unknown) => {
    log.warn('which addresses rest cannot be written down: the next run may give them at once', { cause });
  });
  realizer.stop();
  await datapath.close();
  await archive?.close();
  records.close();
  await identities.close();
  await joined.close();
  await lock.release();
  shutdown.finished();
  log.info('stopped');
}

/** Where flows go as they happen, if anywhere; only then it is loaded. */
async function openExports(config: Config, history: FlowHistory, nodeLabels: () => NodeLabels, log: Logger) {
  if (!config.exportFile && !config.exportOtlpUrl) return [];
  const { nodeName: node, clusterName: cluster } = config;
  const teller = { node, run: history.run, cluster, version: packageJson.version, nodeLabels };
  const { openExports: open } = await import('./export/open.ts');
  return open({ config, history, teller, log });
}

const asksFor = (...words: readonly string[]): boolean => process.argv.slice(2).some((word) => words.includes(word));
if (asksFor('--help', '-h')) {
  process.stdout.write(`Usage: weir-agent [flags]\n       weir-agent --version\n\n${describeSettings()}\n`);
} else if (asksFor('--version')) {
  process.stdout.write(`weir-agent ${packageJson.version}\n`);
} else {
  let log = createLogger({ level: 'info', format: 'text' });
  try {
    const config = readConfig({ args: process.argv.slice(2), environment: process.env });
    log = createLogger({ level: config.logLevel, format: config.logFormat });
    listenForLogLevel(log, config.logLevel);
    await run(config, log);
  } catch (cause) {
    const error = asWeirError(cause, 'start');
    if (error instanceof WeirError && error.code === 'CONFIG_INVALID') process.stderr.write(`${error.message}\n`);
    else log.error('the agent cannot run', { code: error.code, cause: error });
    process.exit(error.code === 'CONFIG_INVALID' ? 2 : 1);
  }
}
