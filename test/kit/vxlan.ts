/** Packets of a VXLAN tunnel (RFC 7348), built as packet.ts builds others. */
import { type Ends, Packet, udp } from './packet.ts';

const PORT = 8472;
const VALID_VNI = 0x08;
const HEADER_BYTES = 8;

/** `inner` as the tunnel carries it between two underlay addresses. */
export function vxlan(ends: Ends & { readonly port?: number }, vni: number, inner: Packet): Packet {
  const frame = inner.bytes();
  const payload = new Uint8Array(HEADER_BYTES + frame.length);
  payload.set([VALID_VNI, 0, 0, 0, vni >>> 16, vni >>> 8, vni, 0]);
  payload.set(frame, HEADER_BYTES);
  const { parts } = udp({ from: ends.from, to: ends.to, sport: 50_000, dport: ends.port ?? PORT });
  return new Packet({
    ...parts,
    words: `${parts.words} VXLAN ${vni} of ${inner}`,
    transport: { kind: 'udp', sport: 50_000, dport: ends.port ?? PORT, payload },
  });
}
