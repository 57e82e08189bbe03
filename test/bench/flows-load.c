// SPDX-License-Identifier: Apache-2.0
/* Numbered datagrams for W10: datagram n goes from port FIRST_SOURCE + n / SPAN to port FIRST + n % SPAN, so
 * that each is of a pair of ports of its own, and its flow tells which it was.
 *
 *   flows-load send ADDRESS FIRST COUNT RATE    COUNT datagrams, RATE per second; 0: as fast as it goes
 *   flows-load sink FIRST                       binds the SPAN ports and reads nothing, so that nobody is
 * refused
 *
 * send prints one line of JSON. The numbers stand in flows-follower.ts too. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FIRST_SOURCE 20000
#define SPAN	     256
#define SOURCES	     8000
#define PAUSE_NS     200000

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static void fail(const char *what)
{
	fprintf(stderr, "flows-load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int bound(int port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)))
		fail("bind");
	return fd;
}

static int sink(int first)
{
	for (int i = 0; i < SPAN; i++) {
		int least = 1;

		setsockopt(bound(first + i), SOL_SOCKET, SO_RCVBUF, &least, sizeof(least));
	}
	puts("listening");
	fflush(stdout);
	pause();
	return 0;
}

static int send_all(const char *address, int first, long count, double rate)
{
	struct sockaddr_in to = {.sin_family = AF_INET};
	struct timespec pause = {.tv_nsec = PAUSE_NS};
	struct rusage used;
	double started, seconds;
	long sent = 0;
	int fd = -1;

	if (inet_pton(AF_INET, address, &to.sin_addr) != 1 || count > (long)SOURCES * SPAN) {
		fprintf(stderr, "flows-load: an IPv4 address and at most %d datagrams expected\n",
			SOURCES * SPAN);
		return 2;
	}
	started = now();
	while (sent < count) {
		long due = rate > 0 ? (now() - started) * rate + 1 : count;

		for (; sent < due && sent < count; sent++) {
			if (sent % SPAN == 0) {
				if (fd >= 0)
					close(fd);
				fd = bound(FIRST_SOURCE + sent / SPAN);
			}
			to.sin_port = htons(first + sent % SPAN);
			if (sendto(fd, "", 1, 0, (struct sockaddr *)&to, sizeof(to)) != 1)
				fail("sendto");
		}
		if (sent < count)
			nanosleep(&pause, NULL);
	}
	seconds = now() - started;
	getrusage(RUSAGE_SELF, &used);
	printf("{\"sent\":%ld,\"seconds\":%.6f,\"perSecond\":%.3f,\"cpuSeconds\":%.6f}\n", sent, seconds,
	       sent / seconds,
	       used.ru_utime.tv_sec + used.ru_stime.tv_sec +
		       (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 6 && !strcmp(argv[1], "send"))
		return send_all(argv[2], atoi(argv[3]), atol(argv[4]), atof(argv[5]));
	if (argc == 3 && !strcmp(argv[1], "sink"))
		return sink(atoi(argv[2]));
	fprintf(stderr, "flows-load: see the comment at the top of flows-load.c\n");
	return 2;
}
