// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <vector>

#include "map_shape.h"

// Sees one entry; false ends the walk.
using EntryVisitor = std::function<bool(const uint8_t *key, const uint8_t *value)>;

// Visits every entry once, with the batch calls where the map has them. Entries deleted or added meanwhile
// may or may not be seen. 0 or -errno; ELOOP when the map changes so fast that the walk does not end. Any
// thread.
int WalkMap(int fd, const MapShape &shape, const EntryVisitor &visit);
