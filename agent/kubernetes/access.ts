/**
 * May the holder of this token do that? As the API server judges it: TokenReview says who it is, SubjectAccessReview what
 * that one may. Answers are kept for a while, so that a scrape a second is not two calls a second.
 */
import { createHash } from 'node:crypto';
import { WeirError } from '../errors.ts';
import { keepNewest } from '../model/keep-newest.ts';
import { type Clock, systemClock } from '../run/clock.ts';
import type { KubernetesClient } from './client.ts';
import { collectionPath, type Resource } from './path.ts';
import { createRateLimit } from './rate-limit.ts';

const TOKEN_REVIEWS: Resource = { apiVersion: 'authentication.k8s.io/v1', plural: 'tokenreviews' };
const ACCESS_REVIEWS: Resource = { apiVersion: 'authorization.k8s.io/v1', plural: 'subjectaccessreviews' };

/** Kept: a right taken away works on for so long, a right given comes so late. Milliseconds. */
const KEEP_MS = { allowed: 60_000, refused: 5_000 } as const;
const KEPT_MAX = 1000;
const DEADLINE_MS = 5000;
/**
 * Questions to the API server, far below what the agent's client may ask in all: whoever guesses tokens takes nothing from the
 * agent's own calls, nor from those whose token was known before.
 */
const RATES = {
  stranger: { perSecond: 5, burst: 20 },
  known: { perSecond: 10, burst: 40 },
} as const;

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

/**
 * Rejects with an ApiError when the API server does not answer: then nobody knows, and nobody is let in; with BUSY when too many
 * tokens are tried.
 */
export function createAccess(client: Pick<KubernetesClient, 'create'>, clock: Clock = systemClock): AskAccess {
  const kept = new Map<string, { readonly verdict: Promise<Verdict>; until: number }>();
  /** Tokens that the API server knew, the last asked for at the end. */
  const known = new Map<string, true>();
  const rates = {
    stranger: createRateLimit({ ...RATES.stranger, clock }),
    known: createRateLimit({ ...RATES.known, clock }),
  };

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

  return async (question) => {
    const token = hash(question.token);
    const key = hash(`${question.verb} ${question.path} ${question.token}`);
    const now = clock.nowMs();
    const before = kept.get(key);
    if (before !== undefined && before.until > now) return before.verdict;
    if (!rates[known.has(token) ? 'known' : 'stranger'].tryTake()) {
      throw new WeirError(
        'BUSY',
        'ask the API server about a token',
        'too many tokens are tried; try again in a second',
      );
    }
    const entry = { verdict: review(question), until: Number.POSITIVE_INFINITY };
    keepNewest(kept, key, entry, KEPT_MAX);
    entry.verdict.then(
      (verdict) => {
        entry.until = clock.nowMs() + (verdict === 'allowed' ? KEEP_MS.allowed : KEEP_MS.refused);
        if (verdict === 'unknown token') known.delete(token);
        else keepNewest(known, token, true, KEPT_MAX);
      },
      () => {
        if (kept.get(key) === entry) kept.delete(key);
      },
    );
    return entry.verdict;
  };
}

function hash(text: string): string {
  return createHash('sha256').update(text).digest('base64');
}
