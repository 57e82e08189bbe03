// SPDX-License-Identifier: Apache-2.0
#include "netlink_socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <linux/netlink.h>
#include <linux/rtnetlink.h>

static constexpr size_t kReceiveBytes = 64 * 1024; // the kernel fills dumps in pieces of at most 32 KiB
static constexpr int kSocketBuffer = 1024 * 1024;
static constexpr int kDumpAttempts = 8;
static constexpr int kTimeoutSeconds =
	10; // answers are made while the request is sent: waiting means something is broken

int NetlinkSocket::Open(int protocol)
{
	Fd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
	if (!fd.Ok())
		return -errno;
	int one = 1;
	struct timeval timeout = {kTimeoutSeconds, 0};
	struct sockaddr_nl self = {};
	self.nl_family = AF_NETLINK;
	if (setsockopt(fd.Get(), SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof(one)) < 0 ||
	    setsockopt(fd.Get(), SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof(one)) < 0 ||
	    setsockopt(fd.Get(), SOL_SOCKET, SO_RCVBUF, &kSocketBuffer, sizeof(kSocketBuffer)) < 0 ||
	    setsockopt(fd.Get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0 ||
	    bind(fd.Get(), (struct sockaddr *)&self, sizeof(self)) < 0)
		return -errno;
	buffer_.resize(kReceiveBytes);
	fd_ = std::move(fd);
	return 0;
}

int NetlinkSocket::Send(std::vector<uint8_t> &message, uint16_t flags)
{
	struct nlmsghdr header;
	if (message.size() < sizeof(header))
		return -EINVAL;
	memcpy(&header, message.data(), sizeof(header));
	header.nlmsg_len = message.size();
	header.nlmsg_flags |= NLM_F_REQUEST | flags;
	header.nlmsg_seq = ++sequence_;
	header.nlmsg_pid = 0;
	memcpy(message.data(), &header, sizeof(header));
	struct sockaddr_nl kernel = {};
	kernel.nl_family = AF_NETLINK;
	ssize_t sent;
	do
		sent = sendto(fd_.Get(), message.data(), message.size(), 0, (struct sockaddr *)&kernel,
			      sizeof(kernel));
	while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : 0;
}

// The text attribute of an acknowledgement, if it has one.
static std::string ExtendedText(const struct nlmsghdr *header, size_t fixed)
{
	if (!(header->nlmsg_flags & NLM_F_ACK_TLVS))
		return "";
	size_t at = NLMSG_HDRLEN + NLMSG_ALIGN(fixed);
	const uint8_t *base = (const uint8_t *)header;
	while (at + NLA_HDRLEN <= header->nlmsg_len) {
		const struct nlattr *attribute = (const struct nlattr *)(base + at);
		if (attribute->nla_len < NLA_HDRLEN || at + attribute->nla_len > header->nlmsg_len)
			break;
		if ((attribute->nla_type & NLA_TYPE_MASK) == NLMSGERR_ATTR_MSG) {
			const char *text = (const char *)attribute + NLA_HDRLEN;
			return std::string(text, strnlen(text, attribute->nla_len - NLA_HDRLEN));
		}
		at += NLA_ALIGN(attribute->nla_len);
	}
	return "";
}

// Until the acknowledgement or the end of the dump that belongs to the last Send().
int NetlinkSocket::Receive(NetlinkReply *reply, bool *interrupted)
{
	for (;;) {
		struct iovec into = {buffer_.data(), buffer_.size()};
		struct msghdr envelope = {};
		envelope.msg_iov = &into;
		envelope.msg_iovlen = 1;
		ssize_t received = recvmsg(fd_.Get(), &envelope, 0);
		if (received < 0 && errno == EINTR)
			continue;
		if (received < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		if (envelope.msg_flags & MSG_TRUNC)
			return -EMSGSIZE;
		int left = received;
		for (struct nlmsghdr *header = (struct nlmsghdr *)buffer_.data();
		     NLMSG_OK(header, (unsigned)left); header = NLMSG_NEXT(header, left)) {
			if (header->nlmsg_seq != sequence_)
				continue; // of a request that timed out
			if (header->nlmsg_flags & NLM_F_DUMP_INTR)
				*interrupted = true;
			if (header->nlmsg_type == NLMSG_ERROR) {
				int error = *(int *)NLMSG_DATA(
					header); // CAP_ACK: the request is not echoed behind it
				reply->text = ExtendedText(header, sizeof(struct nlmsgerr));
				return error;
			}
			if (header->nlmsg_type == NLMSG_DONE) {
				int error = header->nlmsg_len >= NLMSG_LENGTH(sizeof(int))
						    ? *(int *)NLMSG_DATA(header)
						    : 0;
				reply->text = ExtendedText(header, sizeof(int));
				return error;
			}
			const uint8_t *from = (const uint8_t *)header;
			size_t start = reply->messages.size();
			reply->messages.resize(start + NLMSG_ALIGN(header->nlmsg_len));
			memcpy(&reply->messages[start], from, header->nlmsg_len);
		}
	}
}

int NetlinkSocket::Request(std::vector<uint8_t> message, NetlinkReply *reply)
{
	bool interrupted = false;
	int error = Send(message, NLM_F_ACK);
	return error ? error : Receive(reply, &interrupted);
}

int NetlinkSocket::Dump(std::vector<uint8_t> message, NetlinkReply *reply)
{
	for (int attempt = 0; attempt < kDumpAttempts; attempt++) {
		bool interrupted = false;
		reply->messages.clear();
		int error = Send(message, NLM_F_DUMP);
		if (!error)
			error = Receive(reply, &interrupted);
		if (error && error != -ENOBUFS) // parts were lost: start over
			return error;
		if (!error && !interrupted)
			return 0;
	}
	return -EAGAIN;
}
