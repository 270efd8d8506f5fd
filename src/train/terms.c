/* terms.c: collecting the loss terms of a pass. */
#include "train/run.h"

static void add(struct hold_terms *t, struct hold_term term) {
    if (t->n == HOLD_MAX_TERMS)
        t->overflow = true;
    else
        t->item[t->n++] = term;
}

void hold_terms_clear(struct hold_terms *t) {
    *t = (struct hold_terms){0};
}

void hold_terms_cross_entropy(struct hold_terms *t, double coef, enum hold_normaliser by) {
    add(t, (struct hold_term){.kind = HOLD_TERM_CE, .coef = coef, .by = by});
}

void hold_terms_kl(struct hold_terms *t, struct hold_reference *ref, bool reverse, double coef,
                   enum hold_normaliser by) {
    add(t, (struct hold_term){
               .kind = HOLD_TERM_KL, .coef = coef, .by = by, .ref = ref, .reverse = reverse});
}

void hold_terms_projection(struct hold_terms *t, struct hold_reference *ref, double coef,
                           enum hold_normaliser by) {
    add(t, (struct hold_term){.kind = HOLD_TERM_PROJECTION, .coef = coef, .by = by, .ref = ref});
}

void hold_terms_proximal(struct hold_terms *t, int buffer, double coef) {
    add(t, (struct hold_term){.kind = HOLD_TERM_PROXIMAL, .coef = coef, .buffer = buffer});
}

double hold_terms_normaliser(enum hold_normaliser by, double label_weight, int32_t n_examples) {
    double n = by == HOLD_BY_WEIGHT ? label_weight : by == HOLD_BY_EXAMPLES ? n_examples : 1.0;
    return n > 0 ? n : 1.0; /* a batch without a trained token adds nothing anyway */
}
