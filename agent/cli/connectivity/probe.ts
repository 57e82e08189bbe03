/** One connection to try, from a pod: what is run there and what its output means. Pure. */

export type Action = 'pod-to-pod' | 'pod-to-service' | 'dns' | 'pod-to-host' | 'host-to-pod' | 'pod-to-world';

export interface Probe {
  readonly action: Action;
  /** Names of pods; of a world target, what was asked for. */
  readonly from: string;
  readonly to: string;
  /** "10.0.0.1:80", "[fd00::1]:80", "echo-same-node:80". */
  readonly target: string;
  readonly protocol: 'tcp' | 'udp';
  /** Of the target; a name may be of either. */
  readonly family: 'IPv4' | 'IPv6' | 'any';
  /** Both ends on one node. */
  readonly sameNode: boolean;
}

/** allowed: it answered. denied: nobody answered, or the name could not be resolved. refused: somebody said no, which no policy does. */
export type Outcome = 'allowed' | 'denied' | 'refused' | 'failed';

export interface Result {
  readonly probe: Probe;
  readonly outcome: Outcome;
  /** What agnhost printed. */
  readonly said: string;
}

/**
 * A shell script that tries all of them at once and prints "NUMBER CODE WORDS" for each: one exec for a pod's probes, since
 * each costs the API server, the kubelet and the runtime more than the connection.
 */
export function scriptOf(probes: readonly Probe[], timeoutMs: number): string[] {
  const script = [
    'one() { said=$(/agnhost connect "$2" --protocol="$3" --timeout="$0" 2>&1); code=$?;',
    '  echo "$1 $code $(echo "$said" | tr "\\n" " ")"; }',
    'n=0; while [ $# -ge 2 ]; do one "$n" "$1" "$2" & n=$((n+1)); shift 2; done; wait',
  ].join('\n');
  return ['sh', '-c', script, `${timeoutMs}ms`, ...probes.flatMap(({ target, protocol }) => [target, protocol])];
}

/** Throws for output that does not tell of each probe. */
export function readResults(probes: readonly Probe[], output: string): Result[] {
  const lines = new Map<number, { readonly code: number; readonly said: string }>();
  for (const line of output.split('\n')) {
    const [, number, code, said = ''] = /^(\d+) (\d+) ?(.*)$/.exec(line) ?? [];
    if (number !== undefined) lines.set(Number(number), { code: Number(code), said: said.trim() });
  }
  return probes.map((probe, i) => {
    const line = lines.get(i);
    if (!line)
      throw new Error(`the pod ${probe.from} did not tell of probe ${i}: ${JSON.stringify(output.slice(0, 500))}`);
    return { probe, outcome: outcomeOf(line.code, line.said), said: line.said };
  });
}

/** agnhost connect's words: k8s.io/kubernetes test/images/agnhost/connect. */
function outcomeOf(code: number, said: string): Outcome {
  if (code === 0) return 'allowed';
  if (/^(TIMEOUT|DNS)/.test(said)) return 'denied';
  return /^REFUSED/.test(said) ? 'refused' : 'failed';
}

/** "client -> echo-other-node (10.244.1.4:8080 tcp)". */
export function describeProbe({ from, to, target, protocol }: Probe): string {
  return `${from} -> ${to} (${target} ${protocol})`;
}
