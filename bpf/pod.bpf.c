// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
#include <linux/types.h>
#include "config.h"
#include "maps.h"

SEC("tc")
int sample_clock(struct __sk_buff *ctx)
{
	__u64 now[2] = { bpf_jiffies64(), bpf_ktime_get_ns() };

	if (!config_hz + config_world_ipv4 + config_world_ipv6 + config_report_interval_seconds + config_new_connections_per_second + config_new_connection_burst)
		return 1;
	bpf_skb_store_bytes(ctx, 0, now, sizeof(now), 0);
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
