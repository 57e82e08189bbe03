// SPDX-License-Identifier: Apache-2.0
#include "libbpf_log.h"

#include <stdarg.h>
#include <stdio.h>
#include <vector>

#include <bpf/libbpf.h>

static constexpr size_t kKeepBytes = 256 * 1024;
static thread_local LibbpfLog *current = nullptr;

// Called by libbpf on whichever thread called libbpf.
static int Collect(enum libbpf_print_level level, const char *format, va_list arguments)
{
	if (!current || level == LIBBPF_DEBUG)
		return 0;
	va_list measured;
	va_copy(measured, arguments);
	int size = vsnprintf(nullptr, 0, format, measured);
	va_end(measured);
	if (size <= 0)
		return 0;
	std::vector<char> message(size + 1);
	vsnprintf(message.data(), message.size(), format, arguments);
	current->Append(message.data(), size);
	return 0;
}

void CaptureLibbpfLog()
{
	libbpf_set_print(Collect);
}

LibbpfLog::LibbpfLog() : outer_(current)
{
	current = this;
}

LibbpfLog::~LibbpfLog()
{
	current = outer_;
}

void LibbpfLog::Append(const char *message, size_t size)
{
	text_.append(message, size);
	if (text_.size() > kKeepBytes) // the end of a verifier log says what is wrong
		text_.erase(0, text_.size() - kKeepBytes);
}
