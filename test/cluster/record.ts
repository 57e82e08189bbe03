/**
 * What there is of a cluster, on disk: so that another process (`npm run cluster -- down`, or a test after the one that
 * started it was killed) knows its parts.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CLUSTERS, ClusterPaths } from './paths.ts';
import type { RunningProgram } from './program.ts';

export type Cni = 'none' | 'ptp' | 'weir';

export interface NodeRecord {
  readonly name: string;
  /** Never used again in one cluster: it makes the node's addresses. */
  readonly number: number;
}

export interface ClusterRecord {
  readonly name: string;
  /** Of its link to the machine; no other cluster here has it. */
  readonly number: number;
  readonly dualStack: boolean;
  readonly cni: Cni;
  /** That nodes register with, "key=value:Effect". */
  readonly taints: readonly string[];
  /** Archives beyond the usual ones. */
  readonly images: string[];
  /** The link in the machine's own namespace. */
  readonly machineLink: string;
  nodes: NodeRecord[];
  nextNode: number;
  /** By name: "etcd", "node1-kubelet", "node1" (which keeps the namespaces of a node). */
  readonly programs: Record<string, RunningProgram>;
}

/** Clusters are numbered 0 to 255: addresses.ts machineLink. */
const NUMBERS = 256;

/** Writes the whole of it, or nothing. */
export function save(record: ClusterRecord): void {
  const file = new ClusterPaths(record.name).record;
  writeFileSync(`${file}.new`, `${JSON.stringify(record, undefined, 2)}\n`);
  renameSync(`${file}.new`, file);
}

/** @throws when there is no such cluster, naming those that there are. */
export function load(name: string): ClusterRecord {
  try {
    return JSON.parse(readFileSync(new ClusterPaths(name).record, 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    const others = clusters();
    throw new Error(`no cluster "${name}" is up here${others.length === 0 ? '' : `: there is ${others.join(', ')}`}`);
  }
}

/** Names of what was started on this machine and not taken down, whole or not. */
export function clusters(): string[] {
  return entries().filter((name) => !name.startsWith('.'));
}

/** A number that no other cluster has. The file that claims it is given back by release(). */
export function claimNumber(name: string): number {
  mkdirSync(CLUSTERS, { recursive: true });
  for (let number = 0; number < NUMBERS; number++)
    try {
      writeFileSync(claim(number), name, { flag: 'wx' });
      return number;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  throw new Error(`${NUMBERS} clusters are up here: take one down first`);
}

/** Gives back whatever number `name` has, also when its record is gone. */
export function releaseNumber(name: string): void {
  for (const file of entries().filter((entry) => entry.startsWith('.number-')))
    if (readFileSync(join(CLUSTERS, file), 'utf8') === name) rmSync(join(CLUSTERS, file));
}

function claim(number: number): string {
  return join(CLUSTERS, `.number-${number}`);
}

function entries(): string[] {
  try {
    return readdirSync(CLUSTERS);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}
