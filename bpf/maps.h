/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Every map, by who writes it. Each is pinned under its own name in the node's pin folder and outlives the agent; the
 * agent may override max_entries of those marked "sized". Layouts: abi/. */
#pragma once
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "abi/conntrack.h"
#include "abi/endpoint.h"
#include "abi/event.h"
#include "abi/metrics.h"
#include "abi/node.h"
#include "abi/peer.h"
#include "abi/policy.h"
#include "abi/tunnel.h"
#include "service_maps.h"

/* ---- written by the agent when a pod comes, changes or goes ---- */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct endpoint);
	__uint(max_entries, ENDPOINT_MAX);
} endpoints SEC(".maps");

/* ---- written by the agent when a policy or an identity changes; sized ---- */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u32);
	__type(value, struct policy);
	__uint(max_entries, POLICIES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} policies SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__type(key, struct verdict_key);
	__type(value, struct verdict);
	__uint(max_entries, VERDICTS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} verdicts SEC(".maps");

/* (set, identity) -> class */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct identity_class_key);
	__type(value, __u32);
	__uint(max_entries, IDENTITY_CLASSES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} identity_class SEC(".maps");

/* (set, address) -> one class per kind of peer */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__type(key, struct address_class_key);
	__type(value, struct address_classes);
	__uint(max_entries, ADDRESS_CLASSES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} address_class SEC(".maps");

/* Identities every policy is compiled for; the value is not read. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, IDENTITIES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} identities SEC(".maps");

/* One number: bumped after a change that could take away what an established connection was allowed. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 1);
} epoch SEC(".maps");

/* ---- written by the agent when an address changes hands; sized ---- */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct peer_key);
	__type(value, struct peer);
	__uint(max_entries, PEERS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} peers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__type(key, struct range_key);
	__type(value, struct peer);
	__uint(max_entries, RANGES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} ranges SEC(".maps");

/* ---- written by the agent when a node of the cluster comes, changes or goes ---- */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct tunnel_node);
	__uint(max_entries, TUNNEL_NODES_MAX);
} tunnel_nodes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct peer_key);
	__type(value, __u32);
	__uint(max_entries, TUNNEL_SOURCES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} tunnel_sources SEC(".maps");

/* ---- written by the agent when it attaches the node's own devices ---- */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct node_state);
	__uint(max_entries, 1);
} node_state SEC(".maps");

/* address -> enum drop_reason */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__type(key, struct range_key);
	__type(value, __u32);
	__uint(max_entries, REFUSED_SOURCES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} refused_sources SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__type(key, struct range_key);
	__type(value, __u32);
	__uint(max_entries, MASQUERADE_EXCLUDED_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} masquerade_excluded SEC(".maps");

/* ---- written by the programs; sized. LRU: a flood evicts, it never fills. The agent sweeps what has expired ---- */

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct conntrack_key4);
	__type(value, struct conntrack_entry);
	__uint(max_entries, CONNTRACK4_MAX);
} conntrack4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct conntrack_key6);
	__type(value, struct conntrack_entry);
	__uint(max_entries, CONNTRACK6_MAX);
} conntrack6 SEC(".maps");

/* Ports of first fragments that were allowed, for the later ones. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct fragment_key);
	__type(value, struct fragment);
	__uint(max_entries, FRAGMENTS_MAX);
} fragments SEC(".maps");

/* By endpoint index. The agent zeroes the slot of a pod that goes. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct connection_budget);
	__uint(max_entries, ENDPOINT_MAX);
} budgets SEC(".maps");

/* ---- written by the programs, read by the agent ---- */

/* struct flow_event records; sized (bytes). */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} events SEC(".maps");

/* By reason * DIRECTION_COUNT + direction. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct traffic_counter);
	__uint(max_entries, DROP_COUNTERS);
} drops SEC(".maps");

/* By enum datapath_counter. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, COUNTER_COUNT);
} counters SEC(".maps");

/* ---- slot 0 holds the program in force: one write by the agent switches every pod ---- */

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
	__uint(max_entries, 1);
} from_pod_slot SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
	__uint(max_entries, 1);
} to_pod_slot SEC(".maps");
