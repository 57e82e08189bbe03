/* Prints "name size hex" for values of the shared structs, as this machine's C compiler lays them out. The
 * same values stand in layout.test.ts. */
#include <arpa/inet.h>
#include <linux/types.h>
#include <stdio.h>
#include <string.h>
#include "abi/conntrack.h"
#include "abi/drop.h"
#include "abi/endpoint.h"
#include "abi/event.h"
#include "abi/metrics.h"
#include "abi/peer.h"
#include "abi/policy.h"

static void print(const char *name, const void *value, size_t size)
{
	const unsigned char *bytes = value;

	printf("%s %zu ", name, size);
	for (size_t i = 0; i < size; i++)
		printf("%02x", bytes[i]);
	printf("\n");
}

#define PRINT(type, value) print(#type, &(value), sizeof(value))

static void fill(void *to, size_t size, unsigned char first)
{
	for (size_t i = 0; i < size; i++)
		((unsigned char *)to)[i] = first + i;
}

int main(void)
{
	struct endpoint endpoint = {.identity = 1, .policy = 2, .ifindex = 0x100003, .aggregation = 4};
	struct policy policy = {.revision = 0x0102030405060708, .direction = {{1, 2, 3}, {4, 5, 6}}};
	struct verdict_key verdict_key = {96, 16, 0x80000001, DIRECTION_EGRESS, 6, htons(8080)};
	struct verdict verdict = {{{1, 2}, {3, 4}, {5, 6}}, {{7, 8}, {9, 10}, {11, 12}}};
	struct address_class_key address_class_key = {.prefix_len = 88, .set = 3, .family = FAMILY_IPV4};
	struct peer peer = {.identity = 1001, .endpoint = 7, .kind = PEER_POD};
	struct conntrack_key4 conntrack_key4 = {
		.low_address = htonl(0x0a000001),
		.high_address = htonl(0x0a000002),
		.low_port = htons(80),
		.high_port = htons(40000),
		.protocol = 6,
	};
	struct conntrack_entry conntrack_entry = {
		.expires = 1,
		.created = 2,
		.reported = 3,
		.packets = {4, 5},
		.bytes = {6, ~0ull},
		.identity = {8, 9},
		.endpoint = {10, 11},
		.node = {17, 18},
		.policy = {12, 13},
		.rule = {14, ~0u},
		.epoch = 16,
		.flags = 0x0102,
		.tcp_flags = {0x12, 0x10},
		.service = {.port = htons(80), .client_port = htons(40000)},
		.aggregation = AGGREGATION_LOW,
	};
	struct flow_event flow_event = {
		.time = 1,
		.created = 2,
		.packets = {3, 4},
		.bytes = {5, 6},
		.source_port = htons(40000),
		.destination_port = htons(443),
		.family = FAMILY_IPV6,
		.protocol = 17,
		.type = EVENT_DROP,
		.reason = DROP_ARP_SPOOF,
		.direction = DIRECTION_EGRESS,
		.tcp_flags = 2,
		.icmp_type = 3,
		.icmp_code = 4,
		.flags = EVENT_TO_HOST | EVENT_IS_REPLY,
		.identity = {7, 8},
		.endpoint = {9, 10},
		.policy = {11, 12},
		.rule = {13, 14},
		.length = 1500,
		.ifindex = 0x100001,
		.service_port = htons(53),
	};

	fill(endpoint.mac.bytes, 6, 5);
	endpoint.ipv4 = htonl(0x0a090807);
	fill(endpoint.ipv6, 16, 32);
	fill(address_class_key.address.bytes, 16, 1);
	fill(conntrack_entry.service.address.bytes, 16, 33);
	fill(flow_event.source.bytes, 16, 1);
	fill(flow_event.destination.bytes, 16, 17);
	fill(flow_event.service.bytes, 16, 49);
	PRINT(endpoint, endpoint);
	PRINT(policy, policy);
	PRINT(verdict_key, verdict_key);
	PRINT(verdict, verdict);
	PRINT(address_class_key, address_class_key);
	PRINT(peer, peer);
	PRINT(conntrack_key4, conntrack_key4);
	PRINT(conntrack_entry, conntrack_entry);
	PRINT(flow_event, flow_event);
	return 0;
}
