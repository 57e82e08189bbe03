/**
 * What the other nodes publish, as changes of the source. At every moment an address is in at most one delivered endpoint
 * (address-owner.ts), and a number has one label set: who receives them needs no rule of their own.
 */
import type { WatchChange } from '../kubernetes/watch.ts';
import type { ClusterIdentity, PublishedEndpoint, PublishedEndpoints, SourceChange } from '../model/object.ts';
import { createAddressOwners } from './address-owner.ts';
import type { IdentityObject, RecordObject, SliceObject } from './objects.ts';
import { type ReadEntry, readIdentity, readRecord, readSlice, refOf } from './read-objects.ts';

export interface Peers {
  takeIdentities(changes: readonly WatchChange<IdentityObject>[]): SourceChange[];
  takeRecords(changes: readonly WatchChange<RecordObject>[]): SourceChange[];
  /** Slices of this node are not delivered: it knows its endpoints better. */
  takeSlices(changes: readonly WatchChange<SliceObject>[]): SourceChange[];
  /** Objects that are ignored, one sentence each. */
  problems(): string[];
}

export function createPeers(nodeName: string): Peers {
  const identities = new Map<string, ClusterIdentity>();
  const namesOf = new Map<number, Set<string>>();
  const owners = createAddressOwners<ReadEntry>();
  /** What was delivered of each slice; absent: nothing. */
  const delivered = new Map<string, PublishedEndpoints>();
  const nodeOfSlice = new Map<string, string>();
  const problems = new Map<string, string>();

  /** Delivered while it is the only one with its number: of two, which one is meant is not known. */
  function identityChange(name: string): SourceChange {
    const identity = identities.get(name);
    const ref = refOf('WeirIdentity', { name });
    const rivals = identity ? [...(namesOf.get(identity.number) ?? [])] : [];
    if (!identity || rivals.length > 1) {
      if (identity) {
        const others = rivals.filter((other) => other !== name).join(', ');
        problems.set(
          ref.kind + name,
          `WeirIdentity ${name} is ignored: ${others} has its number ${identity.number} too`,
        );
      }
      return { type: 'delete', kind: 'WeirIdentity', ref };
    }
    problems.delete(ref.kind + name);
    return { type: 'upsert', object: { kind: 'WeirIdentity', ref, value: identity } };
  }

  /** Names whose identity may be delivered or not because of the change. */
  function setIdentity(name: string, identity: ClusterIdentity | undefined): string[] {
    const before = identities.get(name);
    const touched = new Set([name]);
    for (const [one, isThere] of [
      [before, false],
      [identity, true],
    ] as const) {
      if (!one) continue;
      const names = namesOf.get(one.number) ?? new Set<string>();
      for (const other of names) touched.add(other);
      if (isThere) names.add(name);
      else names.delete(name);
      if (names.size > 0) namesOf.set(one.number, names);
      else namesOf.delete(one.number);
    }
    if (identity) identities.set(name, identity);
    else identities.delete(name);
    return [...touched];
  }

  /** Slices that look different now; those that lose come before those that win. */
  function flush(): SourceChange[] {
    const changes: { readonly change: SourceChange; readonly size: number }[] = [];
    for (const name of owners.take()) {
      const ref = refOf('WeirEndpointSlice', { name });
      const node = nodeOfSlice.get(name);
      if (node === undefined) {
        if (delivered.delete(name))
          changes.push({ change: { type: 'delete', kind: ref.kind as 'WeirEndpointSlice', ref }, size: -1 });
        continue;
      }
      if (node === nodeName) continue;
      const endpoints = owners.entries(name).flatMap(owned);
      const value = { node, endpoints };
      if (isSame(delivered.get(name), value)) continue;
      delivered.set(name, value);
      changes.push({
        change: { type: 'upsert', object: { kind: 'WeirEndpointSlice', ref, value } },
        size: endpoints.length,
      });
    }
    return changes.sort((a, b) => a.size - b.size).map(({ change }) => change);
  }

  function owned(entry: ReadEntry): PublishedEndpoint[] {
    const addresses = entry.addresses.filter((address) => owners.owns(entry, address));
    if (addresses.length === 0) return [];
    return [addresses.length === entry.addresses.length ? entry.endpoint : { ...entry.endpoint, addresses }];
  }

  return {
    takeIdentities(changes) {
      const touched = new Set<string>();
      for (const change of changes) {
        const name = change.type === 'upsert' ? change.object.metadata.name : change.ref.name;
        const reading = change.type === 'upsert' ? readIdentity(change.object) : undefined;
        problems.delete(`WeirIdentity${name}`);
        if (reading && 'problem' in reading) problems.set(`WeirIdentity${name}`, reading.problem);
        const value = reading && 'value' in reading ? reading.value : undefined;
        for (const other of setIdentity(name, value)) touched.add(other);
      }
      const all = [...touched].map(identityChange);
      // Who gives a number up comes before who has it now.
      return [...all.filter(({ type }) => type === 'delete'), ...all.filter(({ type }) => type === 'upsert')];
    },
    takeRecords(changes) {
      const out = changes.map((change): SourceChange => {
        if (change.type === 'delete') {
          owners.setNode(change.ref.name, undefined);
          return { type: 'delete', kind: 'WeirNode', ref: refOf('WeirNode', change.ref) };
        }
        const { record, claim } = readRecord(change.object);
        owners.setNode(record.name, claim);
        return {
          type: 'upsert',
          object: { kind: 'WeirNode', ref: refOf('WeirNode', change.object.metadata), value: record },
        };
      });
      return [...out, ...flush()];
    },
    takeSlices(changes) {
      for (const change of changes) {
        const name = change.type === 'upsert' ? change.object.metadata.name : change.ref.name;
        // Of a slice's endpoints mostly one is new: the others stay the objects they are, for whoever compares them.
        owners.setSlice(name, change.type === 'upsert' ? readSlice(change.object, owners.entries(name)) : []);
        if (change.type === 'upsert') nodeOfSlice.set(name, change.object.spec.node);
        else nodeOfSlice.delete(name);
      }
      return flush();
    },
    problems: () => [...problems.values()],
  };
}

/** Endpoints are compared as objects: readSlice() keeps those that are as they were. */
function isSame(before: PublishedEndpoints | undefined, now: PublishedEndpoints): boolean {
  if (before?.node !== now.node || before.endpoints.length !== now.endpoints.length) return false;
  return before.endpoints.every((endpoint, i) => {
    const other = now.endpoints[i];
    return endpoint === other || JSON.stringify(endpoint) === JSON.stringify(other);
  });
}
