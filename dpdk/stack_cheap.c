/* SPDX-License-Identifier: BSD-2-Clause */
/* Functions of lwIP's that the dynamic linker finds here instead, because they are called for every
 * packet: its checksums are byte by byte, its critical sections a recursive mutex. One thread uses lwIP,
 * so there is nothing to protect. */

#include <rte_ip.h>
#include <stdint.h>
#include <string.h>

unsigned sys_arch_protect(void);
void sys_arch_unprotect(unsigned level);
uint16_t lwip_standard_chksum(const void *data, int len);
uint16_t lwip_chksum_copy(void *to, const void *from, uint16_t len);

unsigned sys_arch_protect(void)
{
	return 0;
}

void sys_arch_unprotect(unsigned level)
{
}

uint16_t lwip_standard_chksum(const void *data, int len)
{
	return rte_raw_cksum(data, (size_t)len);
}

uint16_t lwip_chksum_copy(void *to, const void *from, uint16_t len)
{
	memcpy(to, from, len);
	return rte_raw_cksum(to, len);
}
