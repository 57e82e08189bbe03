/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Judges one connection at the pods of this node: egress by the initiator's policy, ingress by the responder's.
 * What the tables mean: abi/policy.h. */
#pragma once
#include "lib/parse.h"
#include "lib/peer.h"

/* The question put to one direction of one policy. */
struct question {
	__u32 policy;
	__u32 direction;
	__u32 identity;            /* of the peer */
	__u32 kind;                /* of the peer, enum peer_kind */
	struct ip_address address; /* of the peer */
};

/* Verdicts of the classes the peer falls into; NULL: it is in none, or none has this port. */
struct findings {
	struct verdict *identity;
	struct verdict *address;
	struct verdict *any;
};

enum audit_result {
	AUDIT_SAME = 0,
	AUDIT_WOULD_DENY = 1,
	AUDIT_WOULD_ALLOW = 2,
};

/* What a rule's port is compared with: the responder's port; ICMP: type << 8 | code, of the request where there is one.
 */
__force_inline __be16 rule_port(const struct passage *p)
{
	if (!is_icmp(p, p->family))
		return p->sender == SIDE_INITIATOR ? p->tuple.destination_port : p->tuple.source_port;
	if (p->sender == SIDE_RESPONDER)
		return bpf_htons((p->family == FAMILY_IPV4 ? ICMPV4_ECHO_REQUEST : ICMPV6_ECHO_REQUEST) << 8);
	return bpf_htons(p->icmp_type << 8 | p->icmp_code);
}

__force_inline struct verdict *find_verdict(const struct passage *p, const struct question *q, __u32 class)
{
	struct verdict_key key = {
		/* without ports only entries for any port can match */
		.prefix_len = has_ports(p) ? VERDICT_PREFIX_EXACT : VERDICT_PREFIX_ANY_PORT,
		.policy = q->policy,
		.class = class,
		.direction = q->direction,
		.protocol = p->tuple.protocol,
		.port = rule_port(p),
	};

	return bpf_map_lookup_elem(&verdicts, &key);
}

/* The class of the peer's identity into `class`, 0 for none. False: the policy is not compiled for this identity yet.
 */
__force_inline bool find_identity_class(const struct policy_direction *direction, const struct question *q,
					__u32 *class)
{
	struct identity_class_key key = { .set = direction->identity_set, .identity = q->identity };
	__u32 identity = q->identity;
	__u32 *found;

	*class = 0;
	found = bpf_map_lookup_elem(&identity_class, &key);
	if (!found) {
		if (!bpf_map_lookup_elem(&identities, &identity))
			return false;
		/* Classes are written before the identity is made known: now that it is, the first miss may be
		 * outdated. */
		found = bpf_map_lookup_elem(&identity_class, &key);
	}
	if (found)
		*class = *found;
	return true;
}

__force_inline __u32 find_address_class(const struct passage *p, const struct policy_direction *direction,
					const struct question *q)
{
	struct address_class_key key = {
		.prefix_len = 64 + 128,
		.set = direction->address_set,
		.family = p->family,
		.address = q->address,
	};
	struct address_classes *classes = bpf_map_lookup_elem(&address_class, &key);

	if (!classes)
		return 0;
	return q->kind == PEER_POD ? classes->pod : q->kind == PEER_NODE ? classes->node : classes->outside;
}

__force_inline void take_better(struct tier_verdict *best, const struct verdict *found, const int tier,
				const bool audited)
{
	const struct tier_verdict *one;

	if (!found)
		return;
	one = audited ? &found->audited[tier] : &found->enforced[tier];
	if (one->choice > best->choice)
		*best = *one;
}

/* What decide() answers besides drop reasons: denied, were the connection not established. */
#define DECIDED_KEPT (-1)

/* The tiers in order. Returns 0, DECIDED_KEPT or the reason, and the rule that decided (0: none did). */
__force_inline int decide(const struct findings *found, __u32 flags, bool was_allowed, const bool audited, __u32 *rule)
{
	bool isolated = flags & (audited ? POLICY_AUDIT_ISOLATED : POLICY_ISOLATED);

	*rule = 0;
#pragma unroll
	for (int tier = TIER_ADMIN; tier < TIER_COUNT; tier++) {
		struct tier_verdict best = {};
		__u32 action;

		take_better(&best, found->identity, tier, audited);
		take_better(&best, found->address, tier, audited);
		take_better(&best, found->any, tier, audited);
		action = best.choice & ((1 << ACTION_BITS) - 1);
		if (action == ACTION_NONE || action == ACTION_PASS) {
			if (tier == TIER_NORMAL && isolated)
				return was_allowed && flags & POLICY_KEEP_ESTABLISHED ? DECIDED_KEPT
										      : DROP_POLICY_DENIED;
			continue;
		}
		*rule = best.rule;
		if (action == ACTION_ALLOW)
			return DROP_NONE;
		return was_allowed && action == ACTION_DENY_KEEP ? DECIDED_KEPT : DROP_POLICY_DENY_RULE;
	}
	return DROP_NONE;
}

/* One side. Returns 0 or the reason; leaves policy, rule and audit result in the passage. */
__slow int judge_side(struct passage *p, __u32 direction)
{
	__u32 end = end_of(p, direction == DIRECTION_EGRESS ? SIDE_INITIATOR : SIDE_RESPONDER);
	struct question q = { .policy = p->party[end].policy, .direction = direction };
	const struct policy_direction *rules;
	struct findings found = {};
	struct policy *policy;
	__u32 class, rule;
	bool known = true, was_allowed;
	int reason, audited;

	direction &= 1;
	was_allowed = p->was_allowed & 1 << direction;
	p->decided = direction;
	p->policy[direction] = q.policy;
	p->rule[direction] = 0;
	if (q.policy == POLICY_NONE)
		return DROP_NO_POLICY;
	if (q.policy == POLICY_LOCKDOWN)
		return DROP_POLICY_DENIED;
	/* No NetworkPolicy cuts a pod off from itself, whichever way it takes. */
	if (p->party[END_SOURCE].endpoint == p->party[END_DESTINATION].endpoint &&
	    !same_ipv6(&p->tuple.source, &p->tuple.destination))
		return DROP_NONE;
	policy = bpf_map_lookup_elem(&policies, &q.policy);
	if (!policy)
		return DROP_NO_POLICY;
	rules = &policy->direction[direction];

	end ^= 1;
	q.identity = p->party[end].identity;
	q.kind = p->party[end].kind;
	if (end == END_SOURCE)
		q.address = p->tuple.source;
	else
		q.address = p->tuple.destination;

	if (rules->identity_set) {
		known = find_identity_class(rules, &q, &class);
		if (!known && rules->flags & (POLICY_ISOLATED | POLICY_HAS_DENY))
			return DROP_IDENTITY_UNKNOWN;
		if (class)
			found.identity = find_verdict(p, &q, class);
	}
	if (rules->address_set) {
		class = find_address_class(p, rules, &q);
		if (class)
			found.address = find_verdict(p, &q, class);
	}
	if (rules->flags & POLICY_HAS_ANY)
		found.any = find_verdict(p, &q, CLASS_ANY);

	reason = decide(&found, rules->flags, was_allowed, false, &rule);
	p->rule[direction] = p->audit_rule[direction] = rule;
	if (reason == DECIDED_KEPT) {
		p->kept |= 1 << direction;
		reason = DROP_NONE;
	}
	if (rules->flags & POLICY_HAS_AUDIT) {
		audited = decide(&found, rules->flags, was_allowed, true, &rule);
		p->audit_rule[direction] = rule;
		if (!reason != (audited <= DROP_NONE)) {
			p->audit = reason ? AUDIT_WOULD_ALLOW : AUDIT_WOULD_DENY;
			p->audit_direction = direction;
		}
	}
	return reason;
}

/* Does the connection lead from a pod of this node out of the cluster, where nobody knows the addresses of pods? Nor
 * does the network between the nodes know them, if pods reach each other by a tunnel: then to another node is outside
 * too. */
__slow int is_masqueraded(struct passage *p)
{
	const struct party *responder = &p->party[end_of(p, SIDE_RESPONDER)];
	struct range_key range = { .prefix_len = 32 + 128, .family = p->family };
	struct node_state *node = this_node();

	if (!node || !(node->flags & NODE_MASQUERADES) || !p->party[end_of(p, SIDE_INITIATOR)].endpoint)
		return false;
	if (responder->kind == PEER_POD || responder->identity == IDENTITY_HOST || responder->node)
		return false;
	if (responder->kind == PEER_NODE)
		return !!node->tunnel_ifindex;
	range.address = p->sender == SIDE_INITIATOR ? p->tuple.destination : p->tuple.source;
	return !bpf_map_lookup_elem(&masquerade_excluded, &range);
}

/* Both sides, as far as they are pods of this node, taking the packet as sent by `sender` (enum side). A denial by the
 * first is final. Returns 0 or the reason. */
__apart int judge(__u32 sender)
{
	struct passage *p = this_passage();
	int reason = DROP_NONE;

	if (!p)
		return DROP_NO_POLICY;
	p->sender = sender;
	p->audit = AUDIT_SAME;
	p->kept = 0;
	for (__u32 direction = 0; direction < DIRECTION_COUNT; direction++)
		p->policy[direction] = p->rule[direction] = p->audit_rule[direction] = 0;
	if (p->party[end_of(p, SIDE_INITIATOR)].endpoint)
		reason = judge_side(p, DIRECTION_EGRESS);
	if (!reason && p->party[end_of(p, SIDE_RESPONDER)].endpoint)
		reason = judge_side(p, DIRECTION_INGRESS);
	p->masquerade = !reason && is_masqueraded(p);
	return reason;
}
