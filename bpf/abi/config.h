/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Read-only configuration of the programs: `const volatile` globals in .rodata, set by the agent before loading.
 * Constants fold, so a setting costs nothing per packet. Times are in jiffies where the name says so. */
#pragma once
#include "types.h"

#define DECLARE_CONFIG(type, name, text) const volatile type config_##name __doc(text)
