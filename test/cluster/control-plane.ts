/**
 * etcd, API server, controller manager and scheduler, in a namespace of their own that is not a node. As loopback is the
 * namespace's own, their ports are the usual ones in every cluster.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { get } from 'node:https';
import { join } from 'node:path';
import { Netns } from '../kit/netns.ts';
import { stockProgram } from '../kit/stock.ts';
import { until } from '../kit/until.ts';
import { CONTROL_PLANE, families, machineLink, POD_RANGE, SERVICE_RANGE } from './addresses.ts';
import { apiServerNames, CertificateAuthority, type KeyPair, kubeconfig } from './certificates.ts';
import type { ClusterPaths } from './paths.ts';
import { end, endOf, isRunning, launch, signal } from './program.ts';
import { type ClusterRecord, save } from './record.ts';

const PARTS = ['etcd', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler'] as const;
export type ControlPlanePart = (typeof PARTS)[number];

/** The API server takes a minute to end while clients hang on; that much nobody has. */
const END_GRACE_MS = 1000;
const START_LIMIT_MS = 60_000;

export class ControlPlane {
  readonly netns: Netns;
  readonly authority: CertificateAuthority;
  readonly #paths: ClusterPaths;
  readonly #record: ClusterRecord;

  constructor(paths: ClusterPaths, record: ClusterRecord) {
    this.#paths = paths;
    this.#record = record;
    this.netns = new Netns(paths.netns('control-plane'));
    this.authority = new CertificateAuthority(paths.certificates);
  }

  /** Where nodes and pods of the host network find the API server. */
  get server(): string {
    return `https://${CONTROL_PLANE.v4}:6443`;
  }

  /** Makes what the parts need before their first start: certificates, and a person's kubeconfig. */
  async prepare(): Promise<void> {
    await this.authority.make();
    const admin = await this.authority.issue({ file: 'admin', user: 'admin', group: 'system:masters' });
    const server = `https://${machineLink(this.#record.number).controlPlane}:6443`;
    writeFileSync(this.#paths.kubeconfig, kubeconfig(server, this.authority, admin, this.#record.name), {
      mode: 0o600,
    });
    mkdirSync(this.#paths.etcd, { recursive: true, mode: 0o700 });
  }

  /** Starts what does not run; resolves when all of it is ready. */
  async start(): Promise<void> {
    const [etcd, apiServer, controllers, scheduler] = await Promise.all([
      this.#etcd(),
      this.#apiServer(),
      this.#controllerManager(),
      this.#scheduler(),
    ]);
    await this.#startPart('etcd', etcd);
    await this.#startPart('kube-apiserver', apiServer);
    await this.#ready('kube-apiserver', 6443, '/readyz');
    // Both are ready when they serve: they retry what they cannot have yet.
    await this.#startPart('kube-controller-manager', controllers);
    await this.#startPart('kube-scheduler', scheduler);
    await this.#ready('kube-controller-manager', 10257, '/healthz');
    await this.#ready('kube-scheduler', 10259, '/healthz');
  }

  /** Stops all, or the named ones; what etcd has written stays. */
  async stop(...parts: ControlPlanePart[]): Promise<void> {
    const wanted = parts.length === 0 ? PARTS : parts;
    await Promise.all(
      wanted.map(async (part) => {
        const program = this.#record.programs[part];
        if (program !== undefined) await end(program, END_GRACE_MS);
      }),
    );
  }

  /** Takes connections and answers nothing until resume(): how a watch stalls. */
  pause(part: ControlPlanePart): void {
    this.#signal(part, 'SIGSTOP');
  }

  resume(part: ControlPlanePart): void {
    this.#signal(part, 'SIGCONT');
  }

  /**
   * Makes etcd forget all versions but the last. A watch from an older one gets 410 Gone once the API server, which remembers
   * some itself, was started again.
   */
  async compact(): Promise<void> {
    // The JSON gateway of etcd's own API (etcd documentation, "gRPC gateway"); keys and revisions are base64 and text there.
    const ask = (path: string, body: object) =>
      this.netns.run(['curl', '-fsS', '-d', JSON.stringify(body), `http://127.0.0.1:2379${path}`]);
    const { header } = JSON.parse(await ask('/v3/kv/range', { key: 'AA==' }));
    await ask('/v3/kv/compaction', { revision: header.revision, physical: true });
  }

  #signal(part: ControlPlanePart, name: NodeJS.Signals): void {
    const program = this.#record.programs[part];
    if (program === undefined || !isRunning(program)) throw new Error(`${part} does not run`);
    signal(program, name);
  }

  async #startPart(part: ControlPlanePart, words: readonly string[]): Promise<void> {
    const running = this.#record.programs[part];
    if (running !== undefined && isRunning(running)) return;
    this.#record.programs[part] = await launch({
      words,
      cgroup: this.#paths.cgroup('control-plane'),
      enter: this.netns.enter([]),
      log: this.#paths.log(part),
    });
    save(this.#record);
  }

  async #ready(part: ControlPlanePart, port: number, path: string): Promise<void> {
    const url = `https://${machineLink(this.#record.number).controlPlane}:${port}${path}`;
    const program = this.#record.programs[part];
    await until(
      async () => {
        if (program === undefined || !isRunning(program))
          throw new Error(`${part} has ended\n${endOf(this.#paths.log(part))}`);
        return answersOk(url);
      },
      {
        what: `${part} to be ready`,
        timeoutMs: START_LIMIT_MS,
        everyMs: 50,
        detail: () => endOf(this.#paths.log(part)),
      },
    );
  }

  async #etcd(): Promise<string[]> {
    return [
      'etcd',
      '--name=etcd',
      `--data-dir=${this.#paths.etcd}`,
      '--listen-client-urls=http://127.0.0.1:2379',
      '--advertise-client-urls=http://127.0.0.1:2379',
      '--listen-peer-urls=http://127.0.0.1:2380',
      '--initial-advertise-peer-urls=http://127.0.0.1:2380',
      '--initial-cluster=etcd=http://127.0.0.1:2380',
      '--quota-backend-bytes=2147483648',
      '--unsafe-no-fsync',
      '--log-level=warn',
    ];
  }

  async #apiServer(): Promise<string[]> {
    const { authority } = this;
    const [server, kubeletClient] = await Promise.all([
      authority.issue({ file: 'kube-apiserver', user: 'kube-apiserver', names: apiServerNames(this.#record.number) }),
      authority.issue({ file: 'kubelet-client', user: 'kube-apiserver-kubelet-client', group: 'system:masters' }),
    ]);
    return [
      stockProgram('kube-apiserver'),
      '--etcd-servers=http://127.0.0.1:2379',
      `--advertise-address=${CONTROL_PLANE.v4}`,
      `--service-cluster-ip-range=${this.#both(SERVICE_RANGE)}`,
      `--tls-cert-file=${server.certificate}`,
      `--tls-private-key-file=${server.key}`,
      `--client-ca-file=${authority.certificate}`,
      `--kubelet-client-certificate=${kubeletClient.certificate}`,
      `--kubelet-client-key=${kubeletClient.key}`,
      // A node's name is in no DNS: exec, logs and port-forward go to its address.
      '--kubelet-preferred-address-types=InternalIP',
      '--service-account-issuer=https://kubernetes.default.svc.cluster.local',
      `--service-account-key-file=${authority.serviceAccountKey}`,
      `--service-account-signing-key-file=${authority.serviceAccountKey}`,
      '--authorization-mode=Node,RBAC',
      '--enable-admission-plugins=NodeRestriction',
      '--allow-privileged=true',
      ...this.#audit(),
    ];
  }

  /** What the agents ask for, a JSON line each (audit.k8s.io/v1 Event): so that tests can see which rights are used. */
  #audit(): string[] {
    const policy = {
      apiVersion: 'audit.k8s.io/v1',
      kind: 'Policy',
      omitStages: ['RequestReceived'],
      rules: [{ level: 'Metadata', users: ['system:serviceaccount:kube-system:weir'] }, { level: 'None' }],
    };
    const file = `${this.#paths.folder}/audit-policy.json`;
    writeFileSync(file, JSON.stringify(policy));
    return [`--audit-policy-file=${file}`, `--audit-log-path=${this.#paths.log('audit')}`];
  }

  async #controllerManager(): Promise<string[]> {
    const file = await this.#clientConfig('kube-controller-manager');
    return [
      stockProgram('kube-controller-manager'),
      ...this.#clientFlags(file),
      '--allocate-node-cidrs=true',
      `--cluster-cidr=${this.#both(POD_RANGE)}`,
      `--service-cluster-ip-range=${this.#both(SERVICE_RANGE)}`,
      `--service-account-private-key-file=${this.authority.serviceAccountKey}`,
      '--use-service-account-credentials=true',
      `--root-ca-file=${this.authority.certificate}`,
      `--cluster-signing-cert-file=${this.authority.certificate}`,
      `--cluster-signing-key-file=${this.authority.key}`,
    ];
  }

  async #scheduler(): Promise<string[]> {
    return [stockProgram('kube-scheduler'), ...this.#clientFlags(await this.#clientConfig('kube-scheduler'))];
  }

  #clientFlags(file: string): string[] {
    return [
      `--kubeconfig=${file}`,
      `--authentication-kubeconfig=${file}`,
      `--authorization-kubeconfig=${file}`,
      '--leader-elect=false',
    ];
  }

  async #clientConfig(part: ControlPlanePart): Promise<string> {
    const pair = await this.authority.issue({ file: part, user: `system:${part}` });
    return this.writeKubeconfig(part, pair);
  }

  /** A kubeconfig for use on the cluster's own network. Returns its path. */
  writeKubeconfig(name: string, client: KeyPair): string {
    const file = join(this.#paths.certificates, `${name}.kubeconfig`);
    writeFileSync(file, kubeconfig(this.server, this.authority, client, this.#record.name), { mode: 0o600 });
    return file;
  }

  #both(ranges: typeof POD_RANGE): string {
    return families(ranges, this.#record.dualStack).join(',');
  }
}

/** These paths are open to anybody; of whom the answer is does not matter here. */
function answersOk(url: string): Promise<boolean> {
  return new Promise((resolve) => {
    const request = get(url, { rejectUnauthorized: false, agent: false, timeout: 2000 }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    request.on('timeout', () => request.destroy());
    request.on('error', () => resolve(false));
  });
}
