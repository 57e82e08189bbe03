/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Checksums of packets that a program makes itself: RFC 1071. */
#pragma once
#include <linux/ipv6.h>
#include "lib/passage.h"

/* What the checksum of ICMPv6 covers besides the message: RFC 8200 section 8.1. */
struct pseudo_header {
	struct in6_addr source;
	struct in6_addr destination;
	__be32 length;
	__be32 next;
};

/* A sum of bpf_csum_diff as a header has it. */
__force_inline __u16 fold_checksum(__s64 sum)
{
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}
