/** The agent's settings, each declared once, with its sentence. What they are made of is in run/settings.ts. */
import { AGGREGATION_LEVELS } from '../model/aggregation.ts';
import { LOG_FORMATS, LOG_LEVELS } from '../run/log.ts';
import {
  type Expected,
  httpUrl,
  integer,
  name,
  oneOf,
  path,
  patterns,
  powerOfTwo,
  prefix,
  prefixes,
  type Setting,
  text,
  toggle,
} from '../run/settings.ts';

/** Everything that can be set. The key gives the flag and the variable: podCidrV4, --pod-cidr-v4, WEIR_POD_CIDR_V4. */
export const SETTINGS = {
  source: oneOf(['manifests', 'kubernetes'], 'manifests', 'Where the desired state comes from.'),
  kubeconfig: path(
    '',
    'Credentials for the API server, with --source kubernetes; empty: those of the pod the agent runs in.',
  ),
  kubernetesServer: text(
    '',
    'URL',
    'Address of the API server in place of the one in the credentials, e.g. https://192.0.2.1:6443.',
  ),
  kubernetesNamespace: name('kube-system', 'Namespace of the agents: of their Lease and their Secrets.'),
  manifests: path('/etc/weir/manifests', 'Directory whose *.yaml, *.yml and *.json files are the desired state.'),
  manifestsRescanSeconds: integer(
    10,
    [1, 3600],
    'SECONDS',
    'The directory is read again this often, in case a change was not noticed.',
  ),
  nodeName: name('', "Name of this node; empty: the machine's host name."),
  clusterName: name('default', "Value of the cluster label in pods' identities."),
  podCidrV4: prefix('10.244.0.0/24', 4, "IPv4 addresses for this node's pods."),
  podCidrV6: prefix('fd00:10:244::/64', 6, "IPv6 addresses for this node's pods."),

  addressRestSeconds: integer(
    5,
    [0, 3600],
    'SECONDS',
    'How long the address of a pod that went stays unused, for other nodes to hear of it; with --source kubernetes.',
  ),

  routingMode: oneOf(
    ['none', 'native', 'tunnel'],
    'none',
    "How packets reach pods of other nodes: by the network's own routes (native, written by the agent), by VXLAN (tunnel), or not at all.",
  ),
  tunnelPort: integer(8472, [1, 65535], 'PORT', 'UDP port of the VXLAN tunnel, the same on all nodes.'),
  underlay: oneOf(
    ['auto', 'ipv4', 'ipv6'],
    'auto',
    "Family of the tunnel's outer packets; auto: that of the node's first address.",
  ),
  uplinkDevices: text(
    '',
    'NAMES',
    "Devices that lead to other nodes, separated by commas; empty: those that have the node's addresses.",
  ),
  masquerade: toggle(false, 'Packets of pods that leave the cluster carry an address of the node.'),
  masqueradeExcludedCidrs: prefixes(
    '',
    'CIDRS',
    'Destinations outside the pod ranges that see the addresses of pods, separated by commas.',
  ),
  clusterPodCidrs: prefixes('', 'CIDRS', "All pods of the cluster, separated by commas; empty: the nodes' pod CIDRs."),
  denyCidrsFile: path('', 'File of CIDRs, one a line, whose packets the uplink drops first of all; empty: none.'),
  services: toggle(false, "Pods and the node's own processes reach Services by their cluster addresses."),
  cgroupDirectory: path(
    '',
    "cgroup2 directory whose processes reach Services when they connect; empty: the machine's cgroup2 mount.",
  ),

  runDirectory: path('/run/weir', 'Directory of the sockets.'),
  stateDirectory: path('/var/lib/weir', 'Directory of what must survive a restart. One agent at a time.'),
  pinDirectory: path(
    '/sys/fs/bpf/weir',
    'Directory on bpffs of the pinned programs and maps. Each node of a machine needs its own.',
  ),
  cniSocket: path('', 'Socket the CNI plugin talks to; empty: cni.sock in the run directory.'),
  apiSocket: path('', 'Socket of the HTTP API; empty: api.sock in the run directory.'),
  listenAddress: text(
    '',
    'ADDRESS:PORT',
    'TCP address on which the API listens too, e.g. 127.0.0.1:4240; empty: none.',
  ),
  listenUnsafe: toggle(false, 'Allows a listen address that is not loopback. The API has no authentication.'),
  hubbleSocket: path('', "Socket of Hubble's gRPC API, for the stock `hubble` client; empty: none."),
  hubbleListenAddress: text(
    '',
    'ADDRESS:PORT',
    "TCP address of Hubble's gRPC API with TLS, e.g. 0.0.0.0:4244; empty: none. Needs the three files below.",
  ),
  hubbleTlsCertFile: path(
    '',
    "Certificate of Hubble's gRPC API, PEM. The three files are read again when they change.",
  ),
  hubbleTlsKeyFile: path('', 'Its key, PEM.'),
  hubbleTlsClientCaFile: path(
    '',
    "CAs of the clients of Hubble's gRPC API, PEM: no client without a certificate of theirs.",
  ),

  apiTlsListenAddress: text(
    '',
    'ADDRESS:PORT',
    "TCP address of the HTTP API with TLS, e.g. 0.0.0.0:4243, for other agents (scope=cluster) and for tokens the API server knows; empty: none. Needs the three files of Hubble's API, and the same port on all nodes.",
  ),
  healthListenAddress: text(
    '',
    'ADDRESS:PORT',
    'TCP address that answers /livez and /healthz and nothing else, for probes, e.g. 127.0.0.1:9879; empty: none.',
  ),
  metricsListenAddress: text(
    '',
    'ADDRESS:PORT',
    'TCP address that answers /metrics and nothing else, for Prometheus, e.g. 0.0.0.0:9962; empty: none.',
  ),

  cniInstall: toggle(false, 'Puts the CNI plugin and, once the agent can serve, its configuration in place.'),
  cniBinDirectory: path('/opt/cni/bin', 'Where the container runtime looks for CNI plugins.'),
  cniConfDirectory: path('/etc/cni/net.d', 'Where the container runtime looks for CNI configurations.'),
  cniConfName: text(
    '05-weir.conflist',
    'NAME',
    'File name of the CNI configuration; runtimes take the first one in the order of names.',
  ),
  cniExclusive: toggle(true, 'Other CNI configurations are put aside (*.weir_bak) while ours is in place.'),

  mtuBytes: integer(0, [0, 65535], 'BYTES', "MTU of the pods' interfaces; 0: that of the default route's device."),
  attachMode: oneOf(
    ['auto', 'tcx', 'clsact'],
    'auto',
    'How programs are attached; auto: tcx where the kernel has it (6.6), else clsact.',
  ),
  xdpMode: oneOf(
    ['auto', 'native'],
    'auto',
    'Where the guard on the uplinks runs: as XDP, by the kernel where the driver has none (auto), which copies large packets; or as XDP only where the driver has it, else at the head of tc ingress (native).',
  ),
  policyEnforcement: oneOf(
    ['default', 'always', 'never'],
    'default',
    'Isolate pods that a policy selects (default), all pods (always), or none (never).',
  ),
  allowLocalHost: toggle(true, 'The node itself may reach its pods unless a rule denies it (kubelet probes).'),
  cidrMatchesNodes: toggle(false, 'CIDR rules of Cilium policies match nodes too.'),
  identityLabels: patterns(
    '',
    'PATTERNS',
    'Which labels of pods make identities, as in Cilium\'s option "labels": "app k8s:team !build"; empty: all but the well-known noise.',
  ),
  identityGraceSeconds: integer(600, [0, 86400], 'SECONDS', 'How long an identity nobody uses keeps its number.'),
  newConnectionsPerSecond: integer(
    2000,
    [1, 1_000_000],
    'COUNT',
    'New connections a pod may open per second, over a longer time.',
  ),
  newConnectionsBurst: integer(10_000, [1, 10_000_000], 'COUNT', 'New connections a pod may open at once.'),

  addDeadlineMs: integer(10_000, [100, 600_000], 'MS', 'Longest a CNI ADD may take before it fails with "try again".'),
  podWaitMs: integer(5000, [0, 600_000], 'MS', 'How long an ADD waits for the pod to appear in the source.'),

  flowMemoryMiB: integer(32, [1, 4096], 'MIB', 'Memory for the history of flows.'),
  flowHistoryDirectory: path(
    '',
    'Where flows are kept on disk too, for longer than memory holds and over restarts; empty: nowhere.',
  ),
  flowHistoryMaxMiB: integer(1024, [16, 1_048_576], 'MIB', 'Size of the flows on disk; beyond it the oldest go.'),
  flowHistoryMaxHours: integer(168, [1, 87_600], 'HOURS', 'Age of the flows on disk; what is older goes.'),
  ringBufferMiB: powerOfTwo(2, [1, 1024], 'MIB', 'Size of the ring buffer between the kernel and the agent.'),
  eventQueueRecords: integer(
    65_536,
    [1024, 16_777_216],
    'COUNT',
    'Flow events that may wait between the event thread and the agent.',
  ),
  subscriberQueueFlows: integer(
    4096,
    [16, 1_048_576],
    'COUNT',
    'Flows that may wait for a reader of a followed stream before some are dropped and counted.',
  ),
  exportFile: path('', "File that flows are written to as they happen, in Hubble's JSON, one a line; empty: none."),
  exportFileMaxMiB: integer(10, [1, 65_536], 'MIB', 'Size at which the file is put aside and a new one begun.'),
  exportFileBackups: integer(5, [0, 1000], 'COUNT', 'Files put aside that are kept.'),
  exportFileCompress: toggle(false, 'Files put aside are gzipped.'),
  exportOtlpUrl: httpUrl(
    'Collector that flows are sent to as OTLP/HTTP logs, e.g. http://collector:4318/v1/logs; empty: none.',
  ),
  exportOtlpHeadersFile: path(
    '',
    'Headers that are sent with them, such as a token, as in OTEL_EXPORTER_OTLP_HEADERS: NAME=VALUE, the value percent-encoded, separated by commas or lines; read again for each batch; empty: those of that variable.',
  ),
  exportOtlpCaFile: path(
    '',
    "PEM file whose certificates the collector is known by; empty: that of OTEL_EXPORTER_OTLP_CERTIFICATE, or the system's.",
  ),
  exportAllowList: text(
    '',
    'FILTERS',
    'Flows that are exported: JSON FlowFilters as `hubble observe --print-raw-filters` prints them, one after the other; empty: all.',
  ),
  exportDenyList: text('', 'FILTERS', 'Flows of those that are not exported.'),
  exportFieldMask: text(
    '',
    'PATHS',
    'Fields that are exported, e.g. "time source.pod_name verdict extensions"; empty: all but extensions and node_labels.',
  ),
  hubbleMetrics: text(
    '',
    'METRICS',
    'Hubble\'s metrics with labels of your choice, written as Hubble\'s --metrics: "drop:sourceContext=pod|ip flow tcp"; empty: drop and flow without more labels.',
  ),
  ciliumMetrics: toggle(false, "Offers cilium_* metrics too, for boards made for Cilium's agent."),
  metricSeriesMax: integer(
    10_000,
    [1, 1_000_000],
    'COUNT',
    'Most series of one metric whose labels come from the cluster; what finds no room is counted.',
  ),
  flowAggregation: oneOf(
    AGGREGATION_LEVELS,
    'medium',
    'How much is told of connections that are allowed: every packet (none), their beginning and end (maximum), or signs of life between. A pod may ask for another level by the annotation weir.dev/flow-aggregation.',
  ),
  reportIntervalSeconds: integer(
    5,
    [0, 3600],
    'SECONDS',
    'How often a connection with traffic is told of at the level medium; 0: with every packet.',
  ),

  logLevel: oneOf(LOG_LEVELS, 'info', 'Least severe messages that are logged.'),
  logFormat: oneOf(LOG_FORMATS, 'text', 'Form of the log on stderr.'),
} as const satisfies Record<string, Setting<unknown>>;

export type SettingName = keyof typeof SETTINGS;
/** As read, each by itself. */
export type Values = { readonly [K in SettingName]: Exclude<ReturnType<(typeof SETTINGS)[K]['read']>, Expected> };

export const SETTING_NAMES = Object.keys(SETTINGS) as SettingName[];
