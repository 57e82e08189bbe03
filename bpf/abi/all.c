/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Every shared type in one object, compiled for its BTF and never loaded: bpf/gen reads it.
 * A type that nothing points to is left out of BTF, hence one unused pointer for each. */
#include <linux/types.h>
#include "types.h"
#include "drop.h"
#include "endpoint.h"
#include "policy.h"
#include "peer.h"
#include "conntrack.h"
#include "event.h"
#include "metrics.h"
#include "mark.h"
#include "node.h"
#include "tunnel.h"
#include "service.h"

#define EMIT(kind, name) kind name *emit_##name

/* types.h */
EMIT(enum, family);
EMIT(enum, direction);
EMIT(struct, ip_address);
EMIT(struct, mac_address);
/* drop.h */
EMIT(enum, drop_reason);
/* endpoint.h */
EMIT(enum, endpoint_limits);
EMIT(enum, gateway);
EMIT(struct, endpoint);
/* policy.h */
EMIT(enum, policy_limits);
EMIT(enum, tier);
EMIT(enum, policy_action);
EMIT(enum, policy_flags);
EMIT(enum, class_numbers);
EMIT(enum, verdict_prefix);
EMIT(struct, policy);
EMIT(struct, verdict_key);
EMIT(struct, verdict);
EMIT(struct, identity_class_key);
EMIT(struct, address_class_key);
EMIT(struct, address_classes);
/* peer.h */
EMIT(enum, peer_limits);
EMIT(enum, peer_kind);
EMIT(struct, peer_key);
EMIT(struct, peer);
EMIT(struct, range_key);
/* conntrack.h */
EMIT(enum, conntrack_limits);
EMIT(enum, conntrack_flags);
EMIT(enum, side);
EMIT(struct, conntrack_key4);
EMIT(struct, conntrack_key6);
EMIT(struct, conntrack_service);
EMIT(struct, conntrack_entry);
EMIT(struct, fragment_key);
EMIT(struct, fragment);
EMIT(struct, connection_budget);
/* event.h */
EMIT(enum, event_type);
EMIT(enum, event_flags);
EMIT(enum, aggregation);
EMIT(struct, flow_event);
/* metrics.h */
EMIT(enum, datapath_counter);
EMIT(enum, metrics_limits);
EMIT(struct, traffic_counter);
/* mark.h */
EMIT(enum, packet_mark);
/* node.h */
EMIT(enum, node_flags);
EMIT(enum, node_limits);
EMIT(struct, node_state);
/* tunnel.h */
EMIT(enum, tunnel_limits);
EMIT(struct, tunnel_node);
/* service.h */
EMIT(enum, service_limits);
EMIT(enum, hairpin);
EMIT(struct, service_key);
EMIT(struct, service);
EMIT(struct, backend);
EMIT(struct, service_slot_key);
EMIT(struct, service_member_key);
EMIT(struct, service_affinity_key);
EMIT(struct, service_affinity);
EMIT(struct, socket_peer_key);
