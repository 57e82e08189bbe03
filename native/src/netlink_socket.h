// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdint.h>
#include <string>
#include <vector>

#include "fd.h"

// What the kernel answered: whole messages, headers included, and its extended acknowledgement in words.
struct NetlinkReply {
	std::vector<uint8_t> messages;
	std::string text;
};

// A netlink socket. It belongs to the namespace in which it was opened, whoever uses it. One thread at
// a time.
class NetlinkSocket
{
      public:
	// `protocol`: NETLINK_ROUTE, NETLINK_NETFILTER. 0 or -errno.
	int Open(int protocol);
	bool IsOpen() const
	{
		return fd_.Ok();
	}
	// Sends one message and waits for its acknowledgement. 0 or -errno.
	int Request(std::vector<uint8_t> message, NetlinkReply *reply);
	// Sends one dump request and collects all parts; again when the kernel says that the tables changed
	// meanwhile.
	int Dump(std::vector<uint8_t> message, NetlinkReply *reply);

      private:
	int Send(std::vector<uint8_t> &message, uint16_t flags);
	int Receive(NetlinkReply *reply, bool *interrupted);

	Fd fd_;
	uint32_t sequence_ = 0;
	std::vector<uint8_t> buffer_;
};
