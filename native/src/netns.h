// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "fd.h"

// The calling thread's stay in another network namespace, from Enter() to destruction. Worker threads only:
// the JS thread never leaves the agent's own.
class NamespaceVisit
{
      public:
	// `path` as /run/netns/x. 0 or -errno; EINVAL when the file is no network namespace.
	int Enter(const std::string &path);
	~NamespaceVisit();

      private:
	Fd home_;
};
