/* SPDX-License-Identifier: BSD-2-Clause */
/* proxy/config: what is read, and every refusal with its exact line, column and words. */

#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "proxy/config/config.h"

/* The least that is a configuration. */
#define LISTENERS "listeners: [{name: a, listen: \"127.0.0.1:3128\", mode: forward}]\n"

static struct sl_config *parse(const char *text)
{
	struct sl_config_error error = {""};
	struct sl_config *c = NULL;

	if (sl_config_parse("t", text, strlen(text), &c, &error))
		fail_msg("%s", error.text);
	return c;
}

static void without_a_file_it_is_a_forward_proxy_on_loopback(void **state)
{
	char text[SL_ADDR_STR_MAX];
	struct sl_config *c;

	assert_int_equal(sl_config_default(&c), 0);
	assert_null(c->file);
	assert_int_equal(c->workers, 0);
	assert_string_equal(c->admin, "/run/sluice/admin.sock");
	assert_string_equal(sl_addr_format(&c->metrics, text), "127.0.0.1:9145");
	assert_null(c->via);
	assert_int_equal(c->log_level, SL_LOG_INFO);
	assert_int_equal(c->splice.engine, SL_SPLICE_AUTO);
	assert_int_equal(c->splice.after_bytes, 65536);
	assert_int_equal(c->splice.after_ms, 50);
	assert_int_equal(c->splice.pairs, 65536);
	assert_int_equal(c->splice.ports.from, 0);
	assert_int_equal(c->splice.time_wait_ms, 60000);
	assert_int_equal(c->splice.mss, 1400);
	assert_int_equal(c->splice.hook, SL_SPLICE_HOOK_AUTO);
	assert_null(c->splice.devices);
	assert_int_equal(c->limits.connections, 50000);
	assert_int_equal(c->limits.head, 16384);
	assert_int_equal(c->limits.start_line, 8192);
	assert_int_equal(c->limits.headers, 100);
	assert_int_equal(c->limits.body, 0);
	assert_int_equal(c->limits.memory, 1 << 30);
	assert_int_equal(c->timeouts.header, 10000);
	assert_int_equal(c->timeouts.tunnel, 3600000);
	assert_null(c->access_log.path);
	assert_null(c->resolver.servers);
	assert_int_equal(c->pool.idle, 64);
	assert_int_equal(c->n_listeners, 1);
	assert_string_equal(sl_addr_format(&c->listeners[0].listen, text), "127.0.0.1:3128");
	assert_null(c->listeners[0].acl);
	assert_null(c->listeners[0].auth_basic);
	sl_config_free(c);
	sl_config_free(NULL);
}

static const char everything[] =
	"workers: 4\n"
	"admin: /tmp/a.sock\n"
	"metrics: off\n"
	"via: gw1\n"
	"log_level: debug\n"
	"splice: {engine: copy, after_bytes: 1m, after: 1s, pairs: 1000000, ports: 2000-2999, "
	"devices: [eth0, eth1], hook: xdp, mss: 1300, "
	"time_wait: 500ms}\n"
	"limits: {connections: 7, connections_per_source: 3, when_full: wait, head: 4k, headers: "
	"50,\n"
	"         body: 1g, memory: 64m}\n"
	"timeouts: {header: 1s, body: 2s, idle: 3m, connect: 50ms, upstream: 5s,\n"
	"           tunnel: 2d, drain: 1ms}\n"
	"access_log: {path: \"-\", format: binary, sample: 0.25, "
	"always: {errors: true, slower: 1s}}\n"
	"resolver: {servers: [10.0.0.2, \"[::1]:5353\"], timeout: 1s, tries: 3, cache: 0,\n"
	"           negative_ttl: 0s, max_ttl: 1d}\n"
	"pool: {idle: 0, idle_timeout: 10s}\n"
	"listeners:\n"
	"  - name: egress\n"
	"    listen: \"[::]:3128\"\n"
	"    mode: forward\n"
	"    acl:\n"
	"      - {allow: {dst: \"10.0.0.0/8\", port: [443, 8443]}}\n"
	"      - {deny: {host: [\"*.Internal.\", db], src: fd00::/8}}\n"
	"      - deny:\n"
	"          port: 8000-8100\n"
	"      - {allow: {}}\n"
	"    auth: {basic: /etc/sluice/users}\n"
	"    forwarded: both\n"
	"    forwarded_trust: true\n"
	"    limits: {connections: 5}\n"
	"    splice: auto\n"
	"  - {name: two, listen: \"127.0.0.1:3129\", mode: forward}\n";

static void check_rules(const struct sl_acl *acl)
{
	assert_int_equal(acl->n_rules, 4);
	assert_true(acl->rules[0].allow);
	assert_int_equal(acl->rules[0].n_dst, 1);
	assert_int_equal(acl->rules[0].dst[0].bits, 8);
	assert_int_equal(acl->rules[0].n_port, 2);
	assert_int_equal(acl->rules[0].port[1].from, 8443);
	assert_int_equal(acl->rules[0].port[1].to, 8443);
	assert_int_equal(acl->rules[0].line, 20);
	assert_int_equal(acl->rules[0].column, 9);
	assert_false(acl->rules[1].allow);
	assert_int_equal(acl->rules[1].n_host, 2);
	assert_string_equal(acl->rules[1].host[0], "*.internal");
	assert_string_equal(acl->rules[1].host[1], "db");
	assert_int_equal(acl->rules[1].n_src, 1);
	assert_int_equal(acl->rules[2].port[0].from, 8000);
	assert_int_equal(acl->rules[2].port[0].to, 8100);
	assert_true(acl->rules[3].allow);
	assert_int_equal(acl->rules[3].n_src + acl->rules[3].n_dst + acl->rules[3].n_host +
				 acl->rules[3].n_port,
			 0);
}

static void every_key_is_read_into_its_field(void **state)
{
	struct sl_config *c = parse(everything);
	const struct sl_listener_config *l = c->listeners;

	assert_string_equal(c->file, "t");
	assert_int_equal(c->workers, 4);
	assert_string_equal(c->admin, "/tmp/a.sock");
	assert_int_equal(c->metrics.family, AF_UNSPEC);
	assert_string_equal(c->via, "gw1");
	assert_int_equal(c->log_level, SL_LOG_DEBUG);
	assert_int_equal(c->splice.engine, SL_SPLICE_COPY);
	assert_int_equal(c->splice.after_bytes, 1 << 20);
	assert_int_equal(c->splice.after_ms, 1000);
	assert_int_equal(c->splice.pairs, 1000000);
	assert_int_equal(c->splice.ports.from, 2000);
	assert_int_equal(c->splice.ports.to, 2999);
	assert_int_equal(c->splice.time_wait_ms, 500);
	assert_int_equal(c->splice.mss, 1300);
	assert_int_equal(c->splice.hook, SL_SPLICE_HOOK_XDP);
	assert_string_equal(c->splice.devices[0], "eth0");
	assert_string_equal(c->splice.devices[1], "eth1");
	assert_null(c->splice.devices[2]);
	assert_int_equal(c->limits.connections, 7);
	assert_int_equal(c->limits.connections_per_source, 3);
	assert_int_equal(c->limits.when_full, SL_WHEN_FULL_WAIT);
	assert_int_equal(c->limits.head, 4096);
	assert_int_equal(c->limits.start_line, 4096);
	assert_int_equal(c->limits.headers, 50);
	assert_int_equal(c->limits.body, 1 << 30);
	assert_int_equal(c->limits.memory, 64 << 20);
	assert_int_equal(c->timeouts.header, 1000);
	assert_int_equal(c->timeouts.body, 2000);
	assert_int_equal(c->timeouts.idle, 180000);
	assert_int_equal(c->timeouts.connect, 50);
	assert_int_equal(c->timeouts.upstream, 5000);
	assert_int_equal(c->timeouts.tunnel, 2 * 86400000);
	assert_int_equal(c->timeouts.drain, 1);
	assert_string_equal(c->access_log.path, "-");
	assert_int_equal(c->access_log.format, SL_ACCESS_LOG_BINARY);
	assert_true(c->access_log.sample == 0.25);
	assert_true(c->access_log.always_errors);
	assert_int_equal(c->access_log.always_slower_ms, 1000);
	assert_string_equal(c->resolver.servers[0], "10.0.0.2");
	assert_string_equal(c->resolver.servers[1], "[::1]:5353");
	assert_null(c->resolver.servers[2]);
	assert_int_equal(c->resolver.timeout_ms, 1000);
	assert_int_equal(c->resolver.tries, 3);
	assert_int_equal(c->resolver.cache, 0);
	assert_int_equal(c->resolver.negative_ttl_ms, 0);
	assert_int_equal(c->resolver.max_ttl_ms, 86400000);
	assert_int_equal(c->pool.idle, 0);
	assert_int_equal(c->pool.idle_timeout_ms, 10000);
	assert_int_equal(c->n_listeners, 2);
	assert_string_equal(l[0].name, "egress");
	assert_int_equal(sl_addr_port(&l[0].listen), 3128);
	assert_int_equal(l[0].mode, SL_MODE_FORWARD);
	check_rules(l[0].acl);
	assert_string_equal(l[0].auth_basic, "/etc/sluice/users");
	assert_int_equal(l[0].forwarded, SL_FORWARDED_BOTH);
	assert_true(l[0].forwarded_trust);
	assert_int_equal(l[0].connections, 5);
	assert_int_equal(l[0].splice, SL_SPLICE_AUTO);
	assert_int_equal(l[1].splice, SL_SPLICE_COPY);
	assert_int_equal(l[0].line, 16);
	assert_int_equal(l[0].column, 5);
	assert_int_equal(l[1].line, 30);
	sl_config_free(c);
}

/* {text, error}; LISTENERS follows where `whole` is false. */
static const struct bad {
	const char *text, *error;
	bool whole;
} bad[] = {
	/* structure */
	{"", "t:1:1: expected a mapping, the file is empty", true},
	{"# only a comment\n", "t:1:1: expected a mapping, the file is empty", true},
	{"workers: 1\n", "t:1:1: missing key 'listeners'", true},
	{"- a\n", "t:1:1: expected a mapping, got a list", true},
	{"just text", "t:1:1: expected a mapping, got 'just text'", true},
	{"wokers: 1\n", "t:1:1: unknown key 'wokers', did you mean 'workers'?"},
	{"limits: {conections: 1}\n",
	 "t:1:10: limits: unknown key 'conections', did you mean 'connections'?"},
	{"pool: {colour: 1}\n",
	 "t:1:8: pool: unknown key 'colour', expected one of: idle, idle_timeout"},
	{"workers: 1\nworkers: 2\n", "t:2:1: workers: repeated key, first at line 1"},
	{"limits: {head: 4k,\n  head: 8k}\n", "t:2:3: limits.head: repeated key, first at line 1"},
	{"limits: 5\n", "t:1:9: limits: expected a mapping, got '5'"},
	{"limits:\n", "t:1:8: limits: expected a mapping, got nothing"},
	{"limits: [1]\n", "t:1:9: limits: expected a mapping, got a list"},
	{"? [a]\n: b\n", "t:1:3: expected a key, got a list"},
	{"<<: {workers: 1}\n",
	 "t:1:1: unknown key '<<', expected one of: workers, admin, metrics, via, user, seccomp, "
	 "log_level, "
	 "transport, dpdk, splice, limits, timeouts, access_log, resolver, pool, listeners, "
	 "upstreams"},
	{"\"bad\\nkey\\x1b\": 1\n",
	 "t:1:1: unknown key 'bad?key?', expected one of: workers, admin, metrics, via, user, "
	 "seccomp, "
	 "log_level, transport, dpdk, splice, limits, timeouts, access_log, resolver, pool, "
	 "listeners, upstreams"},
	{"workers: !!int 4\n", "t:1:10: workers: tags are not supported"},
	{"via: !x y\n", "t:1:6: via: tags are not supported"},
	{"via: \"a\\0b\"\n", "t:1:6: via: a string must not contain NUL"},
	{"workers: *nobody\n", "t:1:10: not valid YAML: found undefined alias"},
	{LISTENERS "---\nworkers: 1\n", "t:3:1: expected one document, here begins another", true},
	{"workers: [1\n", "t:2:1: not valid YAML: did not find expected ',' or ']'", true},
	{"a: b: c\n", "t:1:5: not valid YAML: mapping values are not allowed in this context",
	 true},
	{"workers: 1\nvia: \xff\xfe\n", "t:2:6: not valid YAML: invalid leading UTF-8 octet", true},
	{"via: \xc3(\n", "t:1:7: not valid YAML: invalid trailing UTF-8 octet", true},
	{"via: a\x01\n", "t:1:7: not valid YAML: control characters are not allowed", true},
	{"\xff\xfew\0", "t:1:1: not valid YAML: invalid leading UTF-8 octet", true},
	/* numbers, units, choices */
	{"workers: many\n", "t:1:10: workers: expected a number, got 'many'"},
	{"workers: 0\n", "t:1:10: workers: expected 1 to 256, got '0'"},
	{"workers: 257\n", "t:1:10: workers: expected 1 to 256, got '257'"},
	{"workers: -1\n", "t:1:10: workers: expected a number, got '-1'"},
	{"workers: 0x4\n", "t:1:10: workers: expected a number, got '0x4'"},
	{"workers: 99999999999999999999\n",
	 "t:1:10: workers: expected 1 to 256, got '99999999999999999999'"},
	{"workers:\n", "t:1:9: workers: expected a number, got nothing"},
	{"workers: ~\n", "t:1:10: workers: expected a number, got nothing"},
	{"workers: [1]\n", "t:1:10: workers: expected a number, got a list"},
	{"timeouts:\n  idle: 1s\n  header: soon\n",
	 "t:3:11: timeouts.header: expected a duration such as 10s, got 'soon'"},
	{"timeouts: {header: 10}\n",
	 "t:1:20: timeouts.header: expected a duration such as 10s, got '10'"},
	{"timeouts: {header: 1.5s}\n",
	 "t:1:20: timeouts.header: expected a duration such as 10s, got '1.5s'"},
	{"timeouts: {header: 10 s}\n",
	 "t:1:20: timeouts.header: expected a duration such as 10s, got '10 s'"},
	{"timeouts: {header: 0s}\n", "t:1:20: timeouts.header: expected 1ms to 1d, got '0s'"},
	{"timeouts: {header: 25h}\n", "t:1:20: timeouts.header: expected 1ms to 1d, got '25h'"},
	{"timeouts: {tunnel: 31d}\n", "t:1:20: timeouts.tunnel: expected 1ms to 30d, got '31d'"},
	{"timeouts: {tunnel: 18446744073709551615h}\n",
	 "t:1:20: timeouts.tunnel: expected 1ms to 30d, got '18446744073709551615h'"},
	{"limits: {head: 16kb}\n", "t:1:16: limits.head: expected a size such as 64k, got '16kb'"},
	{"limits: {head: 128k}\n", "t:1:16: limits.head: expected 1k to 64k, got '128k'"},
	{"limits: {head: 1000}\n", "t:1:16: limits.head: expected 1k to 64k, got '1000'"},
	{"limits: {headers: 257}\n", "t:1:19: limits.headers: expected 1 to 256, got '257'"},
	{"limits: {start_line: 8k, head: 4k}\n",
	 "t:1:9: limits: expected start_line (8192) to be at most head (4096)"},
	{"splice: {engine: fast}\n",
	 "t:1:18: splice.engine: expected one of: auto, copy, sockmap, packet, got 'fast'"},
	{"splice: {hook: nic}\n",
	 "t:1:16: splice.hook: expected one of: auto, tc, xdp, xdp-generic, got 'nic'"},
	{"splice: {mss: 535}\n", "t:1:15: splice.mss: expected 536 to 65483, got '535'"},
	{"splice: {devices: [eth0, auto]}\n",
	 "t:1:9: splice: expected devices to be auto, none, or names alone"},
	{"splice: {devices: a/b}\n",
	 "t:1:19: splice.devices: expected auto, none, or names of devices, got 'a/b'"},
	{"splice: {devices: a234567890123456}\n", "t:1:19: splice.devices: expected auto, none, or "
						  "names of devices, got 'a234567890123456'"},
	{"splice: {pairs: 15}\n", "t:1:17: splice.pairs: expected 16 to 4194304, got '15'"},
	{"splice: {ports: 20-10}\n",
	 "t:1:17: splice.ports: expected a port from 1 to 65535 or a range such as 8000-8100, "
	 "got '20-10'"},
	{"log_level: loud\n",
	 "t:1:12: log_level: expected one of: error, warning, info, debug, got 'loud'"},
	{"access_log: {path: /x, sample: 1.5}\n", "t:1:32: access_log.sample: expected a fraction "
						  "from 0 to 1 such as 0.25, got '1.5'"},
	{"access_log: {path: /x, sample: nan}\n", "t:1:32: access_log.sample: expected a fraction "
						  "from 0 to 1 such as 0.25, got 'nan'"},
	{"access_log: {path: /x, sample: \"0.\"}\n", "t:1:32: access_log.sample: expected a "
						     "fraction from 0 to 1 such as 0.25, got '0.'"},
	{"access_log: {sample: 1}\n", "t:1:13: access_log: missing key 'path'"},
	{"access_log: {path: x.log}\n", "t:1:20: access_log.path: expected an absolute path, or - "
					"for standard output, got 'x.log'"},
	{"access_log: {path: /x, format: xml}\n",
	 "t:1:32: access_log.format: expected one of: json, clf, binary, got 'xml'"},
	{"access_log: {path: /x, always: {slow: 1s}}\n",
	 "t:1:33: access_log.always: unknown key 'slow', did you mean 'slower'?"},
	/* strings and addresses */
	{"admin: relative.sock\n", "t:1:8: admin: expected an absolute path, got 'relative.sock'"},
	{"admin: {a: b}\n", "t:1:8: admin: expected an absolute path, got a mapping"},
	{"admin: /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	 "aaaaaaaaaaaaaaaaaaaaaaaaaa\n",
	 "t:1:8: admin: expected 0 to 107 bytes, got 108"},
	{"admin: \"/a\\nb\"\n",
	 "t:1:8: admin: expected a string without control characters, got '/a?b'"},
	{"via: \"two words\"\n", "t:1:6: via: expected a token such as sluice or "
				 "proxy1.example.com, got 'two words'"},
	{"metrics: yes\n", "t:1:10: metrics: expected address:port such as 127.0.0.1:3128 or "
			   "[::1]:3128, got 'yes'"},
	{"metrics: \"127.0.0.1:0\"\n", "t:1:10: metrics: expected address:port such as "
				       "127.0.0.1:3128 or [::1]:3128, got '127.0.0.1:0'"},
	{"resolver: {servers: []}\n", "t:1:21: resolver.servers: expected 1 to 8 items, got 0"},
	{"resolver: {servers: [10.0.0.1, dns]}\n",
	 "t:1:32: resolver.servers[1]: expected an address such as 10.0.0.2 or 10.0.0.2:53, got "
	 "'dns'"},
	/* listeners */
	{"listeners: []\n", "t:1:12: listeners: expected 1 to 256 items, got 0", true},
	{"listeners: {}\n", "t:1:12: listeners: expected a list, got a mapping", true},
	{"listeners:\n  - name: a\n    mode: forward\n",
	 "t:2:5: listeners[0]: missing key 'listen'", true},
	{"listeners: [{name: a, listen: \"0.0.0.0:80\", mode: forward, "
	 "limits: {requests_per_source: {rate: 0}}}]\n",
	 "t:1:97: listeners[0].limits.requests_per_source.rate: expected 1 to 1000000, got '0'",
	 true},
	{"listeners: [{name: a, listen: \"0.0.0.0:80\", mode: forward, "
	 "limits: {requests_per_source: {burst: 9}}}]\n",
	 "t:1:90: listeners[0].limits.requests_per_source: missing key 'rate'", true},
	{"listeners: [{name: a, listen: \"0.0.0.0:80\", mode: tcp}]\n",
	 "t:1:13: listeners[0]: mode tcp needs an upstream", true},
	{"listeners: [{name: a, listen: \"0.0.0.0:80\", mode: sni}]\n",
	 "t:1:13: listeners[0]: mode sni needs routes or an upstream", true},
	{"listeners: [{name: a, listen: \"0.0.0.0:80\", mode: tcp, upstream: b, acl: []}]\n",
	 "t:1:13: listeners[0]: acl and auth are for mode forward", true},
	{"listeners: [{name: a, listen: \"0.0.0.0:80\", mode: tcp, upstream: b, forwarded: "
	 "both}]\n",
	 "t:1:13: listeners[0]: mode tcp knows no fields to add to", true},
	{"listeners: [{name: a, listen: \"0.0.0.0:80\", mode: tcp, "
	 "routes: [{sni: a, upstream: b}]}]\n",
	 "t:1:65: listeners[0]: mode tcp has one upstream, without conditions", true},
	{"listeners: [{name: a, listen: \"0.0.0.0:80\", mode: sni, "
	 "routes: [{host: a, upstream: b}]}]\n",
	 "t:1:65: listeners[0]: mode sni sees nothing but sni", true},
	{"listeners: [{name: a, listen: \"0.0.0.0:80\", mode: http, "
	 "routes: [{sni: a, upstream: b}]}]\n",
	 "t:1:66: listeners[0]: sni is for mode sni; here it is host", true},
	{"listeners: [{name: a, listen: \"0.0.0.0:80\", mode: http, "
	 "routes: [{host: a, sni: a, upstream: b}]}]\n",
	 "t:1:81: listeners[0].routes[0].sni: expected either host or sni", true},
	{"listeners: [{name: a, listen: \"0.0.0.0:80\", mode: tcp, upstream: b, proxy_from: x}]\n",
	 "t:1:81: listeners[0].proxy_from: expected an address or a prefix without host bits such "
	 "as 10.0.0.0/8 or fd00::/8, got 'x'",
	 true},
	{"listeners: [{name: a, listen: \"0.0.0.0:80\", mode: socks}]\n",
	 "t:1:51: listeners[0].mode: expected one of: forward, http, tcp, sni, got 'socks'", true},
	{"listeners: [{name: a b, listen: \"0.0.0.0:80\", mode: forward}]\n",
	 "t:1:20: listeners[0].name: expected a name of letters, digits, '.', '_' and '-', got 'a "
	 "b'",
	 true},
	{"listeners: [{name: a, listen: \":80\", mode: forward}]\n",
	 "t:1:31: listeners[0].listen: expected address:port such as 127.0.0.1:3128 or "
	 "[::1]:3128, got ':80'",
	 true},
	{"listeners:\n- {name: a, listen: \"0.0.0.0:80\", mode: forward}\n"
	 "- {name: a, listen: \"0.0.0.0:81\", mode: forward}\n",
	 "t:3:3: listeners[1]: name 'a' is taken at line 2", true},
	{"listeners:\n- {name: a, listen: \"10.0.0.1:80\", mode: forward}\n"
	 "- {name: b, listen: \"[::ffff:10.0.0.1]:80\", mode: forward}\n",
	 "t:3:3: listeners[1]: 10.0.0.1:80 is taken by 'a' at line 2", true},
	{"listeners:\n- {name: a, listen: \"127.0.0.1:9145\", mode: forward}\n",
	 "t:2:3: listeners[0]: 127.0.0.1:9145 is the metrics address", true},
#define RULE(text) \
	"listeners:\n- {name: a, listen: \"127.0.0.1:1\", mode: forward,\n   acl: [" text "]}\n"
	{RULE("{permit: {}}"),
	 "t:3:11: listeners[0].acl[0]: unknown key 'permit', expected one of: allow, deny", true},
	{RULE("{allow: {}, deny: {}}"),
	 "t:3:10: listeners[0].acl[0]: expected either allow or deny", true},
	{RULE("{}"), "t:3:10: listeners[0].acl[0]: expected either allow or deny", true},
	{RULE("allow"), "t:3:10: listeners[0].acl[0]: expected a mapping, got 'allow'", true},
	{RULE("{allow: }"), "t:3:18: listeners[0].acl[0].allow: expected a mapping, got nothing",
	 true},
	{RULE("{allow: {dst: []}}"),
	 "t:3:24: listeners[0].acl[0].allow.dst: expected 1 to 65536 items, got 0", true},
	{RULE("{allow: {dst: 10.0.0.1/8}}"),
	 "t:3:24: listeners[0].acl[0].allow.dst: expected an address or a prefix without host "
	 "bits such as 10.0.0.0/8 or fd00::/8, got '10.0.0.1/8'",
	 true},
	{RULE("{allow: {dst: \"::ffff:10.0.0.0/104\"}}"),
	 "t:3:24: listeners[0].acl[0].allow.dst: expected the IPv4 form of an IPv4-mapped "
	 "address, got '::ffff:10.0.0.0/104'",
	 true},
	{RULE("{deny: {src: [10.0.0.1, here]}}"),
	 "t:3:34: listeners[0].acl[0].deny.src[1]: expected an address or a prefix without host "
	 "bits such as 10.0.0.0/8 or fd00::/8, got 'here'",
	 true},
	{RULE("{deny: {host: 10.0.0.1}}"),
	 "t:3:24: listeners[0].acl[0].deny.host: a host rule never matches an address, use dst",
	 true},
	{RULE("{deny: {host: \"a.*.b\"}}"),
	 "t:3:24: listeners[0].acl[0].deny.host: expected a host name or *.suffix, got 'a.*.b'",
	 true},
	{RULE("{deny: {host: \"*\"}}"),
	 "t:3:24: listeners[0].acl[0].deny.host: expected a host name or *.suffix, got '*'", true},
	{RULE("{deny: {host: \"a..b\"}}"),
	 "t:3:24: listeners[0].acl[0].deny.host: expected a host name or *.suffix, got 'a..b'",
	 true},
	{RULE("{deny: {host: \"b\xc3\xbc.de\"}}"),
	 "t:3:24: listeners[0].acl[0].deny.host: expected a host name or *.suffix, got 'b??.de'",
	 true},
	{RULE("{deny: {port: 0}}"),
	 "t:3:24: listeners[0].acl[0].deny.port: expected a port from "
	 "1 to 65535 or a range such as 8000-8100, got '0'",
	 true},
	{RULE("{deny: {port: 90-80}}"),
	 "t:3:24: listeners[0].acl[0].deny.port: expected a port "
	 "from 1 to 65535 or a range such as 8000-8100, got '90-80'",
	 true},
	{RULE("{deny: {port: 1-65536}}"),
	 "t:3:24: listeners[0].acl[0].deny.port: expected a port from 1 to 65535 or a range such "
	 "as 8000-8100, got '1-65536'",
	 true},
};

static void every_error_tells_its_place_and_what_was_expected(void **state)
{
	size_t good = 0;

	for (size_t i = 0; i < SL_ARRAY_SIZE(bad); i++) {
		struct sl_config_error error = {""};
		struct sl_config *c = NULL;
		char text[1024];
		int r;

		snprintf(text, sizeof(text), "%s%s", bad[i].text, bad[i].whole ? "" : LISTENERS);
		r = sl_config_parse("t", text, strlen(text), &c, &error);
		if (r != -EINVAL || strcmp(error.text, bad[i].error))
			print_error("%s\n gave: %d %s\n  not: %s\n", text, r, error.text,
				    bad[i].error);
		good += r == -EINVAL && !c && !strcmp(error.text, bad[i].error);
	}
	assert_int_equal(good, SL_ARRAY_SIZE(bad));
}

static void aliases_are_shared_values_but_no_bombs(void **state)
{
	struct sl_config_error error;
	struct sl_config *c;
	char *bomb = malloc(SL_ADDR_STR_MAX + 600000);
	size_t len;

	c = parse(
		"listeners:\n"
		"- {name: a, listen: \"127.0.0.1:1\", mode: forward, acl: &x [{deny: {port: 1}}]}\n"
		"- {name: b, listen: \"127.0.0.1:2\", mode: forward, acl: *x}\n");
	assert_int_equal(c->listeners[1].acl->rules[0].port[0].from, 1);
	assert_ptr_not_equal(c->listeners[0].acl, c->listeners[1].acl);
	sl_config_free(c);

	len = (size_t)sprintf(bomb,
			      "listeners:\n- {name: a, listen: \"127.0.0.1:1\", mode: forward,"
			      " acl: [{deny: {port: &p [1");
	for (int i = 0; i < 9999; i++)
		len += (size_t)sprintf(bomb + len, ",1");
	len += (size_t)sprintf(bomb + len, "]}}");
	for (int i = 0; i < 30000; i++)
		len += (size_t)sprintf(bomb + len, ",{deny: {port: *p}}");
	len += (size_t)sprintf(bomb + len, "]}");
	assert_int_equal(sl_config_parse("t", bomb, len, &c, &error), -EINVAL);
	assert_non_null(strstr(error.text, "too many values (aliases count each time)"));
	free(bomb);
}

static void a_document_that_contains_itself_is_an_error(void **state)
{
	static const char *const texts[] = {"&a [*a]", "&a {limits: *a}", "listeners: &a [*a]",
					    "&a {listeners: [*a]}"};
	struct sl_config_error error;
	struct sl_config *c;

	for (size_t i = 0; i < SL_ARRAY_SIZE(texts); i++)
		assert_int_equal(sl_config_parse("t", texts[i], strlen(texts[i]), &c, &error),
				 -EINVAL);
}

/* libyaml alone needs minutes for a mebibyte of any of these. */
static void size_depth_and_anchors_are_bounded(void **state)
{
	static const struct {
		const char *unit, *error;
	} rows[] = {
		{"[", "t:1:17: nested deeper than 16"},
		{"{", "t:1:17: nested deeper than 16"},
		{"- ", "t:1:33: nested deeper than 16"},
		{"? ", "t:1:33: nested deeper than 16"},
		{"- &a x\n", "t:101:3: more than 100 anchors"},
		{"%TAG !a! b\n", "t:1:1: tags are not supported"},
	};
	size_t len = 1024 * 1024;
	struct sl_config_error error;
	struct sl_config *c;
	char *text = malloc(len + 1);

	memset(text, ' ', len + 1);
	assert_int_equal(sl_config_parse("t", text, len + 1, &c, &error), -EINVAL);
	assert_string_equal(error.text, "t:1:1: the file is larger than 1 MiB");
	memcpy(text, LISTENERS, strlen(LISTENERS));
	assert_int_equal(sl_config_parse("t", text, len, &c, &error), 0);
	sl_config_free(c);
	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		size_t n = strlen(rows[i].unit);

		for (size_t at = 0; at < len; at++)
			text[at] = rows[i].unit[at % n];
		assert_int_equal(sl_config_parse("t", text, len, &c, &error), -EINVAL);
		assert_string_equal(error.text, rows[i].error);
	}
	free(text);
}

static void a_long_text_in_an_error_is_cut(void **state)
{
	struct sl_config_error error;
	struct sl_config *c;
	char text[4096];

	memset(text, 'x', sizeof(text));
	memcpy(text, "workers: ", 9);
	assert_int_equal(sl_config_parse("t", text, sizeof(text), &c, &error), -EINVAL);
	assert_string_equal(error.text, "t:1:10: workers: expected a number, got "
					"'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...'");
}

static void a_file_that_cannot_be_read_is_named(void **state)
{
	struct sl_config_error error;
	struct sl_config *c;

	assert_int_equal(sl_config_load("/nonexistent/x.yaml", &c, &error), -ENOENT);
	assert_string_equal(error.text, "/nonexistent/x.yaml: No such file or directory");
	assert_int_equal(sl_config_load("/", &c, &error), -EISDIR);
}

static void a_file_is_read_with_its_name(void **state)
{
	char path[] = "/tmp/sluice-config-XXXXXX";
	struct sl_config_error error;
	struct sl_config *c;
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, LISTENERS, strlen(LISTENERS)), strlen(LISTENERS));
	assert_int_equal(sl_config_load(path, &c, &error), 0);
	assert_string_equal(c->file, path);
	sl_config_free(c);
	sl_close(fd);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_file_it_is_a_forward_proxy_on_loopback),
		cmocka_unit_test(every_key_is_read_into_its_field),
		cmocka_unit_test(every_error_tells_its_place_and_what_was_expected),
		cmocka_unit_test(aliases_are_shared_values_but_no_bombs),
		cmocka_unit_test(a_document_that_contains_itself_is_an_error),
		cmocka_unit_test(size_depth_and_anchors_are_bounded),
		cmocka_unit_test(a_long_text_in_an_error_is_cut),
		cmocka_unit_test(a_file_that_cannot_be_read_is_named),
		cmocka_unit_test(a_file_is_read_with_its_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
