/** What came of the tests, for people, programs and CI. Pure. */
import { paint, plural, printable } from '../table.ts';
import { describeProbe, type Result } from './probe.ts';

export interface TestReport {
  readonly name: string;
  readonly sentence: string;
  readonly seconds: number;
  readonly results: readonly (Result & { readonly expected: 'allowed' | 'denied' })[];
  /** The test itself could not be done. */
  readonly error?: string;
}

export interface Report {
  readonly namespace: string;
  readonly nodes: readonly string[];
  readonly tests: readonly TestReport[];
}

export function hasPassed({ results, error }: TestReport): boolean {
  return error === undefined && results.every(({ expected, outcome }) => expected === outcome);
}

/** One line for a test, and one for each thing in it that is not as expected. */
export function testText(report: TestReport, namespace: string, colors: boolean): string {
  const passed = hasPassed(report);
  const mark = passed ? paint('green', '√', colors) : paint('red', '×', colors);
  const head = `${mark} ${report.name}: ${report.sentence} (${plural(report.results.length, 'connection')}, ${report.seconds.toFixed(1)} s)\n`;
  const wrong = report.results.filter(({ expected, outcome }) => expected !== outcome);
  const lines = wrong.map(({ probe, expected, outcome, said }) => {
    const words = said === '' ? '' : `: ${said}`;
    const port = `${probe.target.split(':').at(-1)}/${probe.protocol.toUpperCase()}`;
    const ask =
      probe.action === 'pod-to-pod'
        ? `      weir policy explain --from ${namespace}/${probe.from} --to ${namespace}/${probe.to} --port ${port}\n`
        : '';
    return `    ${printable(`${probe.action}: ${describeProbe(probe)}: expected ${expected}, was ${outcome}${words}`)}\n${ask}`;
  });
  return [head, ...(report.error === undefined ? [] : [`    ${printable(report.error)}\n`]), ...lines].join('');
}

export function summaryText({ tests }: Report, colors: boolean): string {
  const failed = tests.filter((test) => !hasPassed(test)).length;
  const connections = tests.reduce((sum, { results }) => sum + results.length, 0);
  const text = `${tests.length - failed} of ${plural(tests.length, 'test')} passed, ${connections} connections tried`;
  return `${paint(failed > 0 ? 'red' : 'green', text, colors)}\n`;
}

/** JUnit's XML, as CI systems read it. */
export function junit({ tests }: Report): string {
  const failures = tests.filter((test) => !hasPassed(test)).length;
  const seconds = tests.reduce((sum, test) => sum + test.seconds, 0);
  const cases = tests.map((test) => {
    const open = `  <testcase classname="weir connectivity" name="${xml(test.name)}" time="${test.seconds.toFixed(3)}"`;
    if (hasPassed(test)) return `${open}/>\n`;
    const text = testText(test, '', false).split('\n').slice(1).join('\n');
    return `${open}>\n    <failure message="not as expected">${xml(text)}</failure>\n  </testcase>\n`;
  });
  const head = `<testsuite name="weir connectivity" tests="${tests.length}" failures="${failures}" time="${seconds.toFixed(3)}">`;
  return `<?xml version="1.0" encoding="UTF-8"?>\n${head}\n${cases.join('')}</testsuite>\n`;
}

function xml(text: string): string {
  const names: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
  return printable(text.replaceAll('\n', ' | ')).replace(/[&<>"]/g, (c) => names[c] as string);
}
