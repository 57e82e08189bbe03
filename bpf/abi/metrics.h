/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Counters, one value per CPU. `drops` and `consumed` count by reason and direction, `forwards` by direction. */
#pragma once
#include "types.h"
#include "drop.h"

struct traffic_counter {
	__u64 packets;
	__u64 bytes;
};

enum datapath_counter {
	COUNTER_FORWARD_INGRESS = 0,
	COUNTER_FORWARD_EGRESS = 1,
	COUNTER_EVENTS_LOST = 2, /* the ring buffer was full */
	COUNTER_CONSUMED = 3,    /* MLD, DAD, router solicitation, own ARP: swallowed by design */
	COUNTER_ANSWERED = 4,    /* ARP and neighbour requests answered by the program */
	COUNTER_CONNTRACK_NEW = 5,
	COUNTER_CONNTRACK_CLOSED = 6,
	COUNTER_JUDGED_AGAIN = 7, /* established packets judged again after an epoch change */
	COUNTER_COUNT = 8,
};

/* Slots of `drops`: reason * DIRECTION_COUNT + direction. */
enum metrics_limits {
	DROP_COUNTERS = DROP_REASON_COUNT * DIRECTION_COUNT,
};
