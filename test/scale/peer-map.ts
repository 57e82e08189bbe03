/** The kernel's table of who lives at an address, read beside the agent that writes it. */
import { join } from 'node:path';
import * as abi from '../../agent/datapath/layout.gen.ts';
import { KernelMap } from '../../agent/datapath/map/maps.ts';
import { decodePeer, encodePeerKey } from '../../agent/datapath/map/peer-rows.ts';
import type { Address } from '../../agent/model/address.ts';
import { closeFd, openPinned } from '../../native/index.ts';

export class PeerMap {
  readonly #map: KernelMap<abi.PeerKey, abi.Peer>;

  /** `pinFolder`: the agent's pin directory. */
  constructor(pinFolder: string) {
    const handle = openPinned(join(pinFolder, 'maps/peers'));
    if (handle?.kind !== 'map') throw new Error(`${pinFolder}/maps/peers is no map`);
    this.#map = new KernelMap(handle, abi.peerKey, abi.peer);
  }

  /** Undefined: nobody lives there. */
  identityAt(address: Address): number | undefined {
    return this.#map.get(encodePeerKey(address))?.identity;
  }

  /** Identities by address, of pods only. */
  pods(): Map<Address, number> {
    const rows = [...this.#map.entries()].map(([key, value]) => decodePeer(key, value));
    return new Map(rows.filter(({ kind }) => kind === 'pod').map(({ address, identity }) => [address, identity]));
  }

  close(): void {
    closeFd(this.#map.handle);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
