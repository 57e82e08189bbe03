/** Log lines and flags: what they look like, and that what is logged cannot forge or break a line. */
import * as assert from 'uvu/assert';
import { WeirError } from '../../agent/errors.ts';
import { closest } from '../../agent/model/did-you-mean.ts';
import { describeFlags, type Flag, parseFlags } from '../../agent/run/flags.ts';
import { createLogger, type LogFormat } from '../../agent/run/log.ts';
import { suite } from '../kit/suite.ts';

const test = suite('run log');

function logUnderTest(format: LogFormat) {
  const lines: string[] = [];
  const now = (): Date => new Date('2026-01-02T03:04:05.678Z');
  return { lines, log: createLogger({ level: 'info', format, write: (line) => lines.push(line), now }) };
}

test('text: time, level, message, fields', () => {
  const { lines, log } = logUnderTest('text');
  log.with({ part: 'cni' }).warn('pod is late', { pod: 'default/web', waitedMs: 12, note: 'two words' });
  assert.equal(lines, [
    '2026-01-02T03:04:05.678Z warn  pod is late part=cni pod=default/web waitedMs=12 note="two words"\n',
  ]);
});

test('json: one object a line; a field cannot forge the level', () => {
  const { lines, log } = logUnderTest('json');
  log.error('no', { level: 'debug', big: 7n, list: [1] });
  assert.equal(JSON.parse(lines[0] ?? ''), {
    level: 'error',
    big: '7',
    list: [1],
    time: '2026-01-02T03:04:05.678Z',
    message: 'no',
  });
  assert.is(lines[0]?.split('\n').length, 2);
});

test('errors keep their code and causes', () => {
  const { lines, log } = logUnderTest('text');
  const error = new WeirError('IPAM_EXHAUSTED', 'ipam', 'no address left', { cause: new Error('254 of 254 used') });
  log.error('ADD failed', { error });
  assert.match(lines[0] ?? '', 'error="no address left (IPAM_EXHAUSTED): 254 of 254 used"');
});

test('control characters and line breaks cannot leave their line', () => {
  const { lines, log } = logUnderTest('text');
  log.info('a\nb', { name: 'x\u001b[2Jy', other: 'line\nbreak' });
  assert.is(lines[0], '2026-01-02T03:04:05.678Z info  a\\u000ab name=x\\u001b[2Jy other="line\\nbreak"\n');
});

test('the level can change, for children too', () => {
  const { lines, log } = logUnderTest('text');
  const child = log.with({});
  child.debug('unseen');
  log.setLevel('debug');
  assert.is(child.level, 'debug');
  child.debug('seen');
  log.setLevel('error');
  child.warn('unseen');
  assert.is(lines.length, 1);
});

const FLAGS: readonly Flag[] = [
  { name: 'output', short: 'o', value: 'FORM', choices: ['json', 'table'], sentence: 'Form' },
  { name: 'follow', short: 'f', sentence: 'Go on' },
  { name: 'all', short: 'a', sentence: 'All' },
  { name: 'pod', value: 'POD', repeat: true, sentence: 'Pods' },
];
const parsed = (line: string) => {
  const { values, words, errors } = parseFlags(line.split(' '), FLAGS);
  return { ...Object.fromEntries(values), words, errors };
};
const lines: readonly [string, object][] = [
  ['--output json x', { output: ['json'], words: ['x'], errors: [] }],
  ['--output=json', { output: ['json'], words: [], errors: [] }],
  ['-o json', { output: ['json'], words: [], errors: [] }],
  ['-ojson', { output: ['json'], words: [], errors: [] }],
  ['-o=json', { output: ['json'], words: [], errors: [] }],
  ['-fa', { follow: ['true'], all: ['true'], words: [], errors: [] }],
  ['-fojson', { follow: ['true'], output: ['json'], words: [], errors: [] }],
  ['--follow=false', { follow: ['false'], words: [], errors: [] }],
  ['--pod a --pod=b', { pod: ['a', 'b'], words: [], errors: [] }],
  ['--pod -x', { pod: ['-x'], words: [], errors: [] }],
  ['x -- --follow -o', { words: ['x', '--follow', '-o'], errors: [] }],
  ['-', { words: ['-'], errors: [] }],
  ['-fx', { follow: ['true'], words: [], errors: ['unknown flag -x in -fx'] }],
  ['--folow', { words: [], errors: ['unknown flag --folow; did you mean --follow?'] }],
  ['-o xml', { output: ['xml'], words: [], errors: ['-o: expected one of json, table, got "xml"'] }],
  ['-o', { words: [], errors: ['-o needs a value: -o FORM'] }],
  ['-f -f', { follow: ['true'], words: [], errors: ['-f was given more than once'] }],
  ['--follow=1', { follow: ['1'], words: [], errors: ['--follow takes true or false, not "1"'] }],
];
for (const [line, expected] of lines) test(`flags: ${line}`, () => assert.equal(parsed(line), expected));

test('flags as --help shows them', () => {
  assert.is(
    describeFlags(FLAGS),
    '  -o, --output FORM   Form\n  -f, --follow        Go on\n  -a, --all           All\n      --pod POD       Pods',
  );
});

test('did you mean', () => {
  const kinds = ['Pod', 'Node', 'CiliumNetworkPolicy', 'NetworkPolicy'];
  const cases: readonly [string, string | undefined][] = [
    ['CiliumNetworkPolcy', 'CiliumNetworkPolicy'],
    ['ciliumnetworkpolicy', 'CiliumNetworkPolicy'],
    ['NetworkPolciy', 'NetworkPolicy'],
    ['Pdo', 'Pod'],
    ['Deployment', undefined],
    ['', undefined],
  ];
  for (const [word, expected] of cases) assert.is(closest(word, kinds), expected, word);
});

test.run();
