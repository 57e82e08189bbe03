/** An address that says nothing: for parties whose own is not known. */
import {
  type Address,
  type Family,
  formatAddress,
  type Prefix,
  parseAddress,
  prefixContains,
  prefixLength,
} from '../../model/address.ts';

/** The first candidate that no prefix contains but those of all addresses; the last resort is the first candidate. */
export function blankAddress(family: Family, prefixes: readonly Prefix[]): Address {
  const narrow = prefixes.filter((prefix) => prefixLength(prefix) > 0);
  const all = [...candidates(family)];
  return all.find((address) => !narrow.some((prefix) => prefixContains(prefix, address))) ?? (all[0] as Address);
}

function* candidates(family: Family): Generator<Address> {
  if (family === 4) for (let first = 223; first > 0; first--) yield formatAddress(Uint8Array.of(first, 251, 251, 251));
  else for (let first = 0x2f; first > 0x20; first--) yield parseAddress(`${first.toString(16)}fb:fbfb::fb`) as Address;
}
