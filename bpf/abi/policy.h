/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Policy tables. Written by the agent (datapath/apply), read for every new connection and after every epoch change.
 *
 * A pod points to a policy. For one direction of it a peer falls into up to three classes:
 *   identity_class (set, identity) -> class      distinct set of matched label selectors
 *   address_class  (set, address)  -> class      distinct set of matched CIDRs, longest prefix
 *   CLASS_ANY                                    rules for every peer
 * and `verdicts` gives, per class, the winner of each tier for the packet's protocol and port (longest prefix).
 * Per tier the packet takes the best precedence of its three lookups; a tier without a match, or whose best is
 * `pass`, leaves the question to the next tier; isolation closes the Normal tier. */
#pragma once
#include "types.h"

enum policy_limits {
	POLICY_NONE = 0,
	POLICY_LOCKDOWN = 1,
	POLICIES_MAX = 8192,
	VERDICTS_MAX = 1 << 18,
	IDENTITY_CLASSES_MAX = 1 << 18,
	ADDRESS_CLASSES_MAX = 1 << 17,
	IDENTITIES_MAX = 1 << 17,
};

enum tier {
	TIER_ADMIN = 0,
	TIER_NORMAL = 1,
	TIER_BASELINE = 2,
	TIER_COUNT = 3,
};

enum policy_action {
	ACTION_NONE = 0, /* no rule of this tier matches */
	ACTION_ALLOW = 1,
	ACTION_DENY = 2,
	ACTION_PASS = 3,
	ACTION_REDIRECT = 4,  /* reserved: to a proxy */
	ACTION_DENY_KEEP = 5, /* denied, but what is established goes on (`weir.dev/established: keep`) */
	ACTION_BITS = 3,      /* precedence << ACTION_BITS | action */
};

enum policy_flags {
	POLICY_ISOLATED = 1 << 0,       /* nothing matched: denied */
	POLICY_AUDIT_ISOLATED = 1 << 1, /* the same, had audited policies been enforced */
	POLICY_HAS_DENY = 1 << 2,       /* an identity not compiled in is dropped even if not isolated */
	POLICY_HAS_AUDIT = 1 << 3,      /* the audited verdict is worth computing */
	POLICY_HAS_ANY = 1 << 4,        /* CLASS_ANY has entries */
	/* everybody who isolates keeps what is established (`weir.dev/established: keep`) */
	POLICY_KEEP_ESTABLISHED = 1 << 5,
};

struct policy_direction {
	__u32 identity_set __doc("0 = no selectors: skip the lookup");
	__u32 address_set __doc("0 = no CIDRs: skip the lookup");
	__u32 flags __doc("enum policy_flags");
};

struct policy {
	__u64 revision;
	struct policy_direction direction[DIRECTION_COUNT];
};
_Static_assert(sizeof(struct policy) == 32, "abi");

enum class_numbers {
	CLASS_ANY = 0,
};

/* LPM order: what may be wildcarded comes last; port only within a protocol, protocol only as a whole. */
enum verdict_prefix {
	VERDICT_PREFIX_ANY_PROTOCOL = 72,
	VERDICT_PREFIX_ANY_PORT = 80,
	VERDICT_PREFIX_EXACT = 96,
};
struct verdict_key {
	__u32 prefix_len __doc("72 any protocol, 80 any port, 80 + n the first n bits of the port");
	__u32 policy;
	__u32 class;
	__u8 direction __doc("enum direction");
	__u8 protocol __doc("IPPROTO_*");
	__be16 port __doc("destination port; ICMP: type << 8 | code");
};
_Static_assert(sizeof(struct verdict_key) == 16, "abi");

struct tier_verdict {
	__u32 choice __doc("precedence << ACTION_BITS | enum policy_action; 0 = no rule of this tier");
	__u32 rule __doc("number of the winning rule");
};
struct verdict {
	struct tier_verdict enforced[TIER_COUNT];
	struct tier_verdict audited[TIER_COUNT];
};
_Static_assert(sizeof(struct verdict) == 48, "abi");

struct identity_class_key {
	__u32 set;
	__u32 identity;
};

struct address_class_key {
	__u32 prefix_len __doc("64 + bits of the address that matter");
	__u32 set;
	__u32 family __doc("enum family");
	struct ip_address address;
};
_Static_assert(sizeof(struct address_class_key) == 28, "abi");

/* One class per kind of peer, each flattened on its own: a deny for outside must not hide an allow for pods behind it.
 */
struct address_classes {
	__u32 outside;
	__u32 node;
	__u32 pod;
};
