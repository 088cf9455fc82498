/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_STATS_H
#define SLUICE_PROXY_STATS_H

/* What a worker counts. One struct per worker, written by it alone, read by the control thread with
 * relaxed loads and summed there. Counters only grow; gauges go both ways. Metric names are
 * sluice_<name>; docs/metrics.md has the table. */

#include <stdint.h>

#include "base/histogram.h"

/* name, help */
#define SL_COUNTERS(X)                                                                             \
	X(connections_accepted_total, "Client connections accepted")                               \
	X(connections_done_total, "Client connections ended, for whatever reason")                 \
	X(accept_failures_total, "Accept attempts that failed for lack of a resource")             \
	X(accept_pauses_total,                                                                     \
	  "Times that accepting paused until resources, or with limits.when_full: wait a place, "  \
	  "came back")                                                                             \
	X(refused_limit_total, "Connections refused by the global connection limit")               \
	X(refused_listener_total, "Connections refused by a listener's limit")                     \
	X(refused_source_total, "Connections refused by the per-source limit")                     \
	X(refused_memory_total, "Connections or requests refused for lack of buffers")             \
	X(requests_total, "Request heads parsed, good or bad")                                     \
	X(requests_bad_total, "Requests refused as malformed or ambiguous")                        \
	X(requests_denied_total, "Requests refused by access rules")                               \
	X(requests_auth_total, "Requests refused for missing or wrong credentials")                \
	X(requests_rate_total, "Requests refused because too many came in a second")               \
	X(requests_concurrent_total, "Requests refused because too many were in progress")         \
	X(responses_1xx_total, "Interim responses forwarded")                                      \
	X(responses_2xx_total, "Final responses by class, sluice's own included")                  \
	X(responses_3xx_total, "Final responses by class, sluice's own included")                  \
	X(responses_4xx_total, "Final responses by class, sluice's own included")                  \
	X(responses_5xx_total, "Final responses by class, sluice's own included")                  \
	X(responses_own_total, "Responses that sluice made itself")                                \
	X(responses_aborted_total, "Responses cut off because the origin or a body failed")        \
	X(upstream_connects_total, "Upstream connections opened")                                  \
	X(upstream_failures_total, "Requests that got no upstream connection")                     \
	X(upstream_reused_total, "Requests sent on a pooled upstream connection")                  \
	X(upstream_taken_over_total, "Of these, connections that another worker had pooled")       \
	X(upstream_waits_total, "Requests that waited for a connection of a full upstream")        \
	X(upstream_queue_full_total, "Requests refused because too many waited already")           \
	X(upstream_queue_timeouts_total, "Requests refused after they had waited too long")        \
	X(upstream_retries_total, "Requests sent again")                                           \
	X(upstream_stale_total, "Of these, because a pooled connection had been closed already")   \
	X(upstream_retries_denied_total, "Requests not sent again because the budget was used up") \
	X(upstream_bad_total, "Upstream responses that were malformed or truncated")               \
	X(tunnels_total, "Tunnels established")                                                    \
	X(proxy_headers_bad_total, "Connections refused for a malformed PROXY header")             \
	X(hellos_refused_total, "Connections refused for their ClientHello or its name")           \
	X(timeouts_header_total, "Request heads that did not arrive in time")                      \
	X(timeouts_body_total, "Bodies that made no progress in time")                             \
	X(timeouts_idle_total, "Idle client connections closed")                                   \
	X(timeouts_connect_total, "Upstream connects that took too long")                          \
	X(timeouts_upstream_total, "Responses that did not begin in time")                         \
	X(timeouts_tunnel_total, "Tunnels closed after silence")                                   \
	X(client_bytes_in_total, "Bytes read from clients")                                        \
	X(client_bytes_out_total, "Bytes written to clients")                                      \
	X(upstream_bytes_in_total, "Bytes read from upstreams")                                    \
	X(upstream_bytes_out_total, "Bytes written to upstreams")                                  \
	X(log_dropped_total, "Access log records dropped because the ring was full")

#define SL_GAUGES(X)                                                                            \
	X(connections_active, "Client connections now")                                         \
	X(connections_idle, "Client connections now without a request")                         \
	X(tunnels_active, "Tunnels now")                                                        \
	X(tunnels_adopted, "Of these, taken over from an earlier process")                      \
	X(upstream_waiting, "Requests that wait for a connection of an upstream now")           \
	X(upstream_idle, "Pooled idle upstream connections now")                                \
	X(own_bytes, "Bytes of sluice's own memory for connections and buffers (slabs)")        \
	X(idle_connection_bytes, "Bytes of sluice's own memory for one idle client connection") \
	X(buffers_in_use, "Buffers handed out now")

#define SL_HISTOGRAMS(X)                                                                 \
	X(request_duration, "From the request head's first byte to the response's last") \
	X(first_byte, "From the request sent to the response head")                      \
	X(connect_duration, "Upstream connect, names included")                          \
	X(queue_wait, "Wait for a connection of a full upstream")                        \
	X(tunnel_duration, "Lifetime of tunnels")                                        \
	X(splice_delay, "From a tunnel's request to its splice")                         \
	X(spliced_duration, "Lifetime of spliced tunnels, from the splice on")

/* What keeps clients and requests out: constant, reason, the counter above that counts it, too. */
#define SL_REFUSED(X)                                      \
	X(LIMIT, "limit", refused_limit_total)             \
	X(LISTENER, "listener", refused_listener_total)    \
	X(SOURCE, "source", refused_source_total)          \
	X(MEMORY, "memory", refused_memory_total)          \
	X(HEADER, "proxy-header", proxy_headers_bad_total) \
	X(HELLO, "hello", hellos_refused_total)            \
	X(BAD, "bad", requests_bad_total)                  \
	X(DENIED, "denied", requests_denied_total)         \
	X(AUTH, "auth", requests_auth_total)               \
	X(RATE, "rate", requests_rate_total)               \
	X(CONCURRENT, "concurrent", requests_concurrent_total)

enum sl_refused {
#define X(constant, reason, counter) SL_REFUSED_##constant,
	SL_REFUSED(X)
#undef X
		SL_REFUSED_COUNT,
};
/* e.g. "limit"; static. */
const char *sl_refused_name(enum sl_refused r);

struct sl_stats {
#define X(name, help) uint64_t name;
	SL_COUNTERS(X)
	SL_GAUGES(X)
#undef X
#define X(name, help) struct sl_histogram name;
	SL_HISTOGRAMS(X)
#undef X
} __attribute__((aligned(64)));

/* What a worker counts of a listener; one writer, as above. */
struct sl_listener_stats {
	uint64_t accepted, requests;
	uint64_t refused[SL_REFUSED_COUNT];
} __attribute__((aligned(64)));

/* Writer: a plain add that a concurrent relaxed reader sees whole. */
#define sl_count(counter, n) \
	__atomic_store_n(&(counter), (counter) + (uint64_t)(n), __ATOMIC_RELAXED)

/* Adds what `from` holds now to `to` (a plain object of the reader). Of idle_connection_bytes, which is
 * the same kind of figure in every worker, the largest is kept. */
void sl_stats_merge(struct sl_stats *to, const struct sl_stats *from);
void sl_listener_stats_merge(struct sl_listener_stats *to, const struct sl_listener_stats *from);

/* Counts a refusal in both, which are the calling worker's. */
void sl_count_refused(struct sl_stats *s, struct sl_listener_stats *l, enum sl_refused r);

#endif
