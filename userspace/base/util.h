/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_BASE_UTIL_H
#define SLUICE_BASE_UTIL_H

/* Small helpers without domain knowledge: container_of, bounds, cleanup attributes. */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define SL_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define sl_container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#define sl_min(a, b)                    \
	({                              \
		__typeof__(a) _a = (a); \
		__typeof__(b) _b = (b); \
		_a < _b ? _a : _b;      \
	})

#define sl_max(a, b)                    \
	({                              \
		__typeof__(a) _c = (a); \
		__typeof__(b) _d = (b); \
		_c > _d ? _c : _d;      \
	})

#define SL_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

/* Closes fd unless it is negative; always returns -1, so that `fd = sl_close(fd)` forgets it. */
static inline int sl_close(int fd)
{
	if (fd >= 0)
		close(fd);
	return -1;
}

static inline void sl_cleanup_close(int *fd)
{
	*fd = sl_close(*fd);
}

static inline void sl_cleanup_free(void *p)
{
	free(*(void **)p);
}

/* `_sl_close_ int fd = -1;` closes at the end of the scope, `_sl_free_ char *s = NULL;` frees. */
#define _sl_close_ __attribute__((cleanup(sl_cleanup_close)))
#define _sl_free_  __attribute__((cleanup(sl_cleanup_free)))

/* Hands a resource over: yields its value and leaves the variable empty. */
#define SL_TAKE_PTR(p)                  \
	({                              \
		__typeof__(p) _p = (p); \
		(p) = NULL;             \
		_p;                     \
	})
#define SL_TAKE_FD(fd)          \
	({                      \
		int _fd = (fd); \
		(fd) = -1;      \
		_fd;            \
	})

#endif
