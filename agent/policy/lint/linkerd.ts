/** Known mistakes in Linkerd's documents and in SMI's. Facts: reference seed-rows.md, rows 13 and 14. */
import type { Problem } from '../../model/object.ts';
import { createReport, type Report } from '../parse/report.ts';
import { ANYTHING, BOOLEAN, checkSchema, type Fields, list, object, type Schema, TEXT } from '../parse/schema.ts';

const SMI_GROUP = 'split.smi-spec.io';

/** unknown-api-group: nothing reads it, and nobody says so. */
export function trafficSplit(raw: Fields, report: Report): void {
  const [group = '', version = ''] = String(raw.apiVersion).split('/');
  if (group === SMI_GROUP) return;
  report.error('unknown-api-group', ['apiVersion'], `there is no ${group}; did you mean ${SMI_GROUP}/${version}?`);
}

const STATUS: Schema = object({
  min: { type: 'integer', min: 100, max: 599 },
  max: { type: 'integer', min: 100, max: 599 },
});
const SERVICE_PROFILE: Schema = object({
  apiVersion: ANYTHING,
  kind: ANYTHING,
  metadata: ANYTHING,
  spec: object({
    routes: list(
      object({
        name: TEXT,
        condition: object({ method: TEXT, pathRegex: TEXT, all: ANYTHING, any: ANYTHING, not: ANYTHING }),
        responseClasses: list(
          object({
            condition: object({ status: STATUS, all: ANYTHING, any: ANYTHING, not: ANYTHING }),
            isFailure: BOOLEAN,
          }),
        ),
        isRetryable: BOOLEAN,
        timeout: TEXT,
      }),
    ),
    retryBudget: ANYTHING,
    dstOverrides: ANYTHING,
    opaquePorts: ANYTHING,
  }),
});

/** What people write instead, from other systems or from memory. */
const MEANT: Readonly<Record<string, string>> = {
  statusCodeRange: 'did you mean status, with min and max?',
  isSuccess: 'did you mean isFailure, with the opposite value?',
  weight: 'response classes have no weight: the first whose condition holds counts',
};

/** unknown-field, with what was probably meant. */
export function serviceProfile(raw: Fields, report: Report): void {
  const found = createReport({ origin: { place: '', line: () => undefined } });
  checkSchema(raw, SERVICE_PROFILE, [], found);
  for (const problem of found.problems) report.error(problem.code, problem.path, meant(problem));
}

function meant({ code, path, message }: Problem): string {
  const name = String(path.at(-1));
  if (code === 'unknown-field' && Object.hasOwn(MEANT, name)) return MEANT[name] as string;
  return message.slice(message.indexOf(': ') + 2);
}
