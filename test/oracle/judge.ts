/** The oracle's answer: collect what every document says about the packet, then go through the tiers. */
import { ciliumEffect } from './cilium.ts';
import { clusterPolicyEffect } from './cluster-network-policy.ts';
import type { Case, Effect, Match } from './effect.ts';
import { lifetimeOf } from './lifetime.ts';
import { networkPolicyEffect } from './network-policy.ts';
import { peerOf } from './party.ts';
import { type Packet, podNamed, type RawDocument, type Scenario } from './scenario.ts';

export interface OracleAnswer {
  readonly verdict: 'allowed' | 'denied';
  /** Rules any of which may be named as the one that decided, as "Kind namespace/name place"; [] if none decided. */
  readonly rules: readonly string[];
}

/** How the rule that lets a node reach its own pods is named. */
export const LOCAL_HOST = 'local host';

/** `audited`: as if audited policies were enforced. */
export function ask(scenario: Scenario, packet: Packet, audited: boolean): OracleAnswer {
  if (scenario.enforcement === 'never') return { verdict: 'allowed', rules: [] };
  const asked: Case = { scenario, packet, subject: podNamed(scenario, packet.subject), peer: peerOf(scenario, packet) };
  let isolated = scenario.enforcement === 'always';
  const matches: Match[] = [];
  for (const document of scenario.documents) {
    const life = lifetimeOf(document, scenario.now);
    if (life.audited && !audited) continue;
    const effect = effectOf(document, asked);
    isolated ||= effect.isolates;
    for (const match of effect.matches) {
      if (life.expired && match.action !== 'deny') continue;
      matches.push({ ...match, rule: `${nameOf(document)} ${match.rule}` });
    }
  }
  return decide(matches, isolated, asked);
}

function decide(matches: readonly Match[], isolated: boolean, { packet, peer }: Case): OracleAnswer {
  const admin = first(matches, 'admin');
  if (admin && admin.action !== 'pass') return answer(admin.action === 'allow', [admin]);

  const normal = matches.filter(({ tier }) => tier === 'normal');
  const denies = normal.filter(({ action }) => action === 'deny');
  if (denies.length > 0) return answer(false, denies);
  const allows = normal.filter(({ action }) => action === 'allow');
  if (allows.length > 0) return answer(true, allows);
  const fromOwnNode =
    packet.direction === 'ingress' && peer.labels.some(({ source, key }) => source === 'reserved' && key === 'host');
  if (fromOwnNode) return { verdict: 'allowed', rules: [LOCAL_HOST] };
  if (isolated) return { verdict: 'denied', rules: [] };

  const baseline = first(matches, 'baseline');
  if (baseline && baseline.action !== 'pass') return answer(baseline.action === 'allow', [baseline]);
  return { verdict: 'allowed', rules: [] };
}

function answer(allowed: boolean, by: readonly Match[]): OracleAnswer {
  return { verdict: allowed ? 'allowed' : 'denied', rules: by.map(({ rule }) => rule) };
}

/** The matching rule of the tier that comes first. */
function first(matches: readonly Match[], tier: Match['tier']): Match | undefined {
  return matches.filter((match) => match.tier === tier).sort((a, b) => a.order - b.order)[0];
}

function effectOf(document: RawDocument, asked: Case): Effect {
  switch (document.kind) {
    case 'CiliumNetworkPolicy':
    case 'CiliumClusterwideNetworkPolicy':
      return ciliumEffect(document, asked);
    case 'NetworkPolicy':
      return networkPolicyEffect(document, asked);
    case 'CiliumCIDRGroup':
      return { isolates: false, matches: [] };
    default:
      return clusterPolicyEffect(document, asked);
  }
}

function nameOf({ kind, metadata }: RawDocument): string {
  return metadata.namespace ? `${kind} ${metadata.namespace}/${metadata.name}` : `${kind} ${metadata.name}`;
}
