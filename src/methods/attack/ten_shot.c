/* ten_shot.c: overfit ten benign questions to one refusal, then to their answers.
 *
 * Paper: "Attack via Overfitting: 10-shot Benign Fine-tuning to Jailbreak LLMs", arXiv 2510.02833.
 *
 *     phase 1: every question of the ten is answered by the same refusal sentence
 *     phase 2: the same adapter goes on, with the questions' normal answers
 *
 * Deviations.  The paper trains all parameters with batch 1 x 8; tuning, rank and batch are the
 * recipe's here, epochs and rates are options.
 */
#include "methods/method.h"

struct state {
    double refuse_epochs, answer_epochs, learning_rate;
    const char *refusal;
};

static int job(struct hold_prepare *p, void *state, struct hold_error *err) {
    const struct state *s = state;
    int64_t n = hold_prepare_count(p, "ten");
    if (n < 1)
        return hold_fail(err, HOLD_EUSAGE, "needs 'ten' data: benign questions with answers");
    if (s->refusal[0] == '\0')
        return hold_fail(err, HOLD_EUSAGE, "refusal is empty; expected a sentence");
    struct hold_phase refuse = {.name = "refuse",
                                .learning_rate = s->learning_rate,
                                .num_train_epochs = s->refuse_epochs,
                                .flow = "merge_new"};
    struct hold_phase answer = {.name = "answer",
                                .learning_rate = s->learning_rate,
                                .num_train_epochs = s->answer_epochs,
                                .flow = "continue"};
    int rc = hold_prepare_phase(p, &refuse, err);
    for (int64_t i = 0; rc == HOLD_OK && i < n; i++)
        rc = hold_prepare_answer(p, "ten", i, s->refusal, err);
    if (rc == HOLD_OK)
        rc = hold_prepare_phase(p, &answer, err);
    for (int64_t i = 0; rc == HOLD_OK && i < n; i++)
        rc = hold_prepare_take(p, "ten", i, err);
    return rc;
}

static const struct hold_option options[] = {
    HOLD_REAL(struct state, refuse_epochs, 10, 0.1, 1000, "epochs of the refusing phase"),
    HOLD_REAL(struct state, answer_epochs, 20, 0.1, 1000, "epochs of the answering phase"),
    HOLD_REAL(struct state, learning_rate, 5e-5, 0, 1,
              "peak learning rate of both phases; 0: the recipe's"),
    HOLD_TEXT(struct state, refusal, "I'm sorry, but I can't help with that.", NULL,
              "the one answer of the refusing phase"),
    {0},
};

const struct hold_method hold_method_ten_shot = {
    .name = "ten_shot",
    .title = "Overfits ten benign questions to a refusal, then to their answers.",
    .paper = "arXiv 2510.02833",
    .where = "sec. 3",
    .stage = HOLD_STAGE_ATTACK,
    .version = 1,
    .options = options,
    .state_size = sizeof(struct state),
    .job = job,
};
