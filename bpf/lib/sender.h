/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What a pod may send at all: from its own addresses, nothing that reconfigures its neighbours. Checked before
 * conntrack or anything else is written, so a spoofed packet leaves no trace but its count. */
#pragma once
#include "lib/parse.h"

#define DHCPV4_SERVER 67
#define DHCPV4_CLIENT 68
#define DHCPV6_CLIENT 546
#define DHCPV6_SERVER 547

__force_inline bool is_dhcp_answer(const struct passage *p, const enum family family)
{
	const __be16 server = bpf_htons(family == FAMILY_IPV4 ? DHCPV4_SERVER : DHCPV6_SERVER);
	const __be16 client = bpf_htons(family == FAMILY_IPV4 ? DHCPV4_CLIENT : DHCPV6_CLIENT);

	return p->tuple.protocol == IPPROTO_UDP && p->tuple.destination_port == client &&
	       p->tuple.source_port == server;
}

/* Multicast, and in IPv4 also the reserved class E with the limited broadcast. */
__force_inline bool is_multicast(const struct ip_address *address, const enum family family)
{
	return family == FAMILY_IPV4 ? address->bytes[0] >= 224 : address->bytes[0] == 0xff;
}

__force_inline bool is_link_local(const __u8 *address)
{
	return address[0] == 0xfe && (address[1] & 0xc0) == 0x80;
}

/* No address of the node's own loopback (RFC 1122 section 3.2.1.3): the portmap plugin opens it on devices of pods with
 * a hostPort (route_localnet). IPv6's ::1 no kernel takes from a wire. */
__force_inline int check_destination(const struct passage *p, const enum family family)
{
	if (is_multicast(&p->tuple.destination, family))
		return -DROP_MULTICAST;
	return family == FAMILY_IPV4 && p->tuple.destination.bytes[0] == 127 ? -DROP_MALFORMED : OUTCOME_GO_ON;
}

__force_inline int check_sender(const struct passage *p, const struct endpoint *pod, const enum family family)
{
	if (!owns_address(pod, &p->tuple.source, family))
		return -DROP_SOURCE_ADDRESS;
	if (is_dhcp_answer(p, family))
		return -DROP_DHCP_SERVER;
	return check_destination(p, family);
}

__force_inline bool same_mac(const __u8 *left, const __u8 *right)
{
	const __u16 *a = (const __u16 *)left, *b = (const __u16 *)right;

	return !((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]));
}
