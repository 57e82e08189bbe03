/** CiliumCIDRGroup v2: prefixes that rules refer to by name or label. */
import { type Prefix, parsePrefix } from '../../model/address.ts';
import type { Document } from '../../model/object.ts';
import type { ParsedLanguage } from './language.ts';
import type { Report } from './report.ts';
import { ANYTHING, checkSchema, type Fields, found, isFields, list, object } from './schema.ts';

const SCHEMA = object(
  {
    apiVersion: ANYTHING,
    kind: ANYTHING,
    metadata: ANYTHING,
    status: ANYTHING,
    spec: object(
      {
        externalCIDRs: list({
          type: 'text',
          check(text, path, report) {
            if (!parsePrefix(text)) report.error('bad-cidr', path, `expected a CIDR, found ${found(text)}`);
          },
        }),
      },
      { required: ['externalCIDRs'] },
    ),
  },
  { required: ['spec'] },
);

export function parseCidrGroup(document: Document, report: Report): ParsedLanguage {
  checkSchema(document.raw, SCHEMA, [], report);
  if (report.failed()) return { specs: [], isolation: [] };
  const { spec, metadata } = document.raw as { spec: { externalCIDRs: string[] }; metadata?: Fields };
  const labels: Record<string, string> = {};
  if (isFields(metadata?.labels)) {
    for (const [key, value] of Object.entries(metadata.labels)) if (typeof value === 'string') labels[key] = value;
  }
  const prefixes = spec.externalCIDRs.map((text) => parsePrefix(text) as Prefix);
  return { specs: [], isolation: [], group: { name: document.ref.name, labels, prefixes } };
}
