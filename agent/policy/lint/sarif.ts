/** Findings as SARIF 2.1.0, which code hosts show beside the lines (OASIS, sarif-v2.1.0-os). */
import { isAbsolute } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Problem } from '../../model/object.ts';

/** What a finding means, in one sentence; of codes that are not here their name says it. */
const MEANINGS: Readonly<Record<string, string>> = {
  'no-dns-egress': 'Egress is closed and nothing allows DNS: names stop resolving.',
  'selects-nothing': 'The policy is about no pod of these files.',
  'peer-matches-nothing': 'A rule names peers that no pod of these files is.',
  'shadowed-by-deny': 'An allow rule that a deny rule makes useless.',
  'or-trap': 'Items of a list are alternatives: what looks like a condition opens more.',
  'missing-subset': 'A route goes to a subset that no DestinationRule defines.',
  'single-subset': 'A DestinationRule that defines one subset alone.',
  'monitor-matches-nothing': 'A ServiceMonitor that selects no Service.',
  'unknown-api-group': 'The API group does not exist.',
  'unknown-field': 'A field that the language does not have.',
  'unsupported-field': 'A field that is not supported yet: the document is refused and isolates.',
};

export function sarif(problems: readonly Problem[], version: string): unknown {
  const codes = [...new Set(problems.map(({ code }) => code))].sort();
  return {
    $schema: 'https://json.schemastore.org/sarif-2.1.0.json',
    version: '2.1.0',
    runs: [
      {
        tool: {
          driver: {
            name: 'weir',
            version,
            rules: codes.map((id) => ({
              id,
              shortDescription: { text: MEANINGS[id] ?? `${id.replaceAll('-', ' ')}.` },
            })),
          },
        },
        columnKind: 'utf16CodeUnits',
        results: problems.map((problem) => result(problem, codes)),
      },
    ],
  };
}

function result({ severity, code, message, place, line }: Problem, codes: readonly string[]): unknown {
  const uri = isAbsolute(place) ? pathToFileURL(place).href : encodeURI(place);
  const region = line === undefined ? {} : { region: { startLine: line } };
  return {
    ruleId: code,
    ruleIndex: codes.indexOf(code),
    level: severity,
    message: { text: message },
    locations: [{ physicalLocation: { artifactLocation: { uri }, ...region } }],
  };
}
