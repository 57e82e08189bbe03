/** Addresses the agent listens on: ADDRESS:PORT. */
import { flagName } from '../run/settings.ts';
import type { Values } from './settings.ts';

export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/** The open API's: loopback, or said to be meant. */
export function readListenAddress(values: Values, errors: string[]): ListenAddress | undefined {
  const address = readAddress('--listen-address', values.listenAddress, '127.0.0.1:4240 or [::1]:4240', errors);
  if (address === undefined) return undefined;
  const { host } = address;
  const loopback = host === 'localhost' || host === '::1' || /^127\.[0-9]+\.[0-9]+\.[0-9]+$/.test(host);
  if (!loopback && !values.listenUnsafe) {
    errors.push(
      `--listen-address: ${host} is not loopback and the API has no authentication; add --listen-unsafe to allow it`,
    );
  }
  return address;
}

/** Of a server that needs certificates. */
export function readTlsAddress(
  name: 'hubbleListenAddress' | 'apiTlsListenAddress',
  example: string,
  values: Values,
  errors: string[],
): ListenAddress | undefined {
  const address = readAddress(`--${flagName(name)}`, values[name], example, errors);
  const files = ['hubbleTlsCertFile', 'hubbleTlsKeyFile', 'hubbleTlsClientCaFile'] as const;
  const missing = files.filter((file) => values[file] === '').map((file) => `--${flagName(file)}`);
  if (address !== undefined && missing.length > 0) {
    errors.push(`--${flagName(name)}: TLS with client certificates needs ${missing.join(', ')} too`);
  }
  return address;
}

/** Undefined where none is written, or none that can be read; the latter is appended to `errors`. */
export function readAddress(
  flag: string,
  written: string,
  example: string,
  errors: string[],
): ListenAddress | undefined {
  if (!written) return undefined;
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+)):([0-9]{1,5})$/.exec(written);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || port > 65535) {
    errors.push(`${flag}: expected ADDRESS:PORT such as ${example}, got ${JSON.stringify(written)}`);
    return undefined;
  }
  return { host, port };
}
