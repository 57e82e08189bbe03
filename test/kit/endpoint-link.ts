/** Devices with the index of an endpoint: BPF_PROG_TEST_RUN takes only those that exist. */
import { spawnSync } from 'node:child_process';
import { EndpointLimits } from '../../agent/datapath/layout.gen.ts';

export interface EndpointLink {
  /** Index of the endpoint. */
  readonly id: number;
  readonly ifindex: number;
  /** The veth end with that index; the other one has a "p" behind its name. */
  readonly name: string;
}

const ATTEMPTS = 100;
let made = 0;

/** A veth pair at a random free endpoint index: tests running at the same time pick from the same range. */
export function makeEndpointLink(mac: string): EndpointLink {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const id = 1 + Math.floor(Math.random() * (EndpointLimits.ENDPOINT_MAX - 1));
    const ifindex = EndpointLimits.ENDPOINT_IFINDEX_BASE + id;
    const name = `wt-b${process.pid}-${made++}`;
    const words = `link add ${name} index ${ifindex} address ${mac} type veth peer ${name}p`.split(' ');
    const { status, stderr } = spawnSync('ip', words, { encoding: 'utf8' });
    if (status === 0) return { id, ifindex, name };
    if (!/exists|busy/i.test(stderr)) throw new Error(`ip ${words.join(' ')}: ${stderr}`);
  }
  throw new Error(`${ATTEMPTS} random endpoint indexes were all taken`);
}

export function removeEndpointLink(name: string): void {
  spawnSync('ip', ['link', 'delete', name]);
}
