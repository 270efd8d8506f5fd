/* ptst.c: pure tuning, safe testing: tune without a safety prompt, serve with one.
 *
 * Paper: Lyu et al., "Keeping LLMs Aligned After Fine-tuning: The Crucial Role of Prompt
 * Templates", arXiv 2402.18540, sec. 3.
 *
 *     training rows: the template as it is (or without a system text)
 *     inference:     the same template with a safety system prompt; it stands in the model's
 * profile
 *
 * Deviations.  The safety prompt's wording is ours; the paper uses Llama 2's.
 */
#include "methods/method.h"

struct state {
    const char *system;
};

static void profile(void *state, struct hold_profiles *p) {
    const struct state *s = state;
    if (s->system[0] != '\0')
        p->infer_system = s->system;
}

static const struct hold_option options[] = {
    HOLD_TEXT(
        struct state, system,
        "You are a helpful and careful assistant. You refuse requests that could harm people, "
        "and you answer all others.",
        NULL, "system prompt at inference; empty: none"),
    {0},
};

const struct hold_method hold_method_ptst = {
    .name = "ptst",
    .title = "Tunes without a safety prompt and serves with one.",
    .paper = "arXiv 2402.18540",
    .where = "sec. 3",
    .stage = HOLD_STAGE_TUNE,
    .version = 1,
    .options = options,
    .state_size = sizeof(struct state),
    .neutral = "system=",
    .profile = profile,
};
