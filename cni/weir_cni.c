/* SPDX-License-Identifier: Apache-2.0 */
/* weir-cni: environment and stdin -> one request to the agent's socket -> reply on stdout.
 *
 * Knows nothing of networks, policies or JSON. It decides only what must hold while the agent is away: DEL is
 * kept on disk and succeeds, everything else is "try again". Frame, files and deadlines: README.md. Memory is
 * two fixed buffers; every wait ends at one deadline. Spec: containernetworking/cni SPEC.md 1.1.0. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_SOCKET "/run/weir/cni.sock"
#define DEFAULT_QUEUE  "/var/lib/weir/cni-queue"
#define ENV_MAX	       (64 << 10) /* bytes of all CNI_* variables, as in agent/cni/frame.ts */
#define STDIN_MAX      (1 << 20)  /* likewise */
#define SUPPORTED      "[\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]" /* as in agent/cni/version.ts */

/* Error codes of the specification. */
enum { BAD_ENVIRONMENT = 4, IO_FAILURE = 5, DECODE_FAILURE = 6, TRY_AGAIN = 11, NOT_AVAILABLE = 50 };

static const struct verb {
	const char *name;
	int seconds;	      /* deadline of the whole run */
	int when_away;	      /* code answered without the agent; 0: DEL and VERSION have their own answer */
	const char *needs[3]; /* as in agent/cni/environment.ts */
} verbs[] = {
	{"ADD", 30, TRY_AGAIN, {"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"}},
	{"DEL", 30, 0, {"CNI_CONTAINERID", "CNI_IFNAME"}},
	{"CHECK", 30, TRY_AGAIN, {"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"}},
	{"GC", 30, TRY_AGAIN, {"CNI_PATH"}},
	{"STATUS", 5, NOT_AVAILABLE, {}},
	{"VERSION", 5, 0, {}},
};

static char frame[ENV_MAX + 1 + STDIN_MAX + 1]; /* one more byte of stdin, to see that it was too much */
static size_t frame_length, stdin_start;
static char reply[64 << 10];
static char version[16] = "1.1.0"; /* what stdin asked for */
static char socket_path[sizeof(((struct sockaddr_un *)0)->sun_path)] = DEFAULT_SOCKET;
static char queue_folder[PATH_MAX] = DEFAULT_QUEUE;
static struct timespec deadline;

/* Prints the specification's error object and ends. Both texts are ours or libc's: nothing to escape. */
static _Noreturn void fail(int code, const char *message, const char *details)
{
	printf("{\"cniVersion\":\"%s\",\"code\":%d,\"msg\":\"%s\",\"details\":\"%s\"}\n", version, code,
	       message, details);
	exit(1);
}

/* Waits until `fd` is ready; -1 with ETIMEDOUT at the deadline. `fd` -1 only waits up to `most_ms`. */
static int wait_for(int fd, short events, int most_ms)
{
	struct pollfd ready = {.fd = fd, .events = events};
	struct timespec now;
	long left_ms;
	int n;

	do {
		clock_gettime(CLOCK_MONOTONIC, &now);
		left_ms = (deadline.tv_sec - now.tv_sec) * 1000 + (deadline.tv_nsec - now.tv_nsec) / 1000000;
		if (left_ms <= 0)
			return errno = ETIMEDOUT, -1;
		n = poll(&ready, 1, left_ms < most_ms ? (int)left_ms : most_ms);
	} while ((n == 0 && fd >= 0) || (n < 0 && errno == EINTR));
	return n < 0 ? -1 : 0;
}

/* Reads to the end of `fd`, at most `limit` bytes. Returns how many, or -1. A peer that refused early ends in
 * a reset, behind its answer; whether that is complete the caller sees. */
static ssize_t read_all(int fd, char *into, size_t limit)
{
	size_t length = 0;

	while (length < limit) {
		if (wait_for(fd, POLLIN, INT_MAX))
			return -1;
		ssize_t n = read(fd, into + length, limit - length);
		if (n == 0 || (n < 0 && errno == ECONNRESET))
			break;
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return -1;
		length += n > 0 ? n : 0;
	}
	return length;
}

static int write_all(int fd, const char *from, size_t length)
{
	while (length) {
		if (wait_for(fd, POLLOUT, INT_MAX))
			return -1;
		ssize_t n = write(fd, from, length);
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return -1;
		from += n > 0 ? n : 0;
		length -= n > 0 ? n : 0;
	}
	return 0;
}

/* BINARY.socket beside the binary: line 1 the agent's socket, line 2 the queue folder. Both are optional. */
static void read_settings(void)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - sizeof(".socket"));
	FILE *file;

	if (n < 0)
		fail(IO_FAILURE, "cannot find the folder of weir-cni by /proc/self/exe", strerror(errno));
	strcpy(path + n, ".socket");
	file = fopen(path, "re");
	if (file) {
		fscanf(file, "%107[^\n]\n%4000[^\n]", socket_path, queue_folder);
		fclose(file);
	} else if (errno != ENOENT) {
		fail(IO_FAILURE, "cannot read the .socket file beside weir-cni", strerror(errno));
	}
	if (strlen(socket_path) == sizeof(socket_path) - 1)
		fail(IO_FAILURE, "the socket's path in the .socket file exceeds 106 bytes", "");
}

static void build_frame(void)
{
	ssize_t n;

	for (char **entry = environ; *entry; entry++) {
		size_t length = strlen(*entry) + 1;
		if (strncmp(*entry, "CNI_", 4))
			continue;
		if (frame_length + length > ENV_MAX)
			fail(BAD_ENVIRONMENT, "the CNI_ variables (CNI_ARGS, CNI_PATH) exceed 64 KiB", "");
		memcpy(frame + frame_length, *entry, length);
		frame_length += length;
	}
	stdin_start = ++frame_length; /* the empty string: the buffer is zeros */
	n = read_all(STDIN_FILENO, frame + stdin_start, STDIN_MAX + 1);
	if (n < 0)
		fail(IO_FAILURE, "cannot read the network configuration from stdin", strerror(errno));
	if (n > STDIN_MAX)
		fail(DECODE_FAILURE, "the network configuration on stdin is larger than 1 MiB", "");
	frame_length += n;
}

/* The version an answer of our own must carry: the first "cniVersion": "DIGITS.AND.DOTS", else the newest we
 * know. The frame ends in a zero byte of its buffer, so sscanf stays inside. */
static void find_version(void)
{
	static const char key[] = "\"cniVersion\"";
	const char *at = memmem(frame + stdin_start, frame_length - stdin_start, key, sizeof(key) - 1);
	char number[sizeof(version)], quote[2];

	if (at && sscanf(at + sizeof(key) - 1, " : \"%15[0-9.]%1[\"]", number, quote) == 2)
		strcpy(version, number);
}

/* Sends the frame, reads the reply: its length with the exit byte, or -1 and errno when the agent is away. */
static ssize_t ask_agent(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ssize_t length;

	if (fd < 0)
		return -1;
	memcpy(address.sun_path, socket_path, sizeof(socket_path));
	while (connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		if (errno != EAGAIN || wait_for(-1, 0, 5)) /* EAGAIN: its backlog is full just now */
			return -1;
	}
	if (!write_all(fd, frame, frame_length)) /* else it refused early: its answer is there */
		shutdown(fd, SHUT_WR);
	length = read_all(fd, reply, sizeof(reply));
	if (length == 0 || (length > 1 && reply[length - 1] != '\n'))
		return errno = ECONNRESET, -1; /* cut off: it died while we waited */
	return length;
}

/* Names every variable that the verb needs and that is missing or empty, in the agent's words: such a request
 * is wrong whether the agent is there or not, and asking again would not help. */
static void check_environment(const struct verb *verb)
{
	char message[160] = "";

	for (size_t i = 0; i < sizeof(verb->needs) / sizeof(verb->needs[0]) && verb->needs[i]; i++) {
		const char *value = getenv(verb->needs[i]);
		size_t length = strlen(message);
		if (!value || !*value)
			snprintf(message + length, sizeof(message) - length,
				 "%s%s is missing, which %s needs", length ? "; " : "", verb->needs[i],
				 verb->name);
	}
	if (*message)
		fail(BAD_ENVIRONMENT, message, "");
}

/* Keeps a DEL's frame until the agent is back; a power cut leaves it complete under its name, or nothing. */
static int queue_del(void)
{
	char hidden[64];
	struct timespec now;
	int fd;

	for (char *slash = queue_folder; (slash = strchr(slash + 1, '/'));) {
		*slash = 0;
		mkdir(queue_folder, 0700);
		*slash = '/';
	}
	mkdir(queue_folder, 0700);
	clock_gettime(CLOCK_REALTIME, &now);
	snprintf(hidden, sizeof(hidden), ".%lld.%09ld-%d", (long long)now.tv_sec, now.tv_nsec, getpid());
	fd = chdir(queue_folder) ? -1 : open(hidden, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -1;
	if (write_all(fd, frame, frame_length) || fsync(fd) || rename(hidden, hidden + 1))
		return unlink(hidden), -1;
	fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -1 : fsync(fd);
}

int main(void)
{
	const char *command = getenv("CNI_COMMAND");
	const struct verb *verb = NULL;
	ssize_t length;
	const char *cause;

	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; command && i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (!strcmp(command, verbs[i].name))
			verb = &verbs[i];
	if (!verb)
		fail(BAD_ENVIRONMENT, "CNI_COMMAND must be ADD, DEL, CHECK, GC, STATUS or VERSION", "");
	clock_gettime(CLOCK_MONOTONIC, &deadline);
	deadline.tv_sec += verb->seconds;
	read_settings();
	build_frame();
	find_version();
	if (!strcmp(command, "VERSION")) {
		printf("{\"cniVersion\":\"%s\",\"supportedVersions\":" SUPPORTED "}\n", version);
		return fflush(stdout) ? 1 : 0;
	}
	length = ask_agent();
	cause = strerror(length == 1 ? ECONNRESET : errno);
	deadline.tv_sec += 5; /* for what follows, which is local, also after a deadline that passed */
	if (length > 1 || (length == 1 && strcmp(command, "ADD"))) {
		/* A result nobody received must not count as a success: the runtime then cleans up. */
		return write_all(STDOUT_FILENO, reply + 1, length - 1) ? 1 : (unsigned char)reply[0];
	}
	check_environment(verb);
	if (verb->when_away)
		fail(verb->when_away, "weir-agent is not available", cause);
	if (queue_del())
		fail(TRY_AGAIN, "weir-agent is away and the DEL cannot be kept on disk", strerror(errno));
	fprintf(stderr, "weir-cni: DEL kept for weir-agent, which is not available: %s\n", cause);
	return 0;
}
