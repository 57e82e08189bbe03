/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A packet of an allowed connection: counted, the connection renewed, and told where it is worth that. */
#pragma once
#include "lib/emit.h"

/* The event this packet is worth, 0 for none (enum event_type). `after`: the entry's flags with this packet, `before`
 * without it; `fresh`: TCP flags its sender has not sent before. */
__force_inline __u32 worth(const struct passage *p, const struct conntrack_entry *entry, __u8 before, __u8 after,
			   __u8 fresh)
{
	__u32 level = entry->aggregation ? entry->aggregation : config_aggregation;
	__s64 interval = seconds(config_report_interval_seconds);
	__u8 telling = TCP_SYN | TCP_FIN;

	if (level == AGGREGATION_MAXIMUM)
		return 0;
	if ((after ^ before) & CONNTRACK_REPLIED)
		return EVENT_REPLY;
	if (level == AGGREGATION_NONE)
		return EVENT_UPDATE;
	if (level == AGGREGATION_LOW) {
		telling = ~0;
		if (interval > (__s64)seconds(1))
			interval = seconds(1);
	}
	/* signed: another CPU may have reported at a later jiffy than this packet came */
	return fresh & telling || (__s64)(p->now - entry->reported) >= interval ? EVENT_UPDATE : 0;
}

/* One more packet of an allowed connection. */
__force_inline void follow(struct __sk_buff *ctx, struct passage *p, struct conntrack_entry *entry)
{
	__u32 sender = p->sender & 1;
	__u8 *flags = flag_byte(entry, 0), before = *flags, after = next_flags(p, before);
	__u8 fresh = p->tcp_flags & ~entry->tcp_flags[sender];
	__u64 expires = entry->expires;
	__u32 event;

	head_for(p, entry, sender ^ 1);
	count_traffic(p, entry);
	if (is_last(p, before)) {
		entry->tcp_flags[sender] |= fresh;
		end_connection(ctx, p, entry, 0);
		return;
	}
	if (fresh)
		entry->tcp_flags[sender] |= fresh;
	if (after != before)
		*flags = after;
	event = worth(p, entry, before, after, fresh);
	if (event) {
		entry->reported = p->now;
		emit(ctx, p, entry, event, 0);
	}
	renew(p, entry, after);
	if (config_services && entry->flags & CONNTRACK_THROUGH_SERVICE && entry->expires != expires)
		renew_lead();
}
