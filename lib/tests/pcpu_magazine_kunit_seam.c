// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the KUnit suites of per-CPU magazines share: code at the seams of the layer.
 */
#include "pcpu_magazine_kunit.h"

struct magtest_probe magtest_probe;

/* The list of nested objects must have one that goes back. */
static void descend(struct magtest_pool *p)
{
	magtest_probe.descending = true;
	magtest_give_out(p);
	magtest_give_out(p);
	magtest_take_out(p);
}

void magtest_probe_hook(enum pcpu_magazine_seam seam)
{
	struct magtest_probe *probe = &magtest_probe;
	struct pcpu_magazine_cpu *c;

	if (!probe->armed || current != probe->task || !in_task())
		return;
	if (probe->seam == PCPU_MAGAZINE_SEAM_GET_NESTED && seam == PCPU_MAGAZINE_SEAM_GET &&
	    !probe->descending) {
		descend(probe->pool);
		return;
	}
	if (seam != probe->seam)
		return;
	if (probe->skip) {
		probe->skip--;
		return;
	}
	probe->armed = false;
	probe->hits++;
	c = magtest_cpu(probe->pool);
	probe->hits_busy += c->busy;
	if (probe->just_before)
		WRITE_ONCE(c->busy, 0);
	probe->action(probe->pool);
	if (probe->just_before)
		WRITE_ONCE(c->busy, 1);
}

static void seams_off(void *unused)
{
	pcpu_magazine_seam_set(NULL);
	magtest_probe.armed = false;
}

void magtest_seams_on(struct kunit *test, void (*hook)(enum pcpu_magazine_seam seam))
{
	KUNIT_ASSERT_EQ(test, kunit_add_action(test, seams_off, NULL), 0);
	pcpu_magazine_seam_set(hook);
}

void magtest_seams_off(struct kunit *test)
{
	kunit_release_action(test, seams_off, NULL);
}

/* Have @action run once when this thread next comes to @seam. */
void magtest_arm(struct magtest_pool *p, enum pcpu_magazine_seam seam,
		 void (*action)(struct magtest_pool *p))
{
	magtest_probe = (struct magtest_probe){
		.task = current,
		.pool = p,
		.seam = seam,
		.action = action,
		.just_before = magtest_probe.just_before,
	};
	p->nr_taken = 0;
	p->nr_missed = 0;
	barrier();
	magtest_probe.armed = true;
}

static void nested_give_three(struct magtest_pool *p)
{
	magtest_give_out(p);
	magtest_give_out(p);
	magtest_give_out(p);
}

/* Objects on the loaded and the spare chain, the nested list and in the depot. */
void magtest_fill_all_places(struct kunit *test, struct magtest_pool *p)
{
	magtest_stock_up(p, p->mag.marks.high + 8);
	/* The last put before the high mark leaves two chains. */
	while (magtest_cpu_stock(p) < p->mag.marks.high)
		magtest_give_out(p);
	magtest_take_out(p);
	magtest_arm(p, PCPU_MAGAZINE_SEAM_GET, nested_give_three);
	KUNIT_ASSERT_TRUE(test, magtest_take_out(p));
	KUNIT_ASSERT_EQ(test, magtest_probe.hits, 1);
	KUNIT_ASSERT_GT(test, magtest_cpu(p)->nr, 0);
	KUNIT_ASSERT_GT(test, magtest_cpu(p)->nr_spare, 0);
	KUNIT_ASSERT_EQ(test, magtest_chain_length(p, magtest_cpu(p)->nested.first,
						   MAGTEST_POOL), 3);
	KUNIT_ASSERT_GT(test, magtest_level(p), 0);
	magtest_settled(test, p, "all places", "");
}
