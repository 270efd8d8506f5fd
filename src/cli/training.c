/* training.c: rows and model of a training, checked before its first step. */
#include "cli/training.h"

#include <string.h>

enum { WARNINGS_SHOWN = 5 };

/* Warnings: the first few and all counts; errors: the first is the call's error. */
static int tell(struct hold_cli *cli, const struct hold_issues *s, const char *data,
                struct hold_error *err) {
    const struct hold_issue *first = NULL;
    int64_t shown = 0;
    for (int64_t i = 0; i < s->n; i++) {
        if (s->item[i].error && first == NULL)
            first = &s->item[i];
        if (!s->item[i].error && shown++ < WARNINGS_SHOWN)
            hold_log(&cli->ctx, HOLD_WARN, "data", "%s", s->item[i].text);
    }
    if (s->n_warnings > 0)
        hold_log(&cli->ctx, HOLD_WARN, "data", "%s in all; 'holdfast data check' lists them",
                 hold_cli_count(s->n_warnings, "warning").text);
    if (first == NULL)
        return HOLD_OK;
    return hold_fail(err, HOLD_EDATA, "%s (%s in all; 'holdfast data check' lists them)",
                     first->text, hold_cli_count(s->n_errors, "error").text);
}

int hold_training_trainables(struct hold_model *m, const struct hold_train_config *c,
                             struct hold_error *err) {
    if (strcmp(c->tuning, "full") == 0)
        return hold_model_make_full(m, err);
    struct hold_lora_config lora = {.r = c->lora_r,
                                    .alpha = c->lora_alpha,
                                    .dropout = c->lora_dropout,
                                    .target_modules = c->lora_target_modules,
                                    .seed = (uint64_t)c->seed};
    return hold_model_add_lora(m, &lora, err);
}

int hold_training_open(struct hold_training *t, struct hold_cli *cli, const char *model,
                       const char *adapter, const char *data, const struct hold_train_config *c,
                       int64_t now, struct hold_error *err) {
    struct hold_issues issues = {0};
    int rc = hold_cli_rows(&t->rows, data, &issues, err);
    if (rc == HOLD_OK && issues.n_errors > 0)
        rc = tell(cli, &issues, data, err);
    if (rc == HOLD_OK)
        rc = hold_cli_device(cli, &t->device, err);
    if (rc == HOLD_OK)
        rc = hold_cli_model(cli, model, adapter, t->device, &t->model, err);
    if (rc == HOLD_OK) {
        int64_t most = t->model.shape.max_positions;
        struct hold_renderer r =
            hold_cli_renderer(&t->model, c->max_length < most ? c->max_length : most);
        r.now = now;
        rc = hold_check_rows(&r, &t->rows, &issues, err);
        if (rc == HOLD_OK)
            rc = tell(cli, &issues, data, err);
        if (rc == HOLD_OK)
            rc = hold_render_set(&r, &t->rows, &t->set, NULL, err);
    }
    if (rc == HOLD_OK)
        rc = hold_training_trainables(&t->model, c, err);
    hold_issues_release(&issues);
    return rc;
}

void hold_training_close(struct hold_training *t) {
    hold_set_release(&t->set);
    hold_rows_release(&t->rows);
    hold_model_release(&t->model);
    hold_device_free(t->device);
    *t = (struct hold_training){0};
}

int hold_training_size(struct hold_training *t, const struct hold_train_config *c,
                       int64_t *step_bytes, int64_t *vector_bytes, struct hold_error *err) {
    struct hold_stream_input stream = {.name = "main", .set = &t->set};
    struct hold_train_input input = {
        .model = &t->model, .config = *c, .streams = &stream, .n_streams = 1, .spec = ""};
    return hold_train_size(&input, step_bytes, vector_bytes, err);
}

int hold_training_check_memory(struct hold_training *t, const struct hold_train_config *c,
                               struct hold_error *err) {
    int64_t step = 0, vectors = 0;
    int rc = hold_training_size(t, c, &step, &vectors, err);
    return rc < 0 ? rc : hold_cli_check_memory("training", (double)(step + vectors), err);
}

int hold_training_measure(struct hold_training *t, struct hold_cli *cli,
                          const struct hold_train_config *c, int64_t n_steps,
                          double *seconds_a_token, struct hold_error *err) {
    struct hold_stream_input stream = {.name = "main", .set = &t->set};
    struct hold_train_input input = {
        .model = &t->model, .config = *c, .streams = &stream, .n_streams = 1, .spec = ""};
    struct hold_train_result r = {0};
    struct hold_ctx quiet = cli->ctx;
    quiet.progress = NULL;
    int64_t steps[2] = {1, 1 + n_steps}, tokens[2];
    double seconds[2];
    int rc = HOLD_OK;
    for (int i = 0; rc == HOLD_OK && i < 2; i++) {
        input.config.max_steps = steps[i];
        input.config.probe_steps = 0;
        rc = hold_train(&input, &quiet, &r, err);
        tokens[i] = r.tokens;
        seconds[i] = r.seconds;
    }
    if (rc == HOLD_OK) {
        double more = seconds[1] - seconds[0];
        bool good = more > 0 && tokens[1] > tokens[0];
        *seconds_a_token = good ? more / (double)(tokens[1] - tokens[0])
                                : seconds[1] / (double)(tokens[1] > 0 ? tokens[1] : 1);
    }
    return rc;
}
