/** Which control groups' processes reach Services at connect time, on machines that mount them in every known way. */
import * as assert from 'uvu/assert';
import { cgroup2Mount, cgroupDirectory } from '../../agent/datapath/program/cgroup.ts';
import { suite } from '../kit/suite.ts';

const test = suite('cgroup2 mount');
const V1 = 'cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\n';

test('v2 alone', () => assert.is(cgroup2Mount('cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n'), '/sys/fs/cgroup'));
test('hybrid: v2 beside v1', () =>
  assert.is(cgroup2Mount(`${V1}cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n`), '/sys/fs/cgroup/unified'));
test("in a container the host's, not its own group", () => {
  const mounts = 'cgroup2 /sys/fs/cgroup cgroup2 ro 0 0\ncgroup2 /host/sys/fs/cgroup cgroup2 rw 0 0\n';
  assert.is(cgroup2Mount(mounts), '/host/sys/fs/cgroup');
});
test('v1 alone: the message says what can be done', () => {
  assert.throws(
    () => cgroup2Mount(V1),
    /cgroup2 is not mounted: mount it, .*--cgroup-directory, or switch --services off/,
  );
});
test('what was set is taken', async () => {
  assert.is(await cgroupDirectory('/somewhere'), '/somewhere');
});

test.run();
