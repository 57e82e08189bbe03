/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Why a packet was dropped. The only list: metric labels, API strings, Hubble's codes and the docs come from it.
 * Numbers are for ever: a retired reason keeps its number. */
#pragma once
#include "types.h"

enum drop_reason {
	DROP_NONE = 0,
	DROP_POLICY_DENIED = 1,          /* no rule allows it and a policy isolates the pod */
	DROP_POLICY_DENY_RULE = 2,       /* a deny rule matches */
	DROP_POLICY_REVOKED = 3,         /* the connection was allowed once; a policy change ended it */
	DROP_NO_POLICY = 4,              /* the pod has no policy in force yet */
	DROP_IDENTITY_UNKNOWN = 5,       /* the peer's identity is not compiled into the pod's policy yet */
	DROP_UNKNOWN_ENDPOINT = 6,       /* the interface belongs to no endpoint */
	DROP_SOURCE_MAC = 7,             /* the pod sent with a MAC that is not its own */
	DROP_SOURCE_ADDRESS = 8,         /* the pod sent with an address that is not its own */
	DROP_ARP_SPOOF = 9,              /* ARP that claims an address the pod does not own */
	DROP_ND_SPOOF = 10,              /* neighbour advertisement for an address the pod does not own */
	DROP_ROUTER_ADVERTISEMENT = 11,  /* a pod sent a router advertisement or an ICMPv6 redirect */
	DROP_DHCP_SERVER = 12,           /* a pod answered as a DHCP server */
	DROP_MALFORMED = 13,             /* truncated or contradictory header */
	DROP_IP_OPTIONS = 14,            /* IPv4 source route or too many options, IPv6 routing header */
	DROP_EXTENSION_CHAIN = 15,       /* more IPv6 extension headers than IPV6_EXT_MAX_CHAIN, or a jumbogram */
	DROP_FRAGMENT_NO_FIRST = 16,     /* a later fragment whose first one was not seen or not allowed */
	DROP_FRAGMENT_TINY = 17,         /* a first fragment without the whole transport header */
	DROP_FRAGMENT_OVERLAP = 18,      /* a fragment that would overwrite the transport header */
	DROP_UNSUPPORTED_L2 = 19,        /* VLAN tag or unknown link layer */
	DROP_UNSUPPORTED_L3 = 20,        /* neither IPv4, IPv6 nor ARP */
	DROP_MULTICAST = 21,             /* multicast and broadcast leave no pod */
	DROP_NEW_CONNECTION_BUDGET = 22, /* the pod opens connections faster than its budget */
	DROP_CONNTRACK_INSERT = 23,      /* the connection table refused an entry */
	DROP_ICMP_UNRELATED = 24,        /* an ICMP error that quotes no known connection */
	DROP_DESTINATION_GONE = 25,      /* the destination pod's interface is gone */
	DROP_HOST_SPOOF = 26,       /* from outside, with an address of this node, of its pods, a Service or a tunnel */
	DROP_TUNNEL_FORBIDDEN = 27, /* tunnel traffic of a pod, of no node, or of a node for what is not behind it */
	DROP_PROGRAM_MISSING = 28,  /* the tail-call slot is empty */
	DROP_SERVICE_CLASH = 29,    /* two Services meet on one backend and cannot be kept apart */
	DROP_SERVICE_NO_BACKEND = 30, /* the Service has no ready endpoint */
	DROP_TOO_BIG = 31,            /* larger than the path allows; the sender was told */
	DROP_DENY_CIDR = 32,          /* source inside a configured deny range */
	DROP_TUNNEL_MISSING = 33,     /* the way there is a tunnel, whose device or far end is not known */
	DROP_SERVICE_NO_PORT = 34,    /* the virtual address has no Service at this port */
	DROP_REASON_COUNT = 35,
};
