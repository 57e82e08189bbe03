/** A scenario as text that a person can read and a test can replay: JSON with one object or packet a line. */
import type { Scenario } from './scenario.ts';

export function formatScenario(scenario: Scenario): string {
  const lists = (['namespaces', 'nodes', 'pods', 'services', 'documents', 'packets'] as const).map((name) => {
    const items = scenario[name].map((item) => `    ${JSON.stringify(item)}`);
    return `  "${name}": [\n${items.join(',\n')}\n  ]`;
  });
  const rest = `  "enforcement": ${JSON.stringify(scenario.enforcement)},\n  "now": ${scenario.now}`;
  return `{\n${[...lists, rest].join(',\n')}\n}\n`;
}
