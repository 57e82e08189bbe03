/**
 * The settings as read. Flags win over WEIR_* variables, variables over the file named by --config, the file over the
 * defaults. All errors are reported at once, before anything starts.
 */
import { hostname } from 'node:os';
import { join } from 'node:path';
import { WeirError } from '../errors.ts';
import { Expected, type Setting } from '../run/settings.ts';
import { type ListenAddress, readAddress, readListenAddress, readTlsAddress } from './listen-address.ts';
import { SETTING_NAMES, SETTINGS, type Values } from './settings.ts';
import { type ConfigSources, collect } from './written.ts';

/** Settings as read, with the computed ones filled in: names and sockets are never empty. */
export type Config = Values & {
  readonly listen: ListenAddress | undefined;
  readonly hubbleListen: ListenAddress | undefined;
  readonly apiTlsListen: ListenAddress | undefined;
  readonly healthListen: ListenAddress | undefined;
  readonly metricsListen: ListenAddress | undefined;
};

/** Reads all settings; CONFIG_INVALID with every error, one a line, in the message. The result is frozen. */
export function readConfig(sources: ConfigSources): Config {
  const errors: string[] = [];
  const written = collect(sources, errors);
  const values: Record<string, unknown> = {};
  for (const key of SETTING_NAMES) {
    const setting: Setting<unknown> = SETTINGS[key];
    const { value, place } = written.get(key) ?? { value: setting.fallback, place: 'the default' };
    const read = setting.read(value);
    if (read instanceof Expected) errors.push(`${place}: expected ${read.what}, got ${JSON.stringify(value)}`);
    else values[key] = read;
  }
  const config = complete(values as Values, errors);
  if (errors.length === 0) return Object.freeze(config);
  throw new WeirError('CONFIG_INVALID', 'read settings', errors.join('\n'));
}

/** Fills in what follows from other settings and checks what no setting can check alone. */
function complete(values: Values, errors: string[]): Config {
  if (errors.length === 0 && !values.podCidrV4 && !values.podCidrV6) {
    errors.push('--pod-cidr-v4 and --pod-cidr-v6 are both none: pods need addresses of at least one family');
  }
  return {
    ...values,
    nodeName: values.nodeName || hostname().toLowerCase(),
    cniSocket: values.cniSocket || join(values.runDirectory ?? '', 'cni.sock'),
    apiSocket: values.apiSocket || join(values.runDirectory ?? '', 'api.sock'),
    listen: readListenAddress(values, errors),
    hubbleListen: readTlsAddress('hubbleListenAddress', '0.0.0.0:4244 or [::]:4244', values, errors),
    apiTlsListen: readTlsAddress('apiTlsListenAddress', '0.0.0.0:4243 or [::]:4243', values, errors),
    healthListen: readAddress('--health-listen-address', values.healthListenAddress, '127.0.0.1:9879', errors),
    metricsListen: readAddress('--metrics-listen-address', values.metricsListenAddress, '0.0.0.0:9962', errors),
  };
}
