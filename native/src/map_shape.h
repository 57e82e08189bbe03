// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <napi.h>

// What the kernel says a map is. Every buffer is checked against this, not against what JS believes.
struct MapShape {
	char name[16];
	uint32_t type;
	uint32_t key_size;
	uint32_t value_size; // of one value
	uint32_t max_entries;
	uint32_t flags;
	uint32_t id;
	bool per_cpu;
	size_t value_bytes; // as user space reads it: per-cpu maps give one value per possible CPU, each
			    // rounded up to 8

	// 0 or -errno (EBADF, EINVAL: not a map).
	static int Of(int fd, MapShape *shape);
	void Describe(Napi::Object out) const;
};
