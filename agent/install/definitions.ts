/**
 * Brings the CustomResourceDefinitions of a cluster to the version of this image. `helm install` applies those that are
 * missing and `helm upgrade` none at all, so a Job of the chart runs this before an upgrade. None is ever deleted: with it
 * every policy of its kind would go.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { WeirError } from '../errors.ts';
import type { KubernetesClient, KubernetesObject } from '../kubernetes/client.ts';
import { objectPath, type Resource } from '../kubernetes/path.ts';

/** The image has them where the checkout has them. */
const FOLDER = fileURLToPath(new URL('../../crds', import.meta.url));
const DEFINITIONS: Resource = { apiVersion: 'apiextensions.k8s.io/v1', plural: 'customresourcedefinitions' };
/** Label of those that Weir made. */
const PART_OF = 'app.kubernetes.io/part-of';

export async function definitionsOf(folder: string = FOLDER): Promise<KubernetesObject[]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.yaml')).sort();
  return Promise.all(names.map(async (name) => parse(await readFile(join(folder, name), 'utf8'))));
}

/**
 * Applies each one that is missing or Weir's own. One that somebody else made (Cilium's, with Cilium still there) is left
 * as it is: policies of either are read by Weir all the same. Resolves with what was done, a sentence each.
 */
export async function applyDefinitions(
  client: Pick<KubernetesClient, 'get' | 'patch'>,
  definitions: readonly KubernetesObject[],
): Promise<string[]> {
  const done: string[] = [];
  for (const definition of definitions) {
    const { name } = definition.metadata;
    const path = objectPath(DEFINITIONS, '', name);
    const present = await getIfThere(client, path);
    if (present !== undefined && present.metadata.labels?.[PART_OF] !== 'weir') {
      done.push(`left ${name} as it is: it is not Weir's`);
      continue;
    }
    await client.patch(path, { type: 'apply', body: definition, force: true });
    done.push(`${present === undefined ? 'created' : 'applied'} ${name}`);
  }
  return done;
}

async function getIfThere(client: Pick<KubernetesClient, 'get'>, path: string): Promise<KubernetesObject | undefined> {
  try {
    return await client.get(path);
  } catch (error) {
    if (error instanceof WeirError && error.code === 'NOT_FOUND') return undefined;
    throw error;
  }
}
