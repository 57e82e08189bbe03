// SPDX-License-Identifier: Apache-2.0
#include "netns.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

int NamespaceVisit::Enter(const std::string &path)
{
	Fd there(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)); // a FIFO must not hold the thread
	if (!there.Ok())
		return -errno;
	Fd home(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
	if (!home.Ok())
		return -errno;
	if (setns(there.Get(), CLONE_NEWNET) < 0)
		return -errno;
	home_ = std::move(home);
	return 0;
}

NamespaceVisit::~NamespaceVisit()
{
	if (!home_.Ok() || setns(home_.Get(), CLONE_NEWNET) == 0)
		return;
	perror("weir native: cannot leave a network namespace"); // the next job of this thread would run in a
								 // pod
	abort();
}
