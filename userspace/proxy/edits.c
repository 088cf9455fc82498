/* SPDX-License-Identifier: BSD-2-Clause */
/* Changes to fields: what is set replaces all fields of that name. */

#include "proxy/edits.h"

bool sl_edits_drop(const struct sl_field_edits *e, struct sl_slice name)
{
	if (!e)
		return false;
	for (size_t i = 0; i < e->n_remove; i++)
		if (sl_slice_eq_nocase(sl_slice_str(e->remove[i]), name))
			return true;
	for (size_t i = 0; i < e->n_set; i++)
		if (sl_slice_eq_nocase(sl_slice_str(e->set[i].name), name))
			return true;
	return false;
}

static bool write_all(const struct sl_field_value *f, size_t n, struct sl_buf *out)
{
	bool ok = true;

	for (size_t i = 0; i < n && ok; i++)
		ok = sl_buf_append_str(out, f[i].name) && sl_buf_append_str(out, ": ") &&
		     sl_buf_append_str(out, f[i].value) && sl_buf_append_str(out, "\r\n");
	return ok;
}

bool sl_edits_write(const struct sl_field_edits *e, struct sl_buf *out)
{
	return !e || (write_all(e->set, e->n_set, out) && write_all(e->add, e->n_add, out));
}
