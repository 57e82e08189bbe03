/** Policies that allow everything, or nothing one way. */
import type { PolicyDirectionRow, PolicyRow } from '../../agent/model/verdict.ts';

export const OPEN: PolicyDirectionRow = {
  isolated: false,
  auditIsolated: false,
  hasDeny: false,
  hasAudit: false,
  hasAny: false,
  keepsEstablished: false,
  selectorSet: 0,
  addressSet: 0,
};
export const CLOSED: PolicyDirectionRow = { ...OPEN, isolated: true };

export const allowAll = (id: number): PolicyRow => ({ id, revision: 1, ingress: OPEN, egress: OPEN });
export const denyIngress = (id: number): PolicyRow => ({ id, revision: 1, ingress: CLOSED, egress: OPEN });
