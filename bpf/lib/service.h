/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Which backend a virtual address stands for. Shared by from_pod and the socket programs: one table, one choice. */
#pragma once
#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include "config.h"
#include "service_maps.h"

/* One question and its answer; per CPU, as it is too large for the stack. */
struct choice {
	struct service_affinity_key asker; /* its `service` is the address that is asked for */
	struct service_member_key member;
	struct backend backend; /* the answer */
	struct service_affinity affinity;
};

/* Is the address a Service's at all? The key keeps its port and protocol. */
static __always_inline bool is_virtual(const struct service_key *key)
{
	struct service_key address = { .address = key->address, .family = key->family };

	return bpf_map_lookup_elem(&services, &address);
}

/* The Service of a key, into `service`. False: there is none. Slots and count are read as one word: the memory of an
 * entry that is replaced may be another's a moment later. */
static __always_inline bool take_service(const struct service_key *key, struct service *service)
{
	const struct service *held = bpf_map_lookup_elem(&services, key);
	__u64 word;

	if (!held)
		return false;
	word = *(const volatile __u64 *)held;
	*service = (struct service){ .affinity_seconds = held->affinity_seconds };
	__builtin_memcpy(&service->slots, &word, sizeof(__u32));
	__builtin_memcpy(&service->count, (void *)&word + sizeof(__u32), sizeof(__u32));
	return true;
}

static __always_inline bool is_member(struct choice *choice, __u32 slots, const struct backend *backend)
{
	choice->member.slots = slots;
	choice->member.backend = *backend;
	return bpf_map_lookup_elem(&service_members, &choice->member);
}

/* The backend in a slot, into `choice`. False: there is none. */
static __always_inline bool take_slot(struct choice *choice, const struct service *service, __u32 index)
{
	struct service_slot_key key = { .slots = service->slots, .index = index };
	struct backend *backend = bpf_map_lookup_elem(&service_slots, &key);

	if (!backend)
		return false;
	choice->backend = *backend;
	return true;
}

/* What the asker got last time, into `choice`, if that is not too long ago and still there. */
static __always_inline bool recall_affinity(struct choice *choice, const struct service *service, __u64 now)
{
	struct service_affinity *last;

	if (!service->affinity_seconds)
		return false;
	last = bpf_map_lookup_elem(&service_affinities, &choice->asker);
	if (!last || last->expires < now || !is_member(choice, service->slots, &last->backend))
		return false;
	choice->backend = last->backend;
	return true;
}

/* The asker keeps the backend chosen, from now on for the Service's time. */
static __always_inline void remember_affinity(struct choice *choice, const struct service *service, __u64 now)
{
	if (!service->affinity_seconds)
		return;
	choice->affinity.expires = now + (__u64)service->affinity_seconds * config_hz;
	choice->affinity.backend = choice->backend;
	choice->affinity.pad = 0;
	bpf_map_update_elem(&service_affinities, &choice->asker, &choice->affinity, BPF_ANY);
}

/* Multiplicative mixing (Knuth): the same connection gets the same slot while the slots are the same. */
static __always_inline __u32 mix(__u32 hash, __u32 word)
{
	hash = (hash ^ word) * 0x9e3779b1;
	return hash ^ hash >> 15;
}

static __always_inline __u32 mix_address(__u32 hash, const struct ip_address *address)
{
	const __u32 *words = (const __u32 *)address->bytes;

	return mix(mix(mix(mix(hash, words[0]), words[1]), words[2]), words[3]);
}
