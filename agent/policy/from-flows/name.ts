/** What generated policies are called. */
import type { Workload } from './workload.ts';

const NAME_LABELS = ['app.kubernetes.io/name', 'k8s-app', 'app'];
/** Of a policy: RFC 1123, and room for a number. */
const NAME_MOST = 240;

/** Names them after the label that names the application; numbered where several are named alike. */
export function policyNames(): (workload: Workload) => string {
  const taken = new Map<string, number>();
  return ({ namespace, labels }) => {
    const label = NAME_LABELS.map((key) => labels[key]).find((value) => value !== undefined) ?? '';
    const words = label.toLowerCase().replace(/[^a-z0-9-]+/g, '-');
    const base = `seen-${words.slice(0, NAME_MOST).replace(/^-+|-+$/g, '') || 'pods'}`;
    const number = (taken.get(`${namespace}/${base}`) ?? 0) + 1;
    taken.set(`${namespace}/${base}`, number);
    return number === 1 ? base : `${base}-${number}`;
  };
}
