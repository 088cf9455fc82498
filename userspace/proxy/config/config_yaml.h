/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_CONFIG_YAML_H
#define SLUICE_PROXY_CONFIG_YAML_H

/* Strict reading of one YAML document into C objects, driven by tables: a table of keys says for each
 * key which function reads it into which field. Whatever no table knows is an error.
 *
 * Every reader returns 0, or -EINVAL / -ENOMEM after it wrote "file:line:column: path: what was
 * expected" through sl_yaml_fail(). What it allocated by then belongs to the object, which the caller
 * frees as usual. Repeated keys, tags, NUL in strings and more nodes than SL_YAML_NODES_MAX (aliases
 * count each time that they are used) are refused before a reader sees them. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <yaml.h>

#include "base/util.h"

#define SL_YAML_BYTES_MAX   (1024 * 1024)
#define SL_YAML_NODES_MAX   (256 * 1024)
#define SL_YAML_DEPTH_MAX   16
#define SL_YAML_ANCHORS_MAX 100
#define SL_YAML_KEYS_MAX    32 /* of one table */

struct sl_yaml {
	yaml_document_t *document;
	const char *name; /* of the file */
	char path[128];	  /* "listeners[0].acl[2]": where the reader is; cut if longer */
	size_t path_len;
	unsigned nodes; /* visited so far */
	char *error;
	size_t error_size;
};

struct sl_yaml_key {
	const char *name;
	int (*read)(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
		    void *object);
	size_t offset;			      /* of the field in the object */
	size_t size;			      /* of the field; integers are of 1, 2, 4 or 8 bytes */
	uint64_t min, max;		      /* of numbers; lengths of strings */
	const struct sl_yaml_choice *choices; /* ends with a NULL name */
	const struct sl_yaml_map *map;
	const struct sl_yaml_list *list;
	bool required;
};

/* name, reader, struct, field: the beginning of a row. */
#define SL_YAML_FIELD(key, reader, type, field)                           \
	.name = (key), .read = (reader), .offset = offsetof(type, field), \
	.size = sizeof(((type *)NULL)->field)

struct sl_yaml_choice {
	const char *name;
	uint32_t value;
};

struct sl_yaml_map {
	const struct sl_yaml_key *keys;
	size_t n;
	/* After all keys: what no single key can tell. May be NULL. */
	int (*check)(struct sl_yaml *y, const yaml_node_t *n, void *object);
};

struct sl_yaml_list {
	struct sl_yaml_key item; /* offset 0; size is that of an element */
	size_t count_offset;	 /* of the size_t that counts, if counted */
	bool counted;		 /* else the array ends with a zeroed element (as all do) */
	bool single_too;	 /* something other than a list counts as a list of one */
	uint32_t min, max;
	/* Fills a zeroed element with defaults. May be NULL. */
	void (*init)(const yaml_node_t *n, void *element);
};

/* Reads text as one document with root as its top-level keys. */
int sl_yaml_load(const char *name, const char *text, size_t len, const struct sl_yaml_map *root,
		 void *object, char *error, size_t error_size);

/* Writes the error; always -EINVAL. Lines and columns count from 1. */
int sl_yaml_fail(struct sl_yaml *y, const yaml_node_t *n, const char *fmt, ...) SL_PRINTF(3, 4);
int sl_yaml_fail_at(struct sl_yaml *y, size_t line, size_t column, const char *fmt, ...)
	SL_PRINTF(4, 5);
/* "path: expected WHAT, got 'x'" (or a list, a mapping, nothing). */
int sl_yaml_expected(struct sl_yaml *y, const yaml_node_t *n, const char *what);
int sl_yaml_no_memory(struct sl_yaml *y);

/* The text of a scalar, NUL-terminated; NULL if n is something else or nothing ("key:"). */
const char *sl_yaml_text(const yaml_node_t *n);
/* Prints s quoted, cut and without control characters. */
const char *sl_yaml_quote(const char *s, char buf[64]);

/* Structure. */
int sl_yaml_read_map(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
		     void *object); /* k->map, into the struct at k->offset */
int sl_yaml_read_list(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
		      void *object); /* k->list, into the pointer at k->offset */

/* Values (config_values.c). */
int sl_yaml_read_number(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
			void *object);
int sl_yaml_read_bytes(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
		       void *object); /* "64k" */
int sl_yaml_read_duration(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
			  void *object); /* "10s", as milliseconds */
int sl_yaml_read_fraction(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
			  void *object); /* a double, 0..1 */
int sl_yaml_read_bool(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
		      void *object);
int sl_yaml_read_choice(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
			void *object);
int sl_yaml_read_string(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
			void *object); /* replaces the string that is there */
int sl_yaml_read_path(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
		      void *object); /* a string that begins with "/" */
int sl_yaml_read_host(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
		      void *object); /* "name" or "*.suffix": in lower case, no final dot */
int sl_yaml_read_name(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
		      void *object); /* a string of letters, digits, '.', '_', '-' */
int sl_yaml_read_rate(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
		      void *object); /* {rate: 10, burst: 20}, a struct sl_rate */
int sl_yaml_read_address(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
			 void *object); /* address and port, not 0 */

#endif
