/* SPDX-License-Identifier: BSD-2-Clause */
#include "fake_engine.h"

#include <errno.h>

static struct fake_engine *to_fake(struct sl_engine *e)
{
	return sl_container_of(e, struct fake_engine, base);
}

static void fake_probe(struct sl_engine_report *ret)
{
	*ret = (struct sl_engine_report){.available = true, .reason = "fake"};
}

/* The test makes them. */
static int fake_create(const struct sl_engine_options *o, struct sl_engine **ret)
{
	return -EOPNOTSUPP;
}

static void fake_destroy(struct sl_engine *e)
{
}

static int fake_prepare(struct sl_engine *e, struct sl_pair *p, struct sl_connect_options *o)
{
	to_fake(e)->prepared++;
	return to_fake(e)->prepare_answer;
}

static void fake_forget(struct sl_engine *e, struct sl_pair *p)
{
	to_fake(e)->forgotten++;
}

static int fake_join(struct sl_engine *engine, struct sl_pair *p, const char **ret_reason)
{
	struct fake_engine *e = to_fake(engine);

	e->joined++;
	if (e->join_answer) {
		*ret_reason = e->join_reason;
		return e->join_answer;
	}
	e->carries = p;
	e->active++;
	p->engine = engine;
	return 0;
}

static int fake_part(struct sl_pair *p)
{
	struct fake_engine *e = to_fake(p->engine);

	e->parted++;
	if (e->part_answer)
		return e->part_answer;
	e->carries = NULL;
	e->active--;
	p->engine = NULL;
	return 0;
}

static void fake_abort(struct sl_pair *p)
{
	struct fake_engine *e = to_fake(p->engine);

	e->aborted++;
	e->carries = NULL;
	p->engine = NULL;
	for (int side = 0; side < 2; side++)
		if (p->stream[side])
			p->stream[side]->ops->close(p->stream[side], SL_CLOSE_RESET);
}

static void fake_count(struct sl_pair *p)
{
	struct fake_engine *e = to_fake(p->engine);

	e->counted++;
	p->from[SL_CLIENT] = e->traffic[SL_CLIENT];
	p->from[SL_UPSTREAM] = e->traffic[SL_UPSTREAM];
}

static void fake_totals(const struct sl_engine *e, struct sl_engine_totals *ret)
{
	*ret = (struct sl_engine_totals){
		.active = sl_container_of(e, const struct fake_engine, base)->active};
}

static struct sl_engine_ops fake_ops(const char *name)
{
	return (struct sl_engine_ops){
		.name = name,
		.probe = fake_probe,
		.create = fake_create,
		.destroy = fake_destroy,
		.prepare = fake_prepare,
		.forget = fake_forget,
		.join = fake_join,
		.part = fake_part,
		.abort = fake_abort,
		.count = fake_count,
		.totals = fake_totals,
	};
}

void fake_engine_init(struct fake_engine *e, const char *name)
{
	*e = (struct fake_engine){.join_reason = "told so"};
	e->ops = fake_ops(name);
	e->base.ops = &e->ops;
}
