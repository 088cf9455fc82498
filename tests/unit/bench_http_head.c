/* SPDX-License-Identifier: BSD-2-Clause */
/* Time to parse a usual request head of ten fields, and what it means. Not a test: prints only. */

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "http/target.h"

static const char text[] =
	"GET http://www.example.com/search?q=something+or+other&page=2 HTTP/1.1\r\n"
	"Host: www.example.com\r\n"
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/115.0\r\n"
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8\r\n"
	"Accept-Language: en-US,en;q=0.5\r\n"
	"Accept-Encoding: gzip, deflate, br\r\n"
	"Referer: http://www.example.com/\r\n"
	"Connection: keep-alive\r\n"
	"Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n"
	"Upgrade-Insecure-Requests: 1\r\n"
	"Proxy-Connection: keep-alive\r\n"
	"\r\n";

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

int main(void)
{
	static const struct sl_head_limits limits = {16384, 8192, 100};
	static struct sl_head head;
	struct sl_framing framing;
	struct sl_authority host;
	struct sl_target target;
	struct sl_hop hop;
	double start = now_ns(), parsed, all;
	unsigned bad = 0, n = 500000;

	for (unsigned i = 0; i < n; i++) {
		size_t scanned = 0;

		bad += sl_head_parse_request(text, sizeof(text) - 1, &scanned, &limits, &head) !=
		       SL_PARSE_DONE;
	}
	parsed = now_ns() - start;
	for (unsigned i = 0; i < n; i++)
		bad += sl_target_parse(&head, &target) || sl_host_field(&head, &host) ||
		       sl_head_hop(&head, &hop) || sl_request_framing(&head, &framing);
	all = now_ns() - start;
	printf("%zu bytes: parse %.0f ns, meaning %.0f ns\n", sizeof(text) - 1, parsed / n,
	       (all - parsed) / n);
	return bad != 0;
}
