/* overlap.c: one row serves one role: no prompt of one owner is, or is nearly, another owner's.
 *
 * Rows are compared by their ids (hash of the normalised prompt) and by word Jaccard >= .7; between
 * the train and test rows of one task, whose wordings are alike, only equal ids count.  What is
 * watched in training (probe) is kept apart from what is reported in the same way, and evaluation
 * rows from what their owner trains on.
 */
#include <string.h>

#include "lab/recipe_parts.h"

static const double NEAR = 0.7;

struct pair {
    const struct hold_data_set *a, *b;
    bool same_task;
    struct hold_error *err;
    int status;
};

static int clash(void *user, int64_t i, int64_t j, double jaccard) {
    struct pair *p = user;
    const struct hold_row *x = &p->a->rows.row[i], *y = &p->b->rows.row[j];
    bool equal = strcmp(x->id, y->id) == 0;
    if (p->same_task && !equal)
        return 0;
    p->status = hold_fail(
        p->err, HOLD_EUSAGE,
        "one row in two roles: '%s' (%s) %s:%ld and '%s' (%s) %s:%ld are %s; take it out of one",
        p->a->name, hold_owner_name(p->a->owner), hold_row_file(x), x->line, p->b->name,
        hold_owner_name(p->b->owner), hold_row_file(y), y->line,
        equal            ? "the same"
        : jaccard >= 1.0 ? "the same words"
                         : "near duplicates");
    return 1;
}

/* Stand-in answers are texts, not prompts. */
static bool is_answers(const struct hold_recipe *r, int i) {
    return i == r->openings || i == r->defender_openings;
}

static bool is_in(const int *list, int i) {
    while (*list >= 0 && *list != i)
        list++;
    return *list == i;
}

static bool is_trained_on(const struct hold_recipe *r, int i) {
    return is_in(r->align_data, i) || is_in(r->refusals, i) || is_in(r->general, i) ||
           is_in(r->defender_harmful, i) || is_in(r->task, i) || i == r->attacker_harmful ||
           i == r->ten;
}

static bool is_held_out(const struct hold_recipe *r, int i) {
    return is_in(r->align_eval, i) || is_in(r->customer_eval, i);
}

static bool is_used(const struct hold_recipe *r, int i) {
    for (int k = 0; k < HOLD_EVAL_COUNT; k++)
        if (r->eval[k].data == &r->data[i])
            return true;
    return is_trained_on(r, i) || is_held_out(r, i);
}

static bool must_differ(const struct hold_recipe *r, int i, int j) {
    const struct hold_data_set *a = &r->data[i], *b = &r->data[j];
    if (is_answers(r, i) || is_answers(r, j) || !is_used(r, i) || !is_used(r, j))
        return false;
    if (a->owner != b->owner)
        return true;
    if (is_held_out(r, i) != is_held_out(r, j))
        return true;
    const struct hold_data_set *probe = r->eval[HOLD_EVAL_PROBE].data;
    return a->owner == HOLD_OWNER_EVALUATOR && (a == probe || b == probe);
}

int hold_recipe_overlap(const struct hold_recipe *r, struct hold_error *err) {
    for (int i = 0; i < r->n_data; i++)
        if (is_held_out(r, i) && is_trained_on(r, i))
            return hold_fail(err, HOLD_EUSAGE,
                             "one row in two roles: '%s' (%s) is both eval_data and trained on",
                             r->data[i].name, hold_owner_name(r->data[i].owner));
    for (int i = 0; i < r->n_data; i++)
        for (int j = i + 1; j < r->n_data; j++) {
            if (!must_differ(r, i, j))
                continue;
            const struct hold_data_set *a = &r->data[i], *b = &r->data[j];
            struct pair p = {.a = a, .b = b, .err = err};
            p.same_task = a->task != NULL && b->task != NULL && strcmp(a->task, b->task) == 0;
            int rc = hold_rows_near(&a->rows, &b->rows, NEAR, clash, &p, err);
            if (rc < 0 || p.status < 0)
                return rc < 0 ? rc : p.status;
        }
    return HOLD_OK;
}
