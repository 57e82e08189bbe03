// SPDX-License-Identifier: Apache-2.0
/* Runs a script against the kernel it finds itself on, as an ordinary process or as the init of a machine
 * with nothing else in it (script.ts has the words, boot.ts the machine). One answer per line, so that the
 * same script's answers on two kernels can be compared. Linked statically: the initramfs holds this file, the
 * objects and a few modules. */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#define BYTES_MAX 4096
#define WORDS_MAX 8
#define LOG_MAX	  (1 << 20)

static FILE *answers;
static struct bpf_object *object;
static char *verifier_log;

static void answer(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(answers, format, args);
	va_end(args);
	fputc('\n', answers);
	fflush(answers);
}

static void answer_bytes(const char *start, const unsigned char *bytes, size_t count)
{
	fputs(start, answers);
	for (size_t i = 0; i < count; i++)
		fprintf(answers, "%02x", bytes[i]);
	fputc('\n', answers);
	fflush(answers);
}

/* "0a1b" -> bytes; their number, or -1 */
static int bytes_of(const char *hex, unsigned char *out)
{
	size_t length = strlen(hex);

	if (length % 2 || length / 2 > BYTES_MAX)
		return -1;
	for (size_t i = 0; i < length / 2; i++)
		if (sscanf(hex + 2 * i, "%2hhx", &out[i]) != 1)
			return -1;
	return length / 2;
}

static struct bpf_map *map_named(const char *name)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, object) if (!strcmp(bpf_map__name(map), name)) return map;
	return NULL;
}

static int program_fd(const char *name)
{
	struct bpf_program *program = bpf_object__find_program_by_name(object, name);

	return program ? bpf_program__fd(program) : -1;
}

/* ---- the script's words; each returns 0 or -errno ---- */

/* open FILE */
static int do_open(char **words)
{
	if (object)
		bpf_object__close(object);
	LIBBPF_OPTS(bpf_object_open_opts, options, .kernel_log_buf = verifier_log,
		    .kernel_log_size = LOG_MAX);
	object = bpf_object__open_file(words[1], &options);
	return object ? 0 : -errno;
}

/* rodata NAME HEX: the bytes of a `const volatile` variable, found by BTF */
static int do_rodata(char **words)
{
	static unsigned char bytes[BYTES_MAX], data[BYTES_MAX];
	const struct btf *btf = bpf_object__btf(object);
	const struct btf_type *section =
		btf__type_by_id(btf, btf__find_by_name_kind(btf, ".rodata", BTF_KIND_DATASEC));
	int count = bytes_of(words[2], bytes);
	struct bpf_map *map;
	size_t size;

	if (!section)
		return -ENOENT;
	const struct btf_var_secinfo *variable = btf_var_secinfos(section);

	for (int i = 0; i < btf_vlen(section); i++, variable++) {
		const struct btf_type *type = btf__type_by_id(btf, variable->type);

		if (strcmp(btf__name_by_offset(btf, type->name_off), words[1]))
			continue;
		bpf_object__for_each_map(map, object)
		{
			if (!strstr(bpf_map__name(map), ".rodata"))
				continue;
			const void *initial = bpf_map__initial_value(map, &size);

			if (count != (int)variable->size || size > sizeof(data))
				return -EINVAL;
			memcpy(data, initial, size);
			memcpy(data + variable->offset, bytes, count);
			return bpf_map__set_initial_value(map, data, size);
		}
	}
	return -ENOENT;
}

/* size MAP ENTRIES: a small machine has no memory for the sizes of a node */
static int do_size(char **words)
{
	struct bpf_map *map = map_named(words[1]);

	return map ? bpf_map__set_max_entries(map, strtoul(words[2], NULL, 10)) : -ENOENT;
}

/* load: all programs and maps; a refusal is followed by the end of the verifier's log */
static int do_load(char **words)
{
	struct bpf_program *program;
	int error;

	(void)words;
	verifier_log[0] = 0;
	error = bpf_object__load(object);
	if (error) {
		size_t length = strlen(verifier_log), shown = length > 4000 ? length - 4000 : 0;

		for (char *line = strtok(verifier_log + shown, "\n"); line; line = strtok(NULL, "\n"))
			answer("log %s", line);
		return error;
	}
	bpf_object__for_each_program(program, object) answer("program %s", bpf_program__name(program));
	return 0;
}

/* map NAME KEY VALUE */
static int do_map(char **words)
{
	static unsigned char key[BYTES_MAX], value[BYTES_MAX];
	struct bpf_map *map = map_named(words[1]);

	if (!map)
		return -ENOENT;
	if (bytes_of(words[2], key) != (int)bpf_map__key_size(map) ||
	    bytes_of(words[3], value) != (int)bpf_map__value_size(map))
		return -EINVAL;
	return bpf_map_update_elem(bpf_map__fd(map), key, value, BPF_ANY) ? -errno : 0;
}

/* slot MAP PROGRAM: into slot 0 of a program array */
static int do_slot(char **words)
{
	struct bpf_map *map = map_named(words[1]);
	__u32 key = 0;
	int fd = program_fd(words[2]);

	if (!map || fd < 0)
		return -ENOENT;
	return bpf_map_update_elem(bpf_map__fd(map), &key, &fd, BPF_ANY) ? -errno : 0;
}

struct request {
	struct nlmsghdr header;
	struct ifinfomsg link;
	char attributes[512];
};

static struct rtattr *attribute(struct request *request, int type, const void *data, int length)
{
	struct rtattr *at = (void *)request + NLMSG_ALIGN(request->header.nlmsg_len);

	at->rta_type = type;
	at->rta_len = RTA_LENGTH(length);
	if (length)
		memcpy(RTA_DATA(at), data, length);
	request->header.nlmsg_len = NLMSG_ALIGN(request->header.nlmsg_len) + RTA_ALIGN(at->rta_len);
	return at;
}

static void end_of(struct request *request, struct rtattr *at)
{
	at->rta_len = (char *)request + request->header.nlmsg_len - (char *)at;
}

static int rtnetlink(struct request *request)
{
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
		char rest[1024];
	} reply;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), error = 0;

	if (fd < 0)
		return -errno;
	if (send(fd, request, request->header.nlmsg_len, 0) < 0 || recv(fd, &reply, sizeof(reply), 0) < 0)
		error = -errno;
	else
		error = reply.error.error;
	close(fd);
	return error;
}

/* So that no neighbour discovery of the kernel's own mixes with what the script sends. */
static int without_ipv6(void)
{
	int fd = open("/proc/sys/net/ipv6/conf/default/disable_ipv6", O_WRONLY | O_CLOEXEC), error = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, "1", 1) != 1)
		error = -errno;
	close(fd);
	return error;
}

/* link NAME INDEX: a veth pair NAME (with this index) and NAMEp, both up */
static int do_link(char **words)
{
	char peer_name[IFNAMSIZ + 1];
	const struct ifinfomsg nothing = {};
	struct request add = {
		.header = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct ifinfomsg)),
			   .nlmsg_type = RTM_NEWLINK,
			   .nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK},
		.link = {.ifi_index = atoi(words[2]), .ifi_flags = IFF_UP, .ifi_change = IFF_UP}};
	struct rtattr *info, *data, *peer;
	int error;

	snprintf(peer_name, sizeof(peer_name), "%sp", words[1]);
	attribute(&add, IFLA_IFNAME, words[1], strlen(words[1]) + 1);
	info = attribute(&add, IFLA_LINKINFO, NULL, 0);
	attribute(&add, IFLA_INFO_KIND, "veth", 4);
	data = attribute(&add, IFLA_INFO_DATA, NULL, 0);
	peer = attribute(&add, VETH_INFO_PEER, &nothing, sizeof(nothing));
	attribute(&add, IFLA_IFNAME, peer_name, strlen(peer_name) + 1);
	end_of(&add, peer);
	end_of(&add, data);
	end_of(&add, info);
	error = without_ipv6() ?: rtnetlink(&add);
	if (error)
		return error;

	struct request up = {
		.header = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct ifinfomsg)),
			   .nlmsg_type = RTM_NEWLINK,
			   .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
		.link = {.ifi_index = if_nametoindex(peer_name), .ifi_flags = IFF_UP, .ifi_change = IFF_UP}};
	return rtnetlink(&up);
}

/* run NAME PROGRAM IFINDEX FRAME: PROG_TEST_RUN with the frame on that device; ingress_ifindex is 0, since
 * Linux 5.10 cannot set it */
static int do_run(char **words)
{
	static unsigned char frame[BYTES_MAX], out[BYTES_MAX];
	struct __sk_buff context = {.ifindex = atoi(words[3])};
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame, .data_out = out,
		    .data_size_out = sizeof(out), .ctx_in = &context, .ctx_size_in = sizeof(context),
		    .repeat = 1);
	int fd = program_fd(words[2]), length = bytes_of(words[4], frame);
	char start[128];

	if (fd < 0)
		return -ENOENT;
	options.data_size_in = length;
	if (length < 0 || bpf_prog_test_run_opts(fd, &options))
		return length < 0 ? -EINVAL : -errno;
	snprintf(start, sizeof(start), "ran %s %d ", words[1], (int)options.retval);
	answer_bytes(start, out, options.data_size_out);
	return 0;
}

/* xdp LINK PROGRAM: attached by a link, generic, as the agent does it where the driver has no XDP. Stays
 * while the probe runs. */
static int do_xdp(char **words)
{
	LIBBPF_OPTS(bpf_link_create_opts, options, .flags = XDP_FLAGS_SKB_MODE);
	int fd = bpf_link_create(program_fd(words[2]), if_nametoindex(words[1]), BPF_XDP, &options);

	return fd < 0 ? -errno : 0;
}

/* clsact LINK ingress|egress PROGRAM: attached as the agent does it where there is no tcx */
static int do_clsact(char **words)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = if_nametoindex(words[1]),
		    .attach_point = strcmp(words[2], "egress") ? BPF_TC_INGRESS : BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, options, .handle = 1, .priority = 1, .prog_fd = program_fd(words[3]));
	LIBBPF_OPTS(bpf_tc_opts, query, .handle = 1, .priority = 1);
	int error = bpf_tc_hook_create(&hook);

	if (error && error != -EEXIST)
		return error;
	error = bpf_tc_attach(&hook, &options) ?: bpf_tc_query(&hook, &query);
	return error ?: query.prog_id ? 0 : -ENOENT;
}

/* redirect LINK TARGET: what comes in by LINK leaves by the device with index TARGET, as if the node had
 * routed it. In instructions, because the only object loaded is the one under test. */
static int do_redirect(char **words)
{
	struct bpf_insn instructions[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_1, .imm = atoi(words[2])},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_2, .imm = 0},
		{.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_redirect},
		{.code = BPF_JMP | BPF_EXIT},
	};
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = if_nametoindex(words[1]), .attach_point = BPF_TC_INGRESS);
	int fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "forward", "GPL", instructions,
			       sizeof(instructions) / sizeof(*instructions), NULL);
	LIBBPF_OPTS(bpf_tc_opts, options, .handle = 1, .priority = 1, .prog_fd = fd);
	int error = fd < 0 ? fd : bpf_tc_hook_create(&hook);

	return error ?: bpf_tc_attach(&hook, &options);
}

/* note NAME: said again, to find one's way in the answers */
static int do_note(char **words)
{
	answer("note %s", words[1]);
	return 0;
}

/* received LINK: how many frames have come in by it. From /proc, which shows the process's own namespace;
 * /sys does not. */
static int do_received(char **words)
{
	unsigned long long bytes, frames;
	char line[512], name[64];
	FILE *file = fopen("/proc/net/dev", "r");
	int error = -ENODEV;

	if (!file)
		return -errno;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, " %63[^:]: %llu %llu", name, &bytes, &frames) != 3 || strcmp(name, words[1]))
			continue;
		answer("received %s %llu", name, frames);
		error = 0;
	}
	fclose(file);
	return error;
}

/* send LINK FRAME: from a packet socket, so it leaves through the device as if a process had sent it */
static int do_send(char **words)
{
	static unsigned char frame[BYTES_MAX];
	struct sockaddr_ll to = {
		.sll_family = AF_PACKET, .sll_ifindex = if_nametoindex(words[1]), .sll_halen = 6};
	int length = bytes_of(words[2], frame), error = 0;
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	if (length < 14 || fd < 0)
		return -EINVAL;
	memcpy(to.sll_addr, frame, 6);
	if (sendto(fd, frame, length, 0, (struct sockaddr *)&to, sizeof(to)) != length)
		error = -errno;
	close(fd);
	return error;
}

static int event(void *context, void *record, size_t length)
{
	(void)context;
	answer_bytes("event ", record, length);
	return 0;
}

/* events MAP: what the ring buffer has by now */
static int do_events(char **words)
{
	struct bpf_map *map = map_named(words[1]);
	struct ring_buffer *ring;

	if (!map)
		return -ENOENT;
	ring = ring_buffer__new(bpf_map__fd(map), event, NULL, NULL);
	if (!ring)
		return -errno;
	while (ring_buffer__consume(ring) > 0)
		;
	ring_buffer__free(ring);
	return 0;
}

/* sums MAP: the 64-bit numbers of a per-CPU array, over all CPUs, where not all are 0 */
static int do_sums(char **words)
{
	struct bpf_map *map = map_named(words[1]);
	int cpus = libbpf_num_possible_cpus();

	if (!map)
		return -ENOENT;
	size_t numbers = bpf_map__value_size(map) / 8;
	__u64 values[cpus][numbers], sums[numbers];

	for (__u32 key = 0; key < bpf_map__max_entries(map); key++) {
		__u64 any = 0;

		if (bpf_map_lookup_elem(bpf_map__fd(map), &key, values))
			return -errno;
		memset(sums, 0, sizeof(sums));
		for (int cpu = 0; cpu < cpus; cpu++)
			for (size_t i = 0; i < numbers; i++)
				any |= sums[i] += values[cpu][i];
		if (!any)
			continue;
		fprintf(answers, "sum %s %u", words[1], key);
		for (size_t i = 0; i < numbers; i++)
			fprintf(answers, " %llu", (unsigned long long)sums[i]);
		fputc('\n', answers);
	}
	return 0;
}

static const struct {
	const char *word;
	int arguments;
	int (*act)(char **words);
} words_known[] = {
	{"open", 1, do_open},	      {"rodata", 2, do_rodata},	    {"size", 2, do_size},
	{"load", 0, do_load},	      {"map", 3, do_map},	    {"slot", 2, do_slot},
	{"link", 2, do_link},	      {"run", 4, do_run},	    {"clsact", 3, do_clsact},
	{"xdp", 2, do_xdp},	      {"redirect", 2, do_redirect}, {"send", 2, do_send},
	{"received", 1, do_received}, {"note", 1, do_note},	    {"events", 1, do_events},
	{"sums", 1, do_sums},
};

/* A line that fails is answered and the next one tried: the reader sees all that is wrong at once. */
static void play(FILE *script)
{
	static char line[4 * BYTES_MAX + 256];

	for (int number = 1; fgets(line, sizeof(line), script); number++) {
		char *words[WORDS_MAX] = {};
		int count = 0, error = -EBADMSG;

		for (char *word = strtok(line, " \n"); word && count < WORDS_MAX; word = strtok(NULL, " \n"))
			words[count++] = word;
		if (!count)
			continue;
		for (size_t i = 0; i < sizeof(words_known) / sizeof(*words_known); i++)
			if (!strcmp(words_known[i].word, words[0]) && words_known[i].arguments == count - 1)
				error = words_known[i].act(words);
		if (error)
			answer("failed line %d %s %s %s: %s", number, words[0], words[1] ?: "",
			       words[2] ?: "", strerror(-error));
	}
	answer("end");
}

/* As init: /modules lists what to insert, the second serial port takes the answers. */
static void prepare_machine(void)
{
	static char path[256];
	FILE *modules;

	mount("proc", "/proc", "proc", 0, NULL);
	mount("sys", "/sys", "sysfs", 0, NULL);
	mount("dev", "/dev", "devtmpfs", 0, NULL);
	mount("bpf", "/sys/fs/bpf", "bpf", 0, NULL);
	answers = fopen("/dev/ttyS1", "w") ?: stdout;
	modules = fopen("/modules", "r");
	while (modules && fgets(path, sizeof(path), modules)) {
		path[strcspn(path, "\n")] = 0;
		int fd = open(path, O_RDONLY);

		if (fd < 0 || syscall(SYS_finit_module, fd, "", 0))
			answer("failed module %s: %s", path, strerror(errno));
		close(fd);
	}
}

int main(int argc, char **argv)
{
	struct utsname name;
	FILE *script;

	answers = stdout;
	if (getpid() == 1)
		prepare_machine();
	verifier_log = calloc(1, LOG_MAX);
	libbpf_set_print(NULL);
	uname(&name);
	answer("kernel %s", name.release);
	script = fopen(argc > 1 ? argv[1] : "/script", "r");
	if (script)
		play(script);
	else
		answer("failed script: %s", strerror(errno));
	if (getpid() == 1) {
		fclose(answers);
		sync();
		reboot(RB_AUTOBOOT); /* qemu -no-reboot ends here */
	}
	return 0;
}
