// SPDX-License-Identifier: Apache-2.0
/* The benches' traffic, in C so that the client is not what is measured. One thread, epoll. Times are
 * CLOCK_MONOTONIC.
 *
 *   load serve PORT COUNT                          echo on ports PORT..PORT+COUNT-1, both families
 *   load rr ADDRESS PORT CONNECTIONS SECONDS       one byte to and fro on standing connections
 *   load crr ADDRESS PORT COUNT CLIENTS SECONDS    connect, one byte to and fro, close; ports in turn
 *   load sink PORT                                 datagrams of `load probe`: says when they come and cease
 *   load probe ADDRESS PORT MICROSECONDS           a datagram every so often, with the time it was sent
 *   load time PROGRAM ARGUMENTS...                 runs it; its time in ns, from fork to its end, on stderr
 *
 * rr and crr print one line of JSON. sink prints "up SENT" for the first datagram after a silence and "down
 * SENT" for the last one before, with the sender's time in ns; a silence is SILENCE_NS without a datagram. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define EVENTS	   256
#define SILENCE_NS 20000000ull

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static void fail(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* ---- latencies: buckets of 1/32 of their power of two, so 3 % wide ---- */

#define FINE 5
static uint64_t buckets[64 << FINE], samples;

static unsigned bucket_of(uint64_t ns)
{
	unsigned power = 63 - __builtin_clzll(ns | 1);

	return power < FINE ? ns
			    : ((power - FINE + 1) << FINE) + ((ns >> (power - FINE)) & ((1 << FINE) - 1));
}

static double value_of(unsigned bucket)
{
	unsigned power = bucket >> FINE;

	return power == 0
		       ? bucket
		       : (double)((1u << FINE) + (bucket & ((1 << FINE) - 1)) + 0.5) * (1ull << (power - 1));
}

static void record(uint64_t ns)
{
	buckets[bucket_of(ns)]++;
	samples++;
}

static double percentile(double share)
{
	uint64_t seen = 0;

	for (unsigned i = 0; i < sizeof(buckets) / sizeof(*buckets); i++)
		if ((seen += buckets[i]) >= share * samples && seen)
			return value_of(i) / 1000;
	return 0;
}

static int report(uint64_t started, uint64_t errors)
{
	double seconds = (now() - started) / 1e9;

	printf("{\"count\":%llu,\"errors\":%llu,\"seconds\":%.6f,\"perSecond\":%.3f,\"p50us\":%.3f,\"p99us\":"
	       "%.3f}\n",
	       (unsigned long long)samples, (unsigned long long)errors, seconds, samples / seconds,
	       percentile(0.5), percentile(0.99));
	return 0;
}

/* ---- sockets ---- */

static struct sockaddr_in6 target(const char *address, int port)
{
	struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	char mapped[64];

	/* an IPv4 address as ::ffff:a.b.c.d: one kind of socket for both families */
	snprintf(mapped, sizeof(mapped), "%s%s", strchr(address, ':') ? "" : "::ffff:", address);
	if (inet_pton(AF_INET6, mapped, &to.sin6_addr) != 1) {
		fprintf(stderr, "load: %s is no address\n", address);
		exit(2);
	}
	return to;
}

static int tcp_socket(void)
{
	int one = 1, fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		fail("socket");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

static void watch(int epoll, int operation, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event event = {.events = events, .data.u64 = data};

	if (epoll_ctl(epoll, operation, fd, &event))
		fail("epoll_ctl");
}

/* ---- serve ---- */

#define LISTENING (1ull << 32)

static _Noreturn void serve(int port, int count)
{
	struct epoll_event ready[EVENTS];
	char bytes[4096];
	int epoll = epoll_create1(EPOLL_CLOEXEC), one = 1;

	for (int i = 0; i < count; i++) {
		struct sockaddr_in6 here = target("::", port + i);
		int fd = tcp_socket();

		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		if (bind(fd, (struct sockaddr *)&here, sizeof(here)) || listen(fd, 4096))
			fail("listen");
		watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, LISTENING | fd);
	}
	puts("ready");
	fflush(stdout);
	for (;;) {
		int count_ready = epoll_wait(epoll, ready, EVENTS, -1);

		for (int i = 0; i < count_ready; i++) {
			int fd = (uint32_t)ready[i].data.u64;

			if (ready[i].data.u64 & LISTENING) {
				int client;

				while ((client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >=
				       0) {
					setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
					watch(epoll, EPOLL_CTL_ADD, client, EPOLLIN, client);
				}
				continue;
			}
			ssize_t length = read(fd, bytes, sizeof(bytes));

			if (length <= 0 ? length == 0 || errno != EAGAIN : write(fd, bytes, length) != length)
				close(fd);
		}
	}
}

/* ---- rr ---- */

static int request_response(const char *address, int port, int connections, double seconds)
{
	struct sockaddr_in6 to = target(address, port);
	struct epoll_event ready[EVENTS];
	uint64_t sent[connections], started, end;
	int fds[connections], epoll = epoll_create1(EPOLL_CLOEXEC);
	char byte = 'x';

	for (int i = 0; i < connections; i++) {
		fds[i] = tcp_socket();
		fcntl(fds[i], F_SETFL, 0);
		if (connect(fds[i], (struct sockaddr *)&to, sizeof(to)))
			fail("connect");
		watch(epoll, EPOLL_CTL_ADD, fds[i], EPOLLIN, i);
	}
	started = now();
	end = started + seconds * 1e9;
	for (int i = 0; i < connections; i++) {
		sent[i] = now();
		if (write(fds[i], &byte, 1) != 1)
			fail("write");
	}
	for (uint64_t time = started; time < end;) {
		int count = epoll_wait(epoll, ready, EVENTS, 1000);

		if (!count) {
			errno = ETIMEDOUT;
			fail("no answer for a second");
		}
		for (int i = 0; i < count; i++) {
			int which = ready[i].data.u64;

			if (read(fds[which], &byte, 1) != 1)
				fail("read");
			time = now();
			record(time - sent[which]);
			sent[which] = time;
			if (write(fds[which], &byte, 1) != 1)
				fail("write");
		}
	}
	return report(started, 0);
}

/* ---- crr ---- */

struct client {
	int fd;
	int connected;
	uint64_t began;
};

static void begin(int epoll, struct client *client, int which, const char *address, int port)
{
	struct sockaddr_in6 to = target(address, port);

	client->fd = tcp_socket();
	client->connected = 0;
	client->began = now();
	if (connect(client->fd, (struct sockaddr *)&to, sizeof(to)) && errno != EINPROGRESS)
		fail("connect");
	watch(epoll, EPOLL_CTL_ADD, client->fd, EPOLLOUT, which);
}

static int connect_request_response(const char *address, int port, int ports, int count, double seconds)
{
	struct epoll_event ready[EVENTS];
	struct client clients[count];
	uint64_t started = now(), end = started + seconds * 1e9, errors = 0, made = 0;
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	char byte = 'x';

	for (int i = 0; i < count; i++)
		begin(epoll, &clients[i], i, address, port + made++ % ports);
	while (now() < end) {
		int events = epoll_wait(epoll, ready, EVENTS, 1000);

		for (int i = 0; i < events; i++) {
			int which = ready[i].data.u64;
			struct client *client = &clients[which];

			if (!client->connected && !(ready[i].events & EPOLLERR)) {
				client->connected = 1;
				watch(epoll, EPOLL_CTL_MOD, client->fd, EPOLLIN, which);
				if (write(client->fd, &byte, 1) == 1)
					continue;
			}
			if (read(client->fd, &byte, 1) == 1)
				record(now() - client->began);
			else
				errors++;
			close(client->fd);
			begin(epoll, client, which, address, port + made++ % ports);
		}
	}
	return report(started, errors);
}

/* ---- probe and sink ---- */

static int udp_socket(void)
{
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		fail("socket");
	return fd;
}

static _Noreturn void probe(const char *address, int port, long microseconds)
{
	struct sockaddr_in6 to = target(address, port);
	struct timespec pause = {.tv_nsec = microseconds * 1000};
	int fd = udp_socket();

	/* not connected: ICMP errors are of no interest, and a refusal must not stop the stream */
	for (;;) {
		uint64_t time = now();

		sendto(fd, &time, sizeof(time), 0, (struct sockaddr *)&to, sizeof(to));
		nanosleep(&pause, NULL);
	}
}

static void say(const char *word, uint64_t sent)
{
	printf("%s %llu\n", word, (unsigned long long)sent);
	fflush(stdout);
}

static _Noreturn void sink(int port)
{
	struct sockaddr_in6 here = target("::", port);
	struct timeval patience = {.tv_usec = 1000};
	uint64_t sent, last_sent = 0, last_seen = 0;
	int fd = udp_socket(), up = 0;

	if (bind(fd, (struct sockaddr *)&here, sizeof(here)))
		fail("bind");
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	puts("ready");
	fflush(stdout);
	for (;;) {
		if (recv(fd, &sent, sizeof(sent), 0) == sizeof(sent)) {
			last_seen = now();
			last_sent = sent;
			if (!up)
				say("up", sent);
			up = 1;
		} else if (up && now() - last_seen > SILENCE_NS) {
			say("down", last_sent);
			up = 0;
		}
	}
}

static int timed(char **words)
{
	uint64_t started = now();
	int status;
	pid_t child = fork();

	if (child < 0)
		fail("fork");
	if (!child) {
		execvp(words[0], words);
		_exit(127);
	}
	if (waitpid(child, &status, 0) < 0)
		fail("waitpid");
	fprintf(stderr, "took %llu\n", (unsigned long long)(now() - started));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";

	signal(SIGPIPE, SIG_IGN);
	if (!strcmp(mode, "serve") && argc == 4)
		serve(atoi(argv[2]), atoi(argv[3]));
	if (!strcmp(mode, "rr") && argc == 6)
		return request_response(argv[2], atoi(argv[3]), atoi(argv[4]), atof(argv[5]));
	if (!strcmp(mode, "crr") && argc == 7)
		return connect_request_response(argv[2], atoi(argv[3]), atoi(argv[4]), atoi(argv[5]),
						atof(argv[6]));
	if (!strcmp(mode, "sink") && argc == 3)
		sink(atoi(argv[2]));
	if (!strcmp(mode, "probe") && argc == 5)
		probe(argv[2], atoi(argv[3]), atol(argv[4]));
	if (!strcmp(mode, "time") && argc > 2)
		return timed(argv + 2);
	fprintf(stderr,
		"load: serve, rr, crr, sink, probe or time with their arguments expected; see load.c\n");
	return 2;
}
