/**
 * Which files a container runtime finds: the plugin with its `.socket` file in one folder, the network configuration in
 * another. Pure; cni.ts writes them. A runtime takes the first configuration in the order of file names (libcni,
 * go-cni), and looks again whenever the folder changes.
 */
import { join } from 'node:path';
import type { Config } from '../config/config.ts';

/** Where everything is, on the host. The agent sees the host's folders at the same paths. */
export interface CniFiles {
  readonly binDirectory: string;
  readonly confDirectory: string;
  /** "05-weir.conflist". */
  readonly confName: string;
  /** Other networks' configurations are put aside, so that no pod is given to one of them. */
  readonly exclusive: boolean;
  /** The agent's CNI socket. */
  readonly socket: string;
  /** Where the plugin keeps DELs while the agent is away. */
  readonly queueDirectory: string;
  /** A file that says: the configuration was taken away on purpose. Heeded by the agent that runs, gone with the next one. */
  readonly withdrawn: string;
}

/** Name of the plugin, in the configuration and as a file. */
export const PLUGIN = 'weir-cni';
/** The reference plugin that serves hostPort; chained behind ours where it is installed. */
export const PORTMAP = 'portmap';
/** Appended to the name of a configuration that was put aside. */
const ASIDE = '.weir_bak';
/** What runtimes load: libcni's ConfFiles and go-cni. */
const LOADED = ['.conf', '.conflist', '.json'];

export function cniFilesOf(config: Config): CniFiles {
  return {
    binDirectory: config.cniBinDirectory,
    confDirectory: config.cniConfDirectory,
    confName: config.cniConfName,
    exclusive: config.cniExclusive,
    socket: config.cniSocket,
    queueDirectory: join(config.stateDirectory, 'cni-queue'),
    withdrawn: join(config.runDirectory, 'cni-withdrawn'),
  };
}

/** The file beside the plugin, by which it finds its agent (cni/README.md). */
export function socketFile(files: CniFiles): string {
  return `${files.socket}\n${files.queueDirectory}\n`;
}

/**
 * The configuration. `cniVersion` is for runtimes that know one version only, such as containerd 1.6, which stops at
 * 1.0.0; later ones take the newest of `cniVersions` and then ask for STATUS and GC too (CNI SPEC.md 1.1.0, section 1).
 */
export function conflist(installed: readonly string[]): string {
  const portmap = { type: PORTMAP, capabilities: { portMappings: true } };
  const list = {
    cniVersion: '1.0.0',
    cniVersions: ['0.4.0', '1.0.0', '1.1.0'],
    name: 'weir',
    plugins: [{ type: PLUGIN }, ...(installed.includes(PORTMAP) ? [portmap] : [])],
  };
  return `${JSON.stringify(list, undefined, 2)}\n`;
}

export interface Rename {
  readonly from: string;
  readonly to: string;
}

/** Of the files in the configuration folder: those of other networks, and what they are called while ours is in force. */
export function toPutAside(names: readonly string[], ours: string): Rename[] {
  return names
    .filter((name) => name !== ours && LOADED.some((ending) => name.endsWith(ending)))
    .map((name) => ({ from: name, to: `${name}${ASIDE}` }));
}

/** What {@link toPutAside} renamed, back. A name that somebody has taken meanwhile is theirs. */
export function toPutBack(names: readonly string[]): Rename[] {
  return names
    .filter((name) => name.endsWith(ASIDE))
    .map((name) => ({ from: name, to: name.slice(0, -ASIDE.length) }))
    .filter(({ to }) => !names.includes(to));
}
