/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
#include "lib/passage.h"

/* Per CPU, so a plain increment is enough. */
__force_inline void count(__u32 counter)
{
	__u64 *value = bpf_map_lookup_elem(&counters, &counter);

	if (value)
		*value += 1;
}

__force_inline void count_drop(__u32 reason, __u32 direction, __u32 bytes)
{
	__u32 slot = reason * DIRECTION_COUNT + direction;
	struct traffic_counter *value = bpf_map_lookup_elem(&drops, &slot);

	if (!value)
		return;
	value->packets += 1;
	value->bytes += bytes;
}
