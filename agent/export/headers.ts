/**
 * What a collector wants to see before it takes anything: headers such as a token, from a file, as they stand in
 * OTEL_EXPORTER_OTLP_HEADERS (OpenTelemetry's "Protocol Exporter"): `authorization=Bearer%20TOKEN,x-scope-orgid=prod`.
 */
import { WeirError } from '../errors.ts';

const NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
/** Of a header's value: letters that can be seen, and spaces between them (RFC 9110, 5.5). */
const VALUE = /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/;

/**
 * Pairs separated by commas or lines, values percent-encoded. Throws CONFIG_INVALID, which says which pair it is and never what it
 * holds.
 */
export function readHeaders(text: string): Record<string, string> {
  const pairs = text
    .split(/[,\r\n]/)
    .map((pair) => pair.trim())
    .filter((pair) => pair !== '');
  return Object.fromEntries(pairs.map(readPair));
}

function readPair(pair: string, i: number): [name: string, value: string] {
  const at = pair.indexOf('=');
  const name = pair.slice(0, Math.max(at, 0)).trim();
  const value = decoded(pair.slice(at + 1).trim());
  if (NAME.test(name) && value !== undefined && VALUE.test(value)) return [name.toLowerCase(), value];
  const expected = 'expected NAME=VALUE, the value percent-encoded, such as authorization=Bearer%20TOKEN';
  throw new WeirError('CONFIG_INVALID', 'read the headers for the collector', `pair ${i + 1}: ${expected}`);
}

function decoded(value: string): string | undefined {
  try {
    return decodeURIComponent(value);
  } catch {
    return undefined;
  }
}
