/* SPDX-License-Identifier: BSD-2-Clause */
/* Strict, table-driven reading of YAML: structure and errors.
 *
 * libyaml composes the document (aliases become references, nothing is expanded) and this walks it
 * along the tables. The tables are finite trees, so even a document that contains itself is walked to
 * a finite depth, and the count of visited nodes bounds the width.
 *
 * Not here: scalars (config_values.c), what keys there are (config_schema.c, config_acl.c). */

#include "proxy/config/config_yaml.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void write_error(struct sl_yaml *y, size_t line, size_t column, const char *fmt, va_list ap)
	SL_PRINTF(4, 0);
static void write_error(struct sl_yaml *y, size_t line, size_t column, const char *fmt, va_list ap)
{
	char message[384];

	vsnprintf(message, sizeof(message), fmt, ap);
	snprintf(y->error, y->error_size, "%s:%zu:%zu: %s%s%s", y->name, line, column, y->path,
		 y->path_len ? ": " : "", message);
}

int sl_yaml_fail_at(struct sl_yaml *y, size_t line, size_t column, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	write_error(y, line, column, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

int sl_yaml_fail(struct sl_yaml *y, const yaml_node_t *n, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	write_error(y, n->start_mark.line + 1, n->start_mark.column + 1, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

int sl_yaml_no_memory(struct sl_yaml *y)
{
	snprintf(y->error, y->error_size, "%s: out of memory", y->name);
	return -ENOMEM;
}

const char *sl_yaml_text(const yaml_node_t *n)
{
	const char *text = (const char *)n->data.scalar.value;

	if (n->type != YAML_SCALAR_NODE)
		return NULL;
	if (n->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
	    (!*text || !strcmp(text, "~") || !strcmp(text, "null")))
		return NULL;
	return text;
}

const char *sl_yaml_quote(const char *s, char buf[64])
{
	size_t n = 0;

	buf[n++] = '\'';
	while (*s && n < 48) {
		buf[n++] = *s >= ' ' && *s < 127 ? *s : '?';
		s++;
	}
	strcpy(buf + n, *s ? "...'" : "'");
	return buf;
}

int sl_yaml_expected(struct sl_yaml *y, const yaml_node_t *n, const char *what)
{
	const char *text = sl_yaml_text(n), *got = "nothing";
	char quoted[64];

	if (text)
		got = sl_yaml_quote(text, quoted);
	else if (n->type == YAML_SEQUENCE_NODE)
		got = "a list";
	else if (n->type == YAML_MAPPING_NODE)
		got = "a mapping";
	return sl_yaml_fail(y, n, "expected %s, got %s", what, got);
}

/* Returns the length to go back to with leave(). */
static size_t enter(struct sl_yaml *y, const char *fmt, ...) SL_PRINTF(2, 3);
static size_t enter(struct sl_yaml *y, const char *fmt, ...)
{
	size_t before = y->path_len, room = sizeof(y->path) - before;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(y->path + before, room, fmt, ap);
	va_end(ap);
	if (n > 0)
		y->path_len += sl_min((size_t)n, room - 1);
	return before;
}

static void leave(struct sl_yaml *y, size_t before)
{
	y->path_len = before;
	y->path[before] = '\0';
}

static bool has_default_tag(const yaml_node_t *n)
{
	static const char *const tags[] = {
		[YAML_SCALAR_NODE] = YAML_DEFAULT_SCALAR_TAG,
		[YAML_SEQUENCE_NODE] = YAML_DEFAULT_SEQUENCE_TAG,
		[YAML_MAPPING_NODE] = YAML_DEFAULT_MAPPING_TAG,
	};

	return !n->tag || !strcmp((const char *)n->tag, tags[n->type]);
}

/* What holds for every node, before its reader sees it. */
static int visit(struct sl_yaml *y, const yaml_node_t *n)
{
	if (++y->nodes > SL_YAML_NODES_MAX)
		return sl_yaml_fail(y, n, "too many values (aliases count each time)");
	if (!has_default_tag(n))
		return sl_yaml_fail(y, n, "tags are not supported");
	if (n->type == YAML_SCALAR_NODE &&
	    strlen((const char *)n->data.scalar.value) != n->data.scalar.length)
		return sl_yaml_fail(y, n, "a string must not contain NUL");
	return 0;
}

/* Changes (insert, delete, replace) from a to b, up to 32 bytes each; more is far. */
static size_t edit_distance(const char *a, const char *b)
{
	size_t row[33], la = strlen(a), lb = strlen(b);

	if (la > 32 || lb > 32)
		return SIZE_MAX;
	for (size_t j = 0; j <= lb; j++)
		row[j] = j;
	for (size_t i = 1; i <= la; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= lb; j++) {
			size_t replace = diagonal + (a[i - 1] != b[j - 1]);
			size_t insert_or_delete = sl_min(row[j - 1], row[j]) + 1;

			diagonal = row[j];
			row[j] = sl_min(replace, insert_or_delete);
		}
	}
	return row[lb];
}

static const char *nearest_key(const struct sl_yaml_map *map, const char *name)
{
	const char *best = NULL;
	size_t best_distance = 3;

	for (size_t i = 0; i < map->n; i++) {
		size_t d = edit_distance(name, map->keys[i].name);

		if (d < best_distance && d < strlen(name)) {
			best = map->keys[i].name;
			best_distance = d;
		}
	}
	return best;
}

static int fail_unknown(struct sl_yaml *y, const yaml_node_t *key, const struct sl_yaml_map *map)
{
	const char *name = (const char *)key->data.scalar.value;
	const char *near = nearest_key(map, name);
	char quoted[64], known[256] = "";
	size_t len = 0;

	sl_yaml_quote(name, quoted);
	if (near)
		return sl_yaml_fail(y, key, "unknown key %s, did you mean '%s'?", quoted, near);
	for (size_t i = 0; i < map->n && len < sizeof(known); i++)
		len += (size_t)snprintf(known + len, sizeof(known) - len, "%s%s", i ? ", " : "",
					map->keys[i].name);
	return sl_yaml_fail(y, key, "unknown key %s, expected one of: %s", quoted, known);
}

static int find_key(struct sl_yaml *y, const yaml_node_t *key, const struct sl_yaml_map *map,
		    size_t *ret)
{
	int r = visit(y, key);

	if (r)
		return r;
	if (key->type != YAML_SCALAR_NODE)
		return sl_yaml_expected(y, key, "a key");
	for (size_t i = 0; i < map->n; i++) {
		if (strcmp(map->keys[i].name, (const char *)key->data.scalar.value))
			continue;
		*ret = i;
		return 0;
	}
	return fail_unknown(y, key, map);
}

static int read_value(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
		      void *object)
{
	int r = visit(y, n);

	return r ? r : k->read(y, n, k, object);
}

static int read_pair(struct sl_yaml *y, const yaml_node_pair_t *pair, const struct sl_yaml_map *map,
		     size_t first_line[], void *object)
{
	const yaml_node_t *key = yaml_document_get_node(y->document, pair->key);
	const yaml_node_t *value = yaml_document_get_node(y->document, pair->value);
	size_t i = 0, before;
	int r;

	r = find_key(y, key, map, &i);
	if (r)
		return r;
	before = enter(y, "%s%s", y->path_len ? "." : "", map->keys[i].name);
	if (first_line[i])
		return sl_yaml_fail(y, key, "repeated key, first at line %zu", first_line[i]);
	first_line[i] = key->start_mark.line + 1;
	r = read_value(y, value, &map->keys[i], object);
	if (!r)
		leave(y, before);
	return r;
}

static int read_mapping(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_map *map,
			void *object)
{
	size_t first_line[SL_YAML_KEYS_MAX] = {0};
	const yaml_node_pair_t *pair;
	int r;

	if (n->type != YAML_MAPPING_NODE)
		return sl_yaml_expected(y, n, "a mapping");
	for (pair = n->data.mapping.pairs.start; pair < n->data.mapping.pairs.top; pair++) {
		r = read_pair(y, pair, map, first_line, object);
		if (r)
			return r;
	}
	for (size_t i = 0; i < map->n; i++)
		if (map->keys[i].required && !first_line[i])
			return sl_yaml_fail(y, n, "missing key '%s'", map->keys[i].name);
	return map->check ? map->check(y, n, object) : 0;
}

int sl_yaml_read_map(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
		     void *object)
{
	return read_mapping(y, n, k->map, (char *)object + k->offset);
}

static int read_item(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_list *list,
		     void *element)
{
	if (list->init)
		list->init(n, element);
	return read_value(y, n, &list->item, element);
}

static int read_items(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_list *list,
		      char *elements)
{
	const yaml_node_item_t *item = n->data.sequence.items.start;
	size_t count = (size_t)(n->data.sequence.items.top - item);

	for (size_t i = 0; i < count; i++) {
		size_t before = enter(y, "[%zu]", i);
		int r = read_item(y, yaml_document_get_node(y->document, item[i]), list,
				  elements + i * list->item.size);

		if (r)
			return r;
		leave(y, before);
	}
	return 0;
}

int sl_yaml_read_list(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
		      void *object)
{
	const struct sl_yaml_list *list = k->list;
	bool single = n->type != YAML_SEQUENCE_NODE;
	size_t count = 1;
	char *elements;

	if (single && !list->single_too)
		return sl_yaml_expected(y, n, "a list");
	if (!single)
		count = (size_t)(n->data.sequence.items.top - n->data.sequence.items.start);
	if (count < list->min || count > list->max)
		return sl_yaml_fail(y, n, "expected %u to %u items, got %zu", list->min, list->max,
				    count);
	elements = calloc(count + 1, list->item.size);
	if (!elements)
		return sl_yaml_no_memory(y);
	memcpy((char *)object + k->offset, &elements, sizeof(elements));
	if (list->counted)
		memcpy((char *)object + list->count_offset, &count, sizeof(count));
	return single ? read_item(y, n, list, elements) : read_items(y, n, list, elements);
}

/* libyaml tells the place of bad bytes as an offset, of all else as a mark. */
static int fail_syntax(struct sl_yaml *y, const yaml_parser_t *p, const char *text)
{
	size_t line = p->problem_mark.line, column = p->problem_mark.column;

	if (p->error == YAML_MEMORY_ERROR)
		return sl_yaml_no_memory(y);
	if (p->error == YAML_READER_ERROR) {
		line = column = 0;
		for (size_t i = 0; i < p->problem_offset; i++, column++)
			if (text[i] == '\n') {
				line++;
				column = (size_t)-1;
			}
	}
	return sl_yaml_fail_at(y, line + 1, column + 1, "not valid YAML: %s",
			       p->problem ? p->problem : "syntax error");
}

/* +1 for a token that opens a list or mapping, -1 for one that closes it. */
static int token_depth(yaml_token_type_t type)
{
	switch (type) {
	case YAML_BLOCK_SEQUENCE_START_TOKEN:
	case YAML_BLOCK_MAPPING_START_TOKEN:
	case YAML_FLOW_SEQUENCE_START_TOKEN:
	case YAML_FLOW_MAPPING_START_TOKEN:
		return 1;
	case YAML_BLOCK_END_TOKEN:
	case YAML_FLOW_SEQUENCE_END_TOKEN:
	case YAML_FLOW_MAPPING_END_TOKEN:
		return -1;
	default:
		return 0;
	}
}

static int check_token(struct sl_yaml *y, const yaml_token_t *t, int *depth, int *anchors)
{
	size_t line = t->start_mark.line + 1, column = t->start_mark.column + 1;

	*depth += token_depth(t->type);
	*anchors += t->type == YAML_ANCHOR_TOKEN;
	if (*depth > SL_YAML_DEPTH_MAX)
		return sl_yaml_fail_at(y, line, column, "nested deeper than %d", SL_YAML_DEPTH_MAX);
	if (*anchors > SL_YAML_ANCHORS_MAX)
		return sl_yaml_fail_at(y, line, column, "more than %d anchors",
				       SL_YAML_ANCHORS_MAX);
	if (t->type == YAML_TAG_DIRECTIVE_TOKEN)
		return sl_yaml_fail_at(y, line, column, "tags are not supported");
	return 0;
}

/* libyaml takes quadratic time over nesting, anchors and %TAG directives: a pass over the tokens,
 * which it makes in linear time, refuses too much of them beforehand. Syntax errors are left to the
 * pass that follows. */
static int check_cost(struct sl_yaml *y, const char *text, size_t len)
{
	int depth = 0, anchors = 0, r = 0;
	bool more = true;
	yaml_token_t token;
	yaml_parser_t p;

	if (!yaml_parser_initialize(&p))
		return sl_yaml_no_memory(y);
	yaml_parser_set_encoding(&p, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&p, (const unsigned char *)text, len);
	while (!r && more && yaml_parser_scan(&p, &token)) {
		r = check_token(y, &token, &depth, &anchors);
		more = token.type != YAML_STREAM_END_TOKEN && token.type != YAML_NO_TOKEN;
		yaml_token_delete(&token);
	}
	yaml_parser_delete(&p);
	return r;
}

static int check_single(struct sl_yaml *y, yaml_parser_t *p, const char *text)
{
	yaml_document_t second;
	yaml_node_t *root;
	int r = 0;

	if (!yaml_parser_load(p, &second))
		return fail_syntax(y, p, text);
	root = yaml_document_get_root_node(&second);
	if (root)
		r = sl_yaml_fail(y, root, "expected one document, here begins another");
	yaml_document_delete(&second);
	return r;
}

static int read_document(struct sl_yaml *y, yaml_parser_t *p, const char *text,
			 const struct sl_yaml_map *map, void *object)
{
	yaml_node_t *root = yaml_document_get_root_node(y->document);
	int r;

	if (!root)
		return sl_yaml_fail_at(y, 1, 1, "expected a mapping, the file is empty");
	r = check_single(y, p, text);
	if (!r)
		r = visit(y, root);
	return r ? r : read_mapping(y, root, map, object);
}

int sl_yaml_load(const char *name, const char *text, size_t len, const struct sl_yaml_map *root,
		 void *object, char *error, size_t error_size)
{
	yaml_document_t document;
	struct sl_yaml y = {
		.document = &document, .name = name, .error = error, .error_size = error_size};
	yaml_parser_t p;
	int r;

	if (len > SL_YAML_BYTES_MAX)
		return sl_yaml_fail_at(&y, 1, 1, "the file is larger than 1 MiB");
	r = check_cost(&y, text, len);
	if (r)
		return r;
	if (!yaml_parser_initialize(&p))
		return sl_yaml_no_memory(&y);
	yaml_parser_set_encoding(&p, YAML_UTF8_ENCODING); /* else it would guess UTF-16 */
	yaml_parser_set_input_string(&p, (const unsigned char *)text, len);
	if (yaml_parser_load(&p, &document)) {
		r = read_document(&y, &p, text, root, object);
		yaml_document_delete(&document);
	} else {
		r = fail_syntax(&y, &p, text);
	}
	yaml_parser_delete(&p);
	return r;
}
