/** Flags that several commands share. */
import type { Flag } from '../run/flags.ts';

export const DEFAULT_SERVER = 'unix:///run/weir/api.sock';

/** Where the chart is usually installed. */
export const AGENT_NAMESPACE = 'kube-system';

/** Of every command. */
export const SHARED_FLAGS: readonly Flag[] = [
  {
    name: 'server',
    value: 'ADDRESS',
    sentence: `The agent: unix:///PATH, or http://HOST:PORT [$WEIR_SERVER, else ${DEFAULT_SERVER} if it is there]`,
  },
  {
    name: 'node',
    value: 'NAME',
    repeat: true,
    sentence: "The agent of this node, through the cluster's API server; may be repeated",
  },
  { name: 'all-nodes', short: 'A', sentence: 'The agents of all nodes [where there is no agent on this machine]' },
  { name: 'kubeconfig', value: 'FILE', sentence: 'How to reach the API server [$KUBECONFIG, else ~/.kube/config]' },
  { name: 'context', value: 'NAME', sentence: 'Context of the kubeconfig [its current one]' },
  { name: 'agent-namespace', value: 'NAMESPACE', sentence: `Where agents run [${AGENT_NAMESPACE}]` },
  { name: 'help', short: 'h', sentence: 'Explain the command' },
];

/** Forms of a table; the first is the default. */
export const OUTPUTS = ['table', 'json'] as const;

/** Of commands that print a table or JSON. */
export const OUTPUT_FLAG: Flag = {
  name: 'output',
  short: 'o',
  value: OUTPUTS.join('|'),
  choices: OUTPUTS,
  sentence: `Form of the output [${OUTPUTS[0]}]`,
};
