/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* New connections per pod: a token bucket, so that one pod's flood ends at its own limit and not in the others'
 * entries. Refilling races between CPUs at worst hand out a few tokens twice. */
#pragma once
#include "lib/passage.h"

__force_inline void refill(struct connection_budget *budget, __u64 now)
{
	const __u64 rate = config_new_connections_per_second, burst = config_new_connection_burst;
	__u64 elapsed = now - budget->refilled;
	__u64 earned, tokens;

	/* signed: another CPU may have refilled at a later jiffy than this packet came */
	if ((__s64)elapsed <= 0)
		return;
	if (elapsed > seconds(3600))
		elapsed = seconds(3600);
	earned = elapsed * rate / config_hz;
	if (!earned)
		return;
	tokens = budget->tokens;
	/* taken below zero by CPUs that raced for the last token */
	tokens = (__s64)tokens > 0 ? tokens + earned : earned;
	budget->tokens = tokens > burst ? burst : tokens;
	budget->refilled = now;
}

/* False: the pod has none left. */
__force_inline bool take_token(__u32 endpoint, __u64 now)
{
	struct connection_budget *budget = bpf_map_lookup_elem(&budgets, &endpoint);

	if (!budget)
		return false;
	refill(budget, now);
	if ((__s64)budget->tokens <= 0)
		return false;
	__sync_fetch_and_add(&budget->tokens, -1);
	return true;
}

/* A connection that closed properly costs nothing. */
__force_inline void return_token(__u32 endpoint)
{
	struct connection_budget *budget;

	if (!endpoint)
		return;
	budget = bpf_map_lookup_elem(&budgets, &endpoint);
	if (budget && budget->tokens < config_new_connection_burst)
		__sync_fetch_and_add(&budget->tokens, 1);
}
