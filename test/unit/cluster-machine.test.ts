/** What test/cluster reads of the machine, and the addresses it gives. */
import * as assert from 'uvu/assert';
import { families, machineLink, nodeAddresses, POD_RANGE, withPrefix } from '../cluster/addresses.ts';
import { withinBounds } from '../cluster/capabilities.ts';
import { hierarchiesOf } from '../cluster/cgroups.ts';
import { ClusterPaths } from '../cluster/paths.ts';
import { suite } from '../kit/suite.ts';

const groups = suite('cluster: control group hierarchies');
groups('of a machine with v1 and the unified one beside it', () => {
  const mountinfo = `33 32 0:29 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755
34 33 0:30 / /sys/fs/cgroup/unified rw,relatime shared:10 - cgroup2 cgroup2 rw
36 33 0:32 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
37 33 0:33 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
`;
  assert.equal(hierarchiesOf(mountinfo), [
    { mount: '/sys/fs/cgroup/cpuset', version: 1, hasCpuset: true },
    { mount: '/sys/fs/cgroup/cpu,cpuacct', version: 1, hasCpuset: false },
    { mount: '/sys/fs/cgroup/unified', version: 2, hasCpuset: false },
  ]);
});
groups('of a machine with cgroup2 only', () => {
  const mountinfo = '35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n';
  assert.equal(hierarchiesOf(mountinfo), [{ mount: '/sys/fs/cgroup', version: 2, hasCpuset: false }]);
});
groups('one that is mounted twice is one', () => {
  const line = '34 33 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n';
  assert.is(hierarchiesOf(line + line).length, 1);
});
groups.run();

const addresses = suite('cluster: addresses');
addresses('of nodes, in both families', () => {
  assert.equal(nodeAddresses(1), { v4: '172.18.0.11', v6: 'fd00:172:18::11' });
  assert.equal(nodeAddresses(200), { v4: '172.18.0.210', v6: 'fd00:172:18::d8' });
});
addresses('of one family only', () => assert.equal(families(POD_RANGE, false), ['10.244.0.0/16']));
addresses('with prefixes', () =>
  assert.equal(withPrefix(nodeAddresses(2), true), ['172.18.0.12/24', 'fd00:172:18::12/64']),
);
addresses('of the link to the machine', () =>
  assert.equal(machineLink(255), { machine: '198.18.255.1', controlPlane: '198.18.255.2' }),
);
addresses.run();

const capabilities = suite('cluster: capabilities');
capabilities('that a machine keeps from root are left out', () => {
  const wanted = ['NET_ADMIN', 'SYS_RESOURCE', 'BPF'];
  assert.equal(withinBounds(wanted, 'CapEff:\t0000000000000000\nCapBnd:\t000001fffeffffff\n'), ['NET_ADMIN', 'BPF']);
  assert.equal(withinBounds(wanted, 'CapBnd:\t000001ffffffffff\n'), wanted);
});
capabilities.run();

const names = suite('cluster: names');
names('are part of everything it makes', () => {
  const paths = new ClusterPaths('weir');
  assert.is(paths.netns('node1'), 'weir-node1');
  assert.is(paths.cgroup('node1'), '/weir/node1');
});
for (const name of ['', 'Weir', '../x', '1a', 'a/b', 'a'.repeat(41)])
  names(`"${name}" is refused`, () => assert.throws(() => new ClusterPaths(name), /expected 1 to 40/));
names.run();
