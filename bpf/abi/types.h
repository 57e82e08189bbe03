/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Base types of everything that crosses between the kernel and the agent. Byte order is in the type: __be16 and
 * __be32 are network order, __u16 and wider are the machine's. No bitfields, no implicit holes. */
#pragma once

#ifndef __doc
#define __doc(text) __attribute__((btf_decl_tag("doc:" text)))
#endif

enum family {
	FAMILY_IPV4 = 4,
	FAMILY_IPV6 = 6,
};

enum direction {
	DIRECTION_INGRESS = 0,
	DIRECTION_EGRESS = 1,
	DIRECTION_COUNT = 2,
};

/* An address of either family: IPv4 in the first four bytes and zeros behind. The family stands beside it, so that
 * 1.2.3.4 and 102:304:: are different keys. */
struct ip_address {
	__u8 bytes[16];
};

struct mac_address {
	__u8 bytes[6];
};
