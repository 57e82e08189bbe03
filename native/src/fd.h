// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <unistd.h>

// Owns a file descriptor and closes it in the destructor. Negative = none (often -errno, as libbpf returns
// it).
class Fd
{
      public:
	Fd() = default;
	explicit Fd(int fd) : fd_(fd)
	{
	}
	Fd(Fd &&other) : fd_(other.Release())
	{
	}
	Fd &operator=(Fd &&other)
	{
		if (this != &other)
			Reset(other.Release());
		return *this;
	}
	Fd(const Fd &) = delete;
	Fd &operator=(const Fd &) = delete;
	~Fd()
	{
		Reset(-1);
	}

	// A second descriptor of the same file, for use on another thread while JS may close its own.
	// Negative on error.
	static Fd Duplicate(int fd)
	{
		return Fd(fcntl(fd, F_DUPFD_CLOEXEC, 3));
	}

	int Get() const
	{
		return fd_;
	}
	bool Ok() const
	{
		return fd_ >= 0;
	}
	int Release()
	{
		int fd = fd_;
		fd_ = -1;
		return fd;
	}
	void Reset(int fd)
	{
		if (fd_ >= 0)
			close(fd_);
		fd_ = fd;
	}

      private:
	int fd_ = -1;
};
