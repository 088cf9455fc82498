/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_SPLICE_XDP_FEATURES_H
#define SLUICE_SPLICE_XDP_FEATURES_H

#include <stdint.h>

/* What a device's driver can do at XDP (enum sl_xdp_feature and more), as the kernel tells since Linux
 * 6.3. -EOPNOTSUPP on older ones; other -errno. */
int sl_xdp_features(uint32_t ifindex, uint32_t *ret);

#endif
