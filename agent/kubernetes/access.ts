/**
 * May the holder of this token do that? As the API server judges it: TokenReview says who it is, SubjectAccessReview what
 * that one may. Answers are kept for a while, so that a scrape a second is not two calls a second.
 */
import { createHash } from 'node:crypto';
import { type Clock, systemClock } from '../run/clock.ts';
import type { KubernetesClient } from './client.ts';
import { collectionPath, type Resource } from './path.ts';

const TOKEN_REVIEWS: Resource = { apiVersion: 'authentication.k8s.io/v1', plural: 'tokenreviews' };
const ACCESS_REVIEWS: Resource = { apiVersion: 'authorization.k8s.io/v1', plural: 'subjectaccessreviews' };

/** Kept: a right taken away works on for so long, a right given comes so late. Milliseconds. */
const KEEP_MS = { allowed: 60_000, refused: 5_000 } as const;
const KEPT_MAX = 1000;
const DEADLINE_MS = 5000;

export type Verdict = 'allowed' | 'unknown token' | 'not allowed';

/** What is asked for: a path that no API server serves, as RBAC's nonResourceURLs name it, and a verb such as "get". */
export interface AccessQuestion {
  readonly token: string;
  readonly path: string;
  readonly verb: string;
}

interface UserInfo {
  readonly username?: string;
  readonly uid?: string;
  readonly groups?: readonly string[];
  readonly extra?: Readonly<Record<string, readonly string[]>>;
}

export type AskAccess = (question: AccessQuestion) => Promise<Verdict>;

/** Rejects with an ApiError when the API server does not answer: then nobody knows, and nobody is let in. */
export function createAccess(client: Pick<KubernetesClient, 'create'>, clock: Clock = systemClock): AskAccess {
  const kept = new Map<string, { readonly verdict: Promise<Verdict>; until: number }>();

  async function review({ token, path, verb }: AccessQuestion): Promise<Verdict> {
    const limits = { deadlineMs: DEADLINE_MS };
    const who = (await client.create(
      collectionPath(TOKEN_REVIEWS),
      { apiVersion: TOKEN_REVIEWS.apiVersion, kind: 'TokenReview', spec: { token } },
      limits,
    )) as { readonly status?: { readonly authenticated?: boolean; readonly user?: UserInfo } };
    if (who.status?.authenticated !== true || !who.status.user?.username) return 'unknown token';
    const { username, uid, groups, extra } = who.status.user;
    const may = (await client.create(
      collectionPath(ACCESS_REVIEWS),
      {
        apiVersion: ACCESS_REVIEWS.apiVersion,
        kind: 'SubjectAccessReview',
        spec: { user: username, uid, groups, extra, nonResourceAttributes: { path, verb } },
      },
      limits,
    )) as { readonly status?: { readonly allowed?: boolean } };
    return may.status?.allowed === true ? 'allowed' : 'not allowed';
  }

  return (question) => {
    const key = createHash('sha256').update(`${question.verb} ${question.path} ${question.token}`).digest('base64');
    const now = clock.nowMs();
    const before = kept.get(key);
    if (before !== undefined && before.until > now) return before.verdict;
    const entry = { verdict: review(question), until: Number.POSITIVE_INFINITY };
    kept.delete(key); // to the end of the map's order
    kept.set(key, entry);
    if (kept.size > KEPT_MAX) kept.delete(kept.keys().next().value as string);
    entry.verdict.then(
      (verdict) => {
        entry.until = clock.nowMs() + (verdict === 'allowed' ? KEEP_MS.allowed : KEEP_MS.refused);
      },
      () => {
        if (kept.get(key) === entry) kept.delete(key);
      },
    );
    return entry.verdict;
  };
}
