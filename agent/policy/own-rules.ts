/** What the engine itself adds to the documents: names for it that people see in flows. */
import { RESERVED_IDENTITIES } from '../model/identity.ts';
import type { ObjectRef } from '../model/object.ts';
import { ruleId } from './parse/rule-maker.ts';
import type { PolicyRule } from './rule.ts';
import { entitySelector } from './select/entity.ts';
import type { Selector } from './select/selector.ts';
import type { Subject } from './subject.ts';

function own(name: string): ObjectRef {
  return { apiVersion: 'weir.dev/v1alpha1', kind: 'Agent', namespace: '', name, uid: '' };
}

/** Isolates everybody while policyEnforcementMode is `always`. */
export const ENFORCEMENT_ALWAYS = own('policyEnforcementMode-always');
/** Isolates endpoints whose labels are not known yet (reference policy-language.md, B3: init). */
export const INIT_ISOLATION = own('init');

/** The node's own processes reach its pods unless a rule denies it: kubelet's probes need no policy (B5, rule 7). */
export const LOCAL_HOST_RULE: PolicyRule = {
  id: ruleId(own('local-host'), [], 'ingress'),
  document: own('local-host'),
  path: [],
  place: '',
  line: undefined,
  description: 'the node may reach its own pods',
  log: '',
  tier: 'normal',
  order: 0,
  action: 'allow',
  direction: 'ingress',
  peers: [{ type: 'selector', selector: entitySelector('host', '') as Selector }],
  ports: undefined,
};

export function isInit({ identity }: Pick<Subject, 'identity'>): boolean {
  return identity === RESERVED_IDENTITIES.init;
}
