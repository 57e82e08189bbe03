/** VERSION, and which versions of the specification each verb may be asked in. */
import { WeirError } from '../errors.ts';
import type { Verb } from './environment.ts';

/** As in cni/weir_cni.c, which answers VERSION without the agent. Oldest first. */
export const SUPPORTED_VERSIONS = ['0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;
export type CniVersion = (typeof SUPPORTED_VERSIONS)[number];
export const NEWEST_VERSION: CniVersion = '1.1.0';

/** The version that brought the verb; 0.3.1 for all others. */
const SINCE: Partial<Record<Verb, CniVersion>> = { CHECK: '0.4.0', GC: '1.1.0', STATUS: '1.1.0' };

export function isAtLeast(version: CniVersion, least: CniVersion): boolean {
  return SUPPORTED_VERSIONS.indexOf(version) >= SUPPORTED_VERSIONS.indexOf(least);
}

export function toVersion(raw: unknown): CniVersion | undefined {
  return SUPPORTED_VERSIONS.find((version) => version === raw);
}

/** The version to answer in. @throws CNI_INCOMPATIBLE_VERSION */
export function acceptVersion(raw: unknown, verb: Verb): CniVersion {
  const version = toVersion(raw);
  const supported = `supported are ${SUPPORTED_VERSIONS.join(', ')}`;
  if (!version) {
    const given =
      raw === undefined ? 'no cniVersion is given' : `cniVersion ${JSON.stringify(raw).slice(0, 40)} is not known`;
    throw new WeirError('CNI_INCOMPATIBLE_VERSION', verb, `${given}; ${supported}`);
  }
  const since = SINCE[verb];
  if (since && !isAtLeast(version, since)) {
    throw new WeirError('CNI_INCOMPATIBLE_VERSION', verb, `${verb} needs cniVersion ${since}, not ${version}`);
  }
  return version;
}

/** The answer to VERSION, whatever version was asked in. */
export function versionAnswer(config: Readonly<Record<string, unknown>>): string {
  const cniVersion = toVersion(config.cniVersion) ?? NEWEST_VERSION;
  return JSON.stringify({ cniVersion, supportedVersions: SUPPORTED_VERSIONS });
}
