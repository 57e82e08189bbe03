/** native/: programs on devices and groups, by link and by filter, and what is seen when the device goes. */
import { mkdirSync, readFileSync, rmdirSync, rmSync } from 'node:fs';
import * as assert from 'uvu/assert';
import * as native from '../../native/index.ts';
import { compileBpf } from '../kit/bpf-object.ts';
import { command } from '../kit/command.ts';
import { type Netns, Testbed } from '../kit/netns.ts';
import { missing, privileged } from '../kit/privileged.ts';
import { suite } from '../kit/suite.ts';
import { until } from '../kit/until.ts';

const OBJECT = `
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4); __type(key, __u32); __type(value, __u64); } seen SEC(".maps");
static int count(__u32 slot)
{
	__u64 *value = bpf_map_lookup_elem(&seen, &slot);
	if (value)
		__sync_fetch_and_add(value, 1);
	return -1; /* TCX_NEXT, TC_ACT_UNSPEC: whoever comes next */
}
SEC("tc") int first(struct __sk_buff *skb) { return count(0); }
SEC("tc") int second(struct __sk_buff *skb) { return count(1); }
SEC("tc") int drop(struct __sk_buff *skb) { count(2); return 2; }
SEC("xdp") int xdp_drop(struct xdp_md *ctx) { count(3); return XDP_DROP; }
SEC("cgroup/connect4") int refuse(struct bpf_sock_addr *ctx) { return 0; }
`;

interface State {
  bed: Testbed;
  pod: Netns;
  object: native.LoadedObject;
  device: string;
  ifindex: number;
}
const state = {} as State;
const test = privileged(suite('native attach', state), 'root', 'bpffs');
const pins = `/sys/fs/bpf/wt-native-attach-${process.pid}`;
/** Each keeps one netlink socket, from its first work on. */
const WORKERS = 3;
let fds: number;

test.before(async () => {
  state.bed = await Testbed.open('native-attach');
  state.pod = await state.bed.netns('pod');
  fds = native.openFds();
  using source = compileBpf(OBJECT);
  state.object = native.openObject(source.path);
  mkdirSync(pins);
});
test.before.each(async () => {
  state.device = state.bed.linkName();
  await state.bed.veth(
    { name: 'eth0', netns: state.pod, addresses: ['192.168.77.2/24'] },
    { name: state.device, addresses: ['192.168.77.1/24'] },
  );
  state.ifindex = (await native.linkGet({ name: state.device }))?.index ?? 0;
});
test.after.each(async () => {
  await native.linkDelete({ name: state.device });
});
test.after(async () => {
  rmSync(pins, { recursive: true, force: true });
  state.object.close();
  await state.bed.close();
  const left = native.openFds() - fds;
  assert.ok(left <= WORKERS, `${left} descriptors stay open`);
});

function program(name: string): native.ProgramHandle {
  const found = state.object.programs[name];
  if (!found) throw new Error(`no program ${name}`);
  return found;
}
function seen(slot: number): bigint {
  const value = native.mapLookup(
    state.object.maps.seen as native.MapHandle,
    new Uint8Array(Uint32Array.of(slot).buffer),
  );
  return new DataView((value as Uint8Array).buffer).getBigUint64(0, true);
}
const ping = () => state.pod.ping('192.168.77.1', 300);
const idOf = (name: string) => native.programInfo(program(name)).id;
const codeOf = (action: () => unknown): string => {
  try {
    action();
    return 'accepted';
  } catch (error) {
    return error instanceof native.KernelError ? error.code : String(error);
  }
};

const noTcx = missing('tcx');
const tcx = noTcx === undefined ? test : (name: string) => test.skip(name, noTcx);

tcx('tcx: the head comes before what is there, both run, and a link can be given another program', async () => {
  const { ifindex } = state;
  const later = native.attachTcx(program('second'), ifindex, 'ingress');
  const head = native.attachTcx(program('first'), ifindex, 'ingress', { head: true });
  assert.equal(
    native.queryTcx(ifindex, 'ingress').map(({ programId }) => programId),
    [idOf('first'), idOf('second')],
  );
  assert.equal(native.queryTcx(ifindex, 'egress'), []);
  const info = native.linkInfo(head);
  assert.equal([info.type, info.ifindex, info.programId, info.attachType], ['tcx', ifindex, idOf('first'), 46]);

  const [one, two] = [seen(0), seen(1)];
  assert.ok(await ping());
  assert.ok(seen(0) > one && seen(1) > two);

  native.linkUpdate(head, program('drop'));
  assert.not(await ping());
  native.linkDetach(head);
  assert.ok(await ping());
  native.closeFd(head);
  native.closeFd(later);
  assert.equal(native.queryTcx(ifindex, 'ingress'), [], 'a link goes with its last descriptor');
});

tcx('tcx: a pinned link outlives its descriptor, and says when its device is gone', async () => {
  const { ifindex } = state;
  const link = native.attachTcx(program('first'), ifindex, 'egress', { head: true });
  native.pin(link, `${pins}/link`);
  native.closeFd(link);
  assert.is(native.queryTcx(ifindex, 'egress').length, 1);

  await native.linkDelete({ index: ifindex });
  const found = native.openPinned(`${pins}/link`);
  if (found?.kind !== 'link') throw new Error(`the pin holds ${found?.kind}`);
  assert.is(native.linkInfo(found).ifindex, 0);
  assert.is(
    codeOf(() => native.linkUpdate(found, program('second'))),
    'ENOLINK',
  );
  native.closeFd(found);
  native.unpin(`${pins}/link`);
  assert.is(
    codeOf(() => native.queryTcx(ifindex, 'egress')),
    'ENODEV',
  );
});

tcx('tcx: a hook that someone wiped is seen', async () => {
  const link = native.attachTcx(program('first'), state.ifindex, 'ingress', { head: true });
  await command(['bpftool', 'link', 'detach', 'id', String(native.linkInfo(link).id)]);
  assert.is(native.linkInfo(link).ifindex, 0);
  assert.equal(native.queryTcx(state.ifindex, 'ingress'), []);
  native.closeFd(link);
});

test('clsact: attached, listed, replaced in place, detached', async () => {
  const { ifindex } = state;
  assert.equal(native.queryClsact(ifindex, 'ingress'), []);
  assert.is(native.detachClsact(ifindex, 'ingress', { priority: 1, handle: 1 }), false);
  native.attachClsact(program('first'), ifindex, 'ingress', { priority: 1, handle: 1 });
  native.attachClsact(program('second'), ifindex, 'ingress', { priority: 2, handle: 7 });
  native.attachClsact(program('second'), ifindex, 'egress', { priority: 1, handle: 1 });
  assert.equal(native.queryClsact(ifindex, 'ingress'), [
    { priority: 1, handle: 1, programId: idOf('first'), name: 'first' },
    { priority: 2, handle: 7, programId: idOf('second'), name: 'second' },
  ]);
  const [one, two] = [seen(0), seen(1)];
  assert.ok(await ping());
  assert.ok(seen(0) > one && seen(1) > two);

  native.attachClsact(program('drop'), ifindex, 'ingress', { priority: 1, handle: 1 });
  assert.equal(native.queryClsact(ifindex, 'ingress')[0]?.programId, idOf('drop'));
  assert.not(await ping());
  assert.is(native.detachClsact(ifindex, 'ingress', { priority: 1, handle: 1 }), true);
  assert.is(native.detachClsact(ifindex, 'ingress', { priority: 1, handle: 1 }), false);
  assert.ok(await ping());
  assert.is(native.queryClsact(ifindex, 'egress').length, 1);
});

test('clsact: the wrong kind of program and absent devices are refused', () => {
  const place = { priority: 1, handle: 1 };
  assert.is(
    codeOf(() => native.attachClsact(program('xdp_drop'), state.ifindex, 'ingress', place)),
    'EINVAL',
  );
  assert.is(
    codeOf(() => native.attachClsact(program('first'), 0x7ffffff0, 'ingress', place)),
    'ENODEV',
  );
  assert.throws(
    () => native.attachClsact(program('first'), 1, 'ingress', { priority: 0, handle: 1 }),
    /priority must be 1 to 65535/,
  );
});

test('xdp: generic mode on a device, until the link is closed', async () => {
  assert.ok(await ping()); // both know the other's MAC now
  const link = native.attachXdp(program('xdp_drop'), state.ifindex, 'generic');
  const info = native.linkInfo(link);
  assert.equal([info.type, info.ifindex, info.programId], ['xdp', state.ifindex, idOf('xdp_drop')]);
  const before = seen(3);
  assert.not(await ping());
  assert.ok(seen(3) > before);
  native.closeFd(link);
  assert.ok(await ping());
});

test('cgroup: a link on a group, which says when the group is gone', async () => {
  const root = /^\S+ (\S+) cgroup2 /m.exec(readFileSync('/proc/mounts', 'utf8'))?.[1];
  if (root === undefined) throw new Error('cgroup2 is not mounted');
  const group = `${root}/${state.bed.name()}`;
  mkdirSync(group);
  let link: native.LinkHandle;
  try {
    link = native.attachCgroup(program('refuse'), group, 10); // BPF_CGROUP_INET4_CONNECT
    const info = native.linkInfo(link);
    assert.is(info.type, 'cgroup');
    assert.is(info.attachType, 10);
    assert.ok(info.cgroupId > 0);
  } finally {
    rmdirSync(group);
  }
  await until(() => native.linkInfo(link).cgroupId === 0, { what: 'the link to lose its group' });
  native.closeFd(link);
  assert.is(
    codeOf(() => native.attachCgroup(program('refuse'), group, 10)),
    'ENOENT',
  );
});

test.run();
