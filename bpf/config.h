/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the agent sets before loading. */
#pragma once
#include "abi/config.h"
#include "abi/event.h"

DECLARE_CONFIG(__u32, hz, "Jiffies per second of this kernel (CONFIG_HZ)") = 250;
DECLARE_CONFIG(__u32, world_ipv4, "Identity of IPv4 addresses that no peer and no range has") = 9;
DECLARE_CONFIG(__u32, world_ipv6, "Identity of IPv6 addresses that no peer and no range has") = 10;
DECLARE_CONFIG(__u32, report_interval_seconds, "An established connection is reported again after so many seconds") = 5;
DECLARE_CONFIG(__u32, aggregation,
	       "enum aggregation of connections whose pods do not ask for another") = AGGREGATION_MEDIUM;
DECLARE_CONFIG(__u32, new_connections_per_second, "Connections one pod may open per second, sustained") = 20000;
DECLARE_CONFIG(__u32, new_connection_burst, "Connections one pod may open at once") = 65536;
DECLARE_CONFIG(__u32, services, "1: pods reach Services by their virtual addresses; 0: nothing is translated") = 1;
