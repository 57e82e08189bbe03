/** What the guide's policy means, one row per attempt: who to whom, how, and what must come of it. */

/** "namespace/pod", or "world": a machine outside the cluster. */
export type Party = `${string}/${string}` | 'world';

export interface Attempt {
  readonly from: Party;
  readonly to: Party;
  readonly protocol: 'TCP' | 'UDP' | 'ICMP';
  /** Host order; 0 for ICMP. */
  readonly port: number;
  readonly allowed: boolean;
  /** Why, in the words of the policy. */
  readonly because: string;
}

const FRONTEND = 'default/frontend';
const BACKEND = 'default/backend';
const STRANGER = 'default/stranger';
const POSTGRES = 'database/postgres';
const OTHER_FRONTEND = 'other/frontend';

export const PODS = [FRONTEND, BACKEND, STRANGER, POSTGRES, OTHER_FRONTEND] as const;
/** What each pod serves; the world too. TCP and UDP alike. */
export const SERVED_PORTS = [8080, 8081, 5432, 5433] as const;

/** Each is tried over IPv4 and over IPv6. */
export const TRUTH_TABLE: readonly Attempt[] = [
  row(FRONTEND, BACKEND, 'TCP', 8080, true, 'ingress[0] allows app=frontend on 8080/TCP'),
  row(FRONTEND, BACKEND, 'TCP', 8081, false, 'no rule names port 8081'),
  row(FRONTEND, BACKEND, 'UDP', 8080, false, 'the rule says TCP'),
  row(FRONTEND, BACKEND, 'ICMP', 0, false, 'a rule with ports does not match ICMP'),
  row(STRANGER, BACKEND, 'TCP', 8080, false, 'app=stranger is not app=frontend'),
  row(STRANGER, BACKEND, 'ICMP', 0, false, 'no rule allows it'),
  row(OTHER_FRONTEND, BACKEND, 'TCP', 8080, false, "a peer without a namespace is of the policy's namespace"),
  row('world', BACKEND, 'TCP', 8080, false, 'the world is not app=frontend'),
  row(BACKEND, POSTGRES, 'TCP', 5432, true, 'egress[0] allows namespace database on 5432/TCP'),
  row(BACKEND, POSTGRES, 'TCP', 5433, false, 'no rule names port 5433'),
  row(BACKEND, POSTGRES, 'UDP', 5432, false, 'the rule says TCP'),
  row(BACKEND, FRONTEND, 'TCP', 8080, false, 'replies pass, connections of its own do not'),
  row(BACKEND, 'world', 'TCP', 8080, false, 'egress is isolated'),
  row(FRONTEND, POSTGRES, 'TCP', 5432, true, 'nothing isolates postgres or frontend'),
  row(FRONTEND, STRANGER, 'UDP', 8080, true, 'nothing isolates them'),
  row(STRANGER, POSTGRES, 'ICMP', 0, true, 'nothing isolates them'),
  row(FRONTEND, 'world', 'TCP', 8080, true, 'nothing isolates frontend'),
];

function row(
  from: Party,
  to: Party,
  protocol: Attempt['protocol'],
  port: number,
  allowed: boolean,
  because: string,
): Attempt {
  return { from, to, protocol, port, allowed, because };
}
