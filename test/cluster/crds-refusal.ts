/** What the API server says to an object, without keeping it. */
import type { ApiServer } from './api-server.ts';

interface Raw {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly namespace?: string };
}

/** Plurals of the kinds that tests write. */
const PLURAL: Readonly<Record<string, string>> = {
  CiliumNetworkPolicy: 'ciliumnetworkpolicies',
  CiliumClusterwideNetworkPolicy: 'ciliumclusterwidenetworkpolicies',
  CiliumCIDRGroup: 'ciliumcidrgroups',
  WeirIdentity: 'weiridentities',
  WeirIdentityRange: 'weiridentityranges',
  WeirEndpointSlice: 'weirendpointslices',
  WeirNode: 'weirnodes',
  WeirDenyList: 'weirdenylists',
};

export function collectionOf(raw: unknown): string {
  const { apiVersion, kind, metadata } = raw as Raw;
  const namespace = metadata.namespace === undefined ? '' : `namespaces/${metadata.namespace}/`;
  return `/apis/${apiVersion}/${namespace}${PLURAL[kind]}`;
}

/** A line for each thing that is wrong, with the field's path in it; undefined: it would be taken. Checks as strictly as kubectl. */
export async function refusalOf(api: ApiServer, raw: unknown): Promise<string | undefined> {
  const path = `${collectionOf(raw)}?dryRun=All&fieldValidation=Strict`;
  const { status, body } = await api.request('POST', path, raw as object);
  if (status === 201) return undefined;
  if (status !== 400 && status !== 422) throw new Error(`the API server answered ${status}: ${JSON.stringify(body)}`);
  const causes: { field: string; message: string }[] = body.details?.causes ?? [];
  return causes.length === 0 ? body.message : causes.map(({ field, message }) => `${field}: ${message}`).join('\n');
}
