/** What a kernel may hold, for tests of those who show it. */
import type { ConnectionRow, DatapathRows } from '../../agent/datapath/datapath.ts';
import { type Prefix, parsePrefix } from '../../agent/model/address.ts';
import { CLASS_ANY, type TierVerdicts, type VerdictRow } from '../../agent/model/verdict.ts';
import { address, BACKEND, FRONTEND } from './flow-records.ts';

const DIRECTION = {
  isolated: true,
  auditIsolated: true,
  hasDeny: false,
  hasAudit: false,
  hasAny: true,
  keepsEstablished: false,
  selectorSet: 1,
  addressSet: 0,
};

const ALLOW = { action: 'allow', precedence: 9, rule: 1001 } as const;
const DENY = { action: 'deny', precedence: 2, rule: 1002 } as const;

export const TABLES: DatapathRows = {
  policy: {
    policies: [{ id: 17, revision: 3, ingress: DIRECTION, egress: { ...DIRECTION, isolated: false } }],
    verdicts: [
      verdict(5, 6, 8080, 16, [undefined, ALLOW, undefined]),
      verdict(CLASS_ANY, 17, 8, 13, [DENY, undefined, undefined]),
      verdict(6, 1, 8 << 8, 8, [undefined, undefined, ALLOW]),
      verdict(7, 132, 0, 0, [undefined, ALLOW, undefined]),
      verdict(7, undefined, 0, 0, [undefined, DENY, undefined]),
    ],
    identityClasses: [],
    addressClasses: [],
    identities: [],
    subjects: [],
  },
  endpoints: [{ id: 2, identity: BACKEND.identity, policy: 17, mac: '', addresses: [address(BACKEND.ip)] }],
  peers: [{ address: address(BACKEND.ip6), identity: BACKEND.identity, endpoint: 2, kind: 'pod' }],
  ranges: [{ prefix: parsePrefix('10.244.1.0/24') as Prefix, identity: 3, kind: 'pod', node: 4 }],
  services: [
    {
      frontend: { address: address('fd00:96::1'), protocol: 'TCP', port: 443 },
      backends: [
        { address: address('fd00::2'), port: 8443 },
        { address: address('fd00::3'), port: 8443 },
      ],
      affinitySeconds: 60,
    },
  ],
};

function verdict(
  classId: number,
  protocol: number | undefined,
  port: number,
  portBits: number,
  enforced: TierVerdicts,
): VerdictRow {
  return { policy: 17, classId, direction: 'ingress', protocol, port, portBits, enforced, audited: enforced };
}

export const CONNECTIONS: readonly ConnectionRow[] = [
  {
    protocol: 6,
    initiator: { address: address(FRONTEND.ip), port: 40000, identity: FRONTEND.identity, packets: 3, bytes: 200 },
    responder: { address: address(BACKEND.ip), port: 8080, identity: BACKEND.identity, packets: 2, bytes: 120 },
    ageSeconds: 12.4,
    epoch: 7,
  },
  {
    protocol: 58,
    initiator: { address: address(FRONTEND.ip6), port: 1, identity: FRONTEND.identity, packets: 1, bytes: 64 },
    responder: { address: address(BACKEND.ip6), port: 0, identity: BACKEND.identity, packets: 0, bytes: 0 },
    ageSeconds: 1,
    epoch: 7,
  },
];
