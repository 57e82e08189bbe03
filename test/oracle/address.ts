/** Addresses as numbers. */
import { addressBytes, parseAddress } from '../../agent/model/address.ts';

interface Numeric {
  readonly bits: 32 | 128;
  readonly value: bigint;
}

function numeric(text: string): Numeric {
  const address = parseAddress(text);
  if (!address) throw new Error(`${text} is no address`);
  const bytes = addressBytes(address);
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  return { bits: bytes.length === 4 ? 32 : 128, value: BigInt(`0x${hex}`) };
}

/** True if the address lies inside the block; bits of the block behind its length do not count. */
export function inside(address: string, block: string): boolean {
  const [base = '', length] = block.split('/');
  const a = numeric(address);
  const b = numeric(base);
  if (a.bits !== b.bits) return false;
  const free = BigInt(a.bits - Number(length ?? a.bits));
  return a.value >> free === b.value >> free;
}

export function insideExcept(address: string, block: string, except: readonly string[]): boolean {
  return inside(address, block) && !except.some((hole) => inside(address, hole));
}
