/** Sources that are dropped where they arrive: lists, a file, and what must stay reachable. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { type Address, type Prefix, parseAddress, parsePrefix } from '../../agent/model/address.ts';
import { createDenial } from '../../agent/realize/denial.ts';
import { createDenyLists } from '../../agent/realize/deny-list.ts';
import { suite } from '../kit/suite.ts';

const test = suite('realize: deny lists');
const prefix = (text: string): Prefix => parsePrefix(text) as Prefix;
const address = (text: string): Address => parseAddress(text) as Address;
const KEEP = [address('192.0.2.1'), address('2001:db8::1')];

function build(file = '') {
  const lists = createDenyLists();
  const written: string[] = [];
  const denial = createDenial({ lists, file, set: async (prefixes) => void written.push(prefixes.join(' ')) });
  return { lists, written, denial };
}

test('all lists together, each prefix once, written when something changes and only then', async () => {
  const { lists, written, denial } = build();
  lists.upsert({ name: 'a', prefixes: [prefix('203.0.113.0/24'), prefix('2001:db8:bad::/48')] });
  lists.upsert({ name: 'b', prefixes: [prefix('203.0.113.0/24'), prefix('198.51.100.0/24')] });
  await denial.update(KEEP);
  await denial.update(KEEP);
  lists.remove('b');
  await denial.update(KEEP);
  assert.equal(written, ['198.51.100.0/24 2001:db8:bad::/48 203.0.113.0/24', '2001:db8:bad::/48 203.0.113.0/24']);
  assert.equal(denial.problems(), []);
});

test('what covers a node or an API server is left out, and said', async () => {
  const { lists, written, denial } = build();
  lists.upsert({
    name: 'a',
    prefixes: [prefix('0.0.0.0/0'), prefix('192.0.2.1/32'), prefix('192.0.2.2/32'), prefix('2001:db8::/32')],
  });
  await denial.update(KEEP);
  assert.equal(written, ['192.0.2.2/32']);
  assert.equal(
    denial.problems().map(({ message, place }) => `${place}: ${message.split(':')[0]}`),
    ['WeirDenyList a: 0.0.0.0/0 is not denied', 'WeirDenyList a: 192.0.2.1/32 is not denied', 'WeirDenyList a: 2001'],
  );
  await denial.update([address('192.0.2.2')]);
  assert.is(written.at(-1), '192.0.2.1/32 2001:db8::/32', 'another node, another answer');
});

test('a file counts too; what cannot be read in it is named by its line', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'weir-deny-'));
  try {
    const file = join(folder, 'deny');
    const { written, denial } = build(file);
    await denial.update(KEEP);
    assert.match(denial.problems()[0]?.message ?? '', /nothing of .* is denied: ENOENT/);
    writeFileSync(file, '# bad ones\n203.0.113.0/24 # all of them\n\nnonsense\n198.51.100.7\n');
    await denial.update(KEEP);
    assert.is(written.at(-1), '198.51.100.7/32 203.0.113.0/24');
    assert.equal(
      denial.problems().map(({ line, message }) => `${line} ${message}`),
      ['4 expected a prefix such as 203.0.113.0/24, found "nonsense"'],
    );
    rmSync(file); // As editors do for a moment.
    await denial.update(KEEP);
    assert.is(written.at(-1), '198.51.100.7/32 203.0.113.0/24', 'nothing is let in because a file is away');
    assert.match(denial.problems()[0]?.message ?? '', /what .* said before stays denied: ENOENT/);
    writeFileSync(file, '198.51.100.7\n');
    await denial.update(KEEP);
    assert.equal([written.at(-1), denial.problems()], ['198.51.100.7/32', []]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.run();
