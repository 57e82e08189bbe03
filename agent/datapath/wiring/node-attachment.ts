/**
 * The node's own devices as the datapath needs them: programs on uplinks and tunnel, what those and from_pod are told about
 * the node, and whom the uplinks refuse. Nothing of it is loaded before it is asked for: a node that is alone has none.
 */
import type { LoadedObject, ProgramHandle } from '../../../native/index.ts';
import { linkGet } from '../../../native/index.ts';
import { WeirError } from '../../errors.ts';
import type { Prefix } from '../../model/address.ts';
import type { DeviceProgram, NodeAttachment } from '../datapath.ts';
import * as abi from '../layout.gen.ts';
import type { NodeMaps } from '../map/maps.ts';
import { decodeRangeKey, encodeNodeState, encodeRangeKey } from '../map/peer-rows.ts';
import { createRefusedSources } from '../map/refused-sources.ts';
import type { DevicePrograms, Wanted } from '../program/device-programs.ts';
import type { Loaded } from '../program/loader.ts';
import type { SocketPrograms } from '../program/socket-programs.ts';
import { localPrefixes } from './node.ts';

/** The one slot of `node_state`. */
const ONLY = 0;
const ALONE: abi.NodeState = abi.nodeState.decode(new Uint8Array(abi.nodeState.size));
const NOT_READ = 1;

export interface AttachedNode {
  /** @throws WeirError DATAPATH_FAILED naming what is missing on which device, when all that can be done is done */
  attach(attachment: NodeAttachment): Promise<readonly string[]>;
  setDenied(prefixes: readonly Prefix[]): Promise<void>;
  detach(): Promise<void>;
  programs(): readonly DeviceProgram[];
  close(): void;
}

/** `judgeAgain`: whether a connection is masqueraded, and by which way it goes, is noted when it is judged. */
export function createAttachedNode(
  maps: NodeMaps,
  devices: DevicePrograms,
  sockets: SocketPrograms,
  openBeside: Loaded['openBeside'],
  judgeAgain: (because: string) => void,
): AttachedNode {
  const objects = new Map<'tunnel' | 'uplink', LoadedObject>();
  const refused = createRefusedSources(maps.refusedSources);

  function program(object: 'tunnel' | 'uplink', name: string): ProgramHandle {
    const loaded = objects.get(object) ?? openBeside(object);
    objects.set(object, loaded);
    const found = loaded.programs[name];
    if (found) return found;
    throw new WeirError(
      'DATAPATH_FAILED',
      'attach node',
      `bpf/${object} has no program ${name}: it was built from another version`,
    );
  }

  function wanted({ uplinks, tunnel }: NodeAttachment): Wanted[] {
    return [
      ...uplinks.map(
        (device): Wanted => ({
          ...{ device, hook: 'xdp', program: program('uplink', 'guard_uplink') },
          onIngress: program('uplink', 'guarded_uplink'),
        }),
      ),
      // With a tunnel nothing for pods comes by the uplink itself; what does all the same takes the stack's way to to_pod.
      ...(tunnel === undefined ? uplinks : []).map(
        (device): Wanted => ({ device, hook: 'ingress', program: program('uplink', 'from_uplink') }),
      ),
      ...(tunnel === undefined
        ? []
        : ([
            { device: tunnel, hook: 'ingress', program: program('tunnel', 'from_tunnel') },
            { device: tunnel, hook: 'egress', program: program('tunnel', 'to_tunnel') },
          ] as const)),
    ];
  }

  function tell(state: abi.NodeState): void {
    const before = maps.nodeState.get(ONLY);
    const bytes = (of: abi.NodeState): string => Buffer.from(abi.nodeState.encode(of)).toString('hex');
    if (before !== undefined && bytes(before) === bytes(state)) return;
    maps.nodeState.set(ONLY, state);
    judgeAgain('the node has another state');
  }

  function setExcluded(prefixes: readonly Prefix[]): void {
    const table = maps.masqueradeExcluded;
    const keep = new Set(prefixes);
    const held = [...table.entries()].map(([key]) => decodeRangeKey(key));
    const gone = held.filter((prefix) => !keep.has(prefix));
    const added = [...keep].filter((prefix) => !held.includes(prefix));
    if (gone.length + added.length === 0) return;
    table.deleteAll(gone.map(encodeRangeKey));
    table.setAll(added.map((prefix) => [encodeRangeKey(prefix), NOT_READ]));
    judgeAgain('other destinations are masqueraded');
  }

  return {
    async attach(attachment) {
      const { tunnel, uplinks, podCidrs } = attachment;
      setExcluded(attachment.masqueradeExcluded);
      const faults: string[] = [];
      if (uplinks.length > 0) {
        await refused.setOwn([...new Set([...podCidrs, ...(await localPrefixes())])]).catch((cause: unknown) => {
          faults.push(`not all sources that are to be refused are: ${(cause as Error).message}`);
        });
      }
      const done = [...(await devices.attach(wanted(attachment))), ...(await sockets.attach(attachment.cgroup))];
      const device = tunnel === undefined ? undefined : await linkGet({ name: tunnel });
      tell(encodeNodeState(attachment, device?.index ?? 0));
      for (const { device: on, hook, program: name, fault } of devices.status()) {
        if (fault !== undefined) faults.push(`${name} is not on ${on} (${hook}): ${fault}`);
      }
      faults.push(...sockets.faults());
      if (faults.length > 0) throw new WeirError('DATAPATH_FAILED', 'attach node', faults.join('; '));
      return done;
    },
    setDenied: (prefixes) => refused.setDenied(prefixes),
    async detach() {
      tell(ALONE);
      setExcluded([]);
      await devices.attach([]);
      await sockets.attach(undefined);
      await refused.setOwn([]);
    },
    programs: () => devices.status(),
    close() {
      devices.close();
      sockets.close();
      for (const object of objects.values()) object.close();
    },
  };
}
