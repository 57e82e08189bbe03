/** What applications may say, and names: valid Cilium that Weir does not enforce yet. Reference policy-language.md, B2, B4. */
import { list, object, text, union } from '../schema.ts';

const HEADER_MATCH = object(
  'A header, and what happens to a request without it.',
  {
    name: text('Name of the header.', { minLength: 1 }),
    value: text('The value it has to have.'),
    secret: object(
      'The Secret that holds the value.',
      { namespace: text('Its namespace.'), name: text('Its name.', { minLength: 1 }) },
      { required: ['name'] },
    ),
    mismatch: text('What is done instead of a refusal.', { enum: ['LOG', 'ADD', 'DELETE', 'REPLACE'] }),
  },
  { required: ['name'] },
);

export const HTTP_RULE = object('All that is given has to match. {} matches every request.', {
  path: text('Extended POSIX regular expression for the whole path: /status does not match /status/x.'),
  method: text('Extended POSIX regular expression for the whole method.'),
  host: text('Extended POSIX regular expression for the whole host; a dot stands for any character.'),
  headers: list('Headers that have to be there: "Name", or "Name: value".', { type: 'string' }),
  headerMatches: list('Headers that have to be there, and what happens where they are not.', HEADER_MATCH),
});

/** Labels of a name, and with `also` of a pattern; the dot at the end may be left out. */
function labels(also: string): string {
  const label = `[A-Za-z0-9_${also}-]+`;
  return `^${label}([.]${label})*[.]?$`;
}

const MATCH = {
  matchName: text('One name, in full.', { maxLength: 255, pattern: labels('') }),
  matchPattern: text(
    'Names by a pattern: * stands for characters of one label, a leading **. for one or more labels, * alone for every name.',
    { maxLength: 255, pattern: labels('*') },
  ),
};

export const DNS_RULE = union('Names that may be asked for.', MATCH);
export const FQDN = union('Names; what they stand for is learned from DNS answers.', MATCH);
