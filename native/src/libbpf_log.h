// SPDX-License-Identifier: Apache-2.0
// libbpf writes to stderr unless told otherwise. Its messages, the verifier's log among them, are collected
// per thread.
#pragma once

#include <string>

// Installs the collector; once per process.
void CaptureLibbpfLog();

// Between construction and destruction the messages of this thread are kept; the last 256 KiB of them.
class LibbpfLog
{
      public:
	LibbpfLog();
	~LibbpfLog();
	const std::string &Text() const
	{
		return text_;
	}
	void Append(const char *message, size_t size);

      private:
	std::string text_;
	LibbpfLog *outer_;
};
