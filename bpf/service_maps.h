/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Maps of Services: shared by the programs of pods and of sockets. Pinned as all others; layouts: abi/service.h. */
#pragma once
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "abi/service.h"

/* ---- written by the agent when a Service changes; sized ---- */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct service_key);
	__type(value, struct service);
	__uint(max_entries, SERVICES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct service_slot_key);
	__type(value, struct backend);
	__uint(max_entries, SERVICE_BACKENDS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} service_slots SEC(".maps");

/* The value is not read. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct service_member_key);
	__type(value, __u32);
	__uint(max_entries, SERVICE_BACKENDS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} service_members SEC(".maps");

/* ---- written by the programs; sized ---- */

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct service_affinity_key);
	__type(value, struct service_affinity);
	__uint(max_entries, SERVICE_AFFINITIES_MAX);
} service_affinities SEC(".maps");
