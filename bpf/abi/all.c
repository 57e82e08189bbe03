/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Every shared type in one object, compiled for its BTF and never loaded: bpf/gen reads it. */
#include <linux/types.h>
#include "types.h"
#include "drop.h"
#include "endpoint.h"
#include "policy.h"
#include "peer.h"
#include "conntrack.h"
#include "event.h"
#include "metrics.h"
struct endpoint *e1; struct policy *e2; struct verdict_key *e3; struct verdict *e4; struct flow_event *e5; struct conntrack_entry *e6; struct conntrack_key4 *e7; struct conntrack_key6 *e8; enum datapath_counter e9; enum metrics_limits e10; struct identity_class_key *e11;
