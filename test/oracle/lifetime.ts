/** Weir's annotations: issue 4, points 7 and 8. */
import type { RawDocument } from './scenario.ts';

export function lifetimeOf({ metadata }: RawDocument, now: number): { audited: boolean; expired: boolean } {
  const annotations = metadata.annotations ?? {};
  const passed = (key: string): boolean => {
    const text = annotations[key];
    if (text === undefined) return false;
    const time = Date.parse(text);
    // A time that cannot be read has passed.
    return Number.isNaN(time) || now >= time;
  };
  return {
    audited: annotations['weir.dev/audit'] === 'true' && !passed('weir.dev/audit-until'),
    expired: passed('weir.dev/expires-at'),
  };
}
