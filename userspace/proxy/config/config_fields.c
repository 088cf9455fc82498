/* SPDX-License-Identifier: BSD-2-Clause */
/* Fields in the configuration. What sluice writes itself can't be changed: framing, connection options,
 * Host (routes rewrite it) and Via would be wrong in ways that another recipient pays for. */

#include "proxy/config/config_fields.h"

#include <errno.h>
#include <string.h>

#include "http/field.h"

#define FIELDS_MAX	64
#define VALUE_BYTES_MAX 1024
/* What the changes of one direction may add to a head: buffers have room for it. */
#define ADDED_BYTES_MAX 1024

static int read_field_name(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
			   void *object)
{
	const char *text = sl_yaml_text(n);

	if (!text || !sl_is_token(sl_slice_str(text)))
		return sl_yaml_expected(y, n, "the name of a field such as X-Team");
	return sl_yaml_read_string(y, n, k, object);
}

static bool is_ours(enum sl_field_id id)
{
	switch (id) {
	case SL_FIELD_CONNECTION:
	case SL_FIELD_CONTENT_LENGTH:
	case SL_FIELD_EXPECT:
	case SL_FIELD_HOST:
	case SL_FIELD_HTTP2_SETTINGS:
	case SL_FIELD_KEEP_ALIVE:
	case SL_FIELD_MAX_FORWARDS:
	case SL_FIELD_PROXY_AUTHENTICATE:
	case SL_FIELD_PROXY_AUTHORIZATION:
	case SL_FIELD_PROXY_CONNECTION:
	case SL_FIELD_TE:
	case SL_FIELD_TRAILER:
	case SL_FIELD_TRANSFER_ENCODING:
	case SL_FIELD_UPGRADE:
	case SL_FIELD_VIA:
		return true;
	default:
		return false;
	}
}

static int read_changed_name(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
			     void *object)
{
	const char *text = sl_yaml_text(n);

	if (text && is_ours(sl_field_lookup(sl_slice_str(text))))
		return sl_yaml_fail(y, n, "field %s is sluice's to write", text);
	return read_field_name(y, n, k, object);
}

static int read_field_value(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
			    void *object)
{
	const char *text = sl_yaml_text(n);
	size_t len = text ? strlen(text) : 0;

	if (len && (text[0] == ' ' || text[len - 1] == ' '))
		return sl_yaml_expected(y, n, "a value without space around it");
	return sl_yaml_read_string(y, n, k, object);
}

/* --- conditions --- */

#define READ_VALUE(key, reader, field) SL_YAML_FIELD(key, reader, struct sl_field_value, field)

static const struct sl_yaml_key condition_keys[] = {
	{READ_VALUE("name", read_field_name, name), .min = 1, .max = 64, .required = true},
	{READ_VALUE("value", read_field_value, value), .max = VALUE_BYTES_MAX},
};
static const struct sl_yaml_map condition_map = {condition_keys, SL_ARRAY_SIZE(condition_keys)};
static const struct sl_yaml_list condition_list = {
	.item = {.read = sl_yaml_read_map,
		 .size = sizeof(struct sl_field_value),
		 .map = &condition_map},
	.count_offset = offsetof(struct sl_field_conditions, n),
	.counted = true,
	.single_too = true,
	.min = 1,
	.max = FIELDS_MAX,
};

int sl_config_read_field_conditions(struct sl_yaml *y, const yaml_node_t *n,
				    const struct sl_yaml_key *k, void *object)
{
	const struct sl_yaml_key list = {
		SL_YAML_FIELD("", sl_yaml_read_list, struct sl_field_conditions, field),
		.list = &condition_list,
	};

	return list.read(y, n, &list, (char *)object + k->offset);
}

static void free_values(struct sl_field_value *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(v[i].name);
		free(v[i].value);
	}
	free(v);
}

void sl_config_free_field_conditions(struct sl_field_conditions *c)
{
	free_values(c->field, c->n);
}

/* --- changes --- */

static const struct sl_yaml_key edit_keys[] = {
	{READ_VALUE("name", read_changed_name, name), .min = 1, .max = 64, .required = true},
	{READ_VALUE("value", read_field_value, value), .max = VALUE_BYTES_MAX, .required = true},
};
static const struct sl_yaml_map edit_map = {edit_keys, SL_ARRAY_SIZE(edit_keys)};

#define EDITS(field)                                                                         \
	{                                                                                    \
		.item = {.read = sl_yaml_read_map,                                           \
			 .size = sizeof(struct sl_field_value),                              \
			 .map = &edit_map},                                                  \
		.count_offset = offsetof(struct sl_field_edits, n_##field), .counted = true, \
		.single_too = true, .max = FIELDS_MAX,                                       \
	}
static const struct sl_yaml_list set_list = EDITS(set);
static const struct sl_yaml_list add_list = EDITS(add);
static const struct sl_yaml_list remove_list = {
	.item = {.read = read_changed_name, .size = sizeof(char *), .min = 1, .max = 64},
	.count_offset = offsetof(struct sl_field_edits, n_remove),
	.counted = true,
	.single_too = true,
	.max = FIELDS_MAX,
};

static int check_edits(struct sl_yaml *y, const yaml_node_t *n, void *object)
{
	const struct sl_field_edits *e = object;
	size_t bytes = 0;

	for (size_t i = 0; i < e->n_set; i++)
		bytes += strlen(e->set[i].name) + strlen(e->set[i].value) + 4;
	for (size_t i = 0; i < e->n_add; i++)
		bytes += strlen(e->add[i].name) + strlen(e->add[i].value) + 4;
	if (bytes > ADDED_BYTES_MAX)
		return sl_yaml_fail(y, n, "the fields that are written have %zu bytes, at most %d",
				    bytes, ADDED_BYTES_MAX);
	return 0;
}

#define READ_EDITS(key, reader, field) SL_YAML_FIELD(key, reader, struct sl_field_edits, field)

static const struct sl_yaml_key edits_keys[] = {
	{READ_EDITS("set", sl_yaml_read_list, set), .list = &set_list},
	{READ_EDITS("add", sl_yaml_read_list, add), .list = &add_list},
	{READ_EDITS("remove", sl_yaml_read_list, remove), .list = &remove_list},
};
static const struct sl_yaml_map edits_map = {edits_keys, SL_ARRAY_SIZE(edits_keys), check_edits};

int sl_config_read_field_edits(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
			       void *object)
{
	const struct sl_yaml_key edits = {.offset = k->offset, .map = &edits_map};

	return sl_yaml_read_map(y, n, &edits, object);
}

void sl_config_free_field_edits(struct sl_field_edits *e)
{
	for (size_t i = 0; i < e->n_remove; i++)
		free(e->remove[i]);
	free(e->remove);
	free_values(e->set, e->n_set);
	free_values(e->add, e->n_add);
}
