/* SPDX-License-Identifier: BSD-2-Clause */
/* Optimal string alignment distance, for "did you mean". */

#include "cli/suggest.h"

#include <string.h>

#include "base/util.h"

#define WORD_MAX 31

unsigned sl_word_distance(const char *a, const char *b)
{
	unsigned d[WORD_MAX + 1][WORD_MAX + 1];
	size_t la = strlen(a), lb = strlen(b);

	if (la > WORD_MAX || lb > WORD_MAX)
		return 1000;
	for (unsigned i = 0; i <= la; i++)
		d[i][0] = i;
	for (unsigned j = 0; j <= lb; j++)
		d[0][j] = j;
	for (size_t i = 1; i <= la; i++) {
		for (size_t j = 1; j <= lb; j++) {
			unsigned step = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);

			step = sl_min(step, d[i - 1][j] + 1);
			step = sl_min(step, d[i][j - 1] + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				step = sl_min(step, d[i - 2][j - 2] + 1);
			d[i][j] = step;
		}
	}
	return d[la][lb];
}
