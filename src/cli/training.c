/* training.c: rows and model of a training, checked before its first step. */
#include "cli/training.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "data/folder.h"

enum { WARNINGS_SHOWN = 5 };

/* Warnings: the first few and all counts; errors: the first is the call's error. */
static int tell(struct hold_cli *cli, const struct hold_issues *s, struct hold_error *err) {
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

/* One folder or file of a list behind the others of `list`. */
static int add_path(struct hold_str *list, const char *path, enum hold_split split, bool required,
                    struct hold_error *err) {
    struct hold_str found = HOLD_STR_INIT;
    int rc = HOLD_OK;
    if (hold_is_dir(path))
        rc = hold_folder_find(path, split, required, &found, err);
    else if (required)
        hold_str_add(&found, path);
    if (rc == HOLD_OK && found.len > 0)
        hold_str_addf(list, "%s%s", list->len > 0 ? "\n" : "", hold_str_text(&found));
    hold_str_release(&found);
    return rc == HOLD_OK ? hold_str_check(list, err) : rc;
}

/* The list with each folder replaced by its file of the split; without `required` only those of
 * folders are kept. */
static int expand(struct hold_cli *cli, const char *files, enum hold_split split, bool required,
                  const char **out, struct hold_error *err) {
    struct hold_str list = HOLD_STR_INIT, path = HOLD_STR_INIT;
    int rc = HOLD_OK;
    while (rc == HOLD_OK && hold_files_next(&files, &path)) {
        rc = hold_str_check(&path, err);
        if (rc == HOLD_OK)
            rc = add_path(&list, hold_str_text(&path), split, required, err);
    }
    hold_str_release(&path);
    if (rc == HOLD_OK && (*out = hold_arena_strdup(&cli->arena, hold_str_text(&list))) == NULL)
        rc = hold_fail(err, HOLD_ENOMEMORY, "no memory for a path");
    hold_str_release(&list);
    return rc;
}

/* A list of files for people. */
static void show_files(struct hold_str *out, const char *files) {
    struct hold_str path = HOLD_STR_INIT;
    const char *before = "";
    while (hold_files_next(&files, &path)) {
        hold_str_addf(out, "%s%s", before, hold_str_text(&path));
        before = ", ";
    }
    hold_str_release(&path);
}

int hold_training_folders(struct hold_cli *cli, struct hold_training_files *files,
                          struct hold_train_config *c, struct hold_error *err) {
    const char *valid = "";
    bool given = files->eval_data != NULL && files->eval_data[0] != '\0';
    int rc = given ? expand(cli, files->eval_data, HOLD_SPLIT_VALID, true, &files->eval_data, err)
                   : expand(cli, files->data, HOLD_SPLIT_VALID, false, &valid, err);
    if (rc == HOLD_OK)
        rc = expand(cli, files->data, HOLD_SPLIT_TRAIN, true, &files->data, err);
    if (rc < 0 || valid[0] == '\0')
        return rc;
    struct hold_str said = HOLD_STR_INIT;
    bool no = strcmp(c->eval_strategy, "no") == 0, declined = no && files->no_evaluation;
    hold_str_add(&said, "training on ");
    show_files(&said, files->data);
    hold_str_add(&said, declined ? "; eval_strategy no: not evaluating on " : ", evaluating on ");
    show_files(&said, valid);
    if (!declined) {
        files->eval_data = valid;
        if (no)
            c->eval_strategy = "epoch";
        hold_str_addf(&said, " (eval_strategy %s)", c->eval_strategy);
    }
    hold_log(&cli->ctx, HOLD_INFO, "data", "%s", hold_str_text(&said));
    hold_str_release(&said);
    return HOLD_OK;
}

struct rows_file {
    const char *path, *preference;
    struct hold_rows *rows;
    struct hold_set *set;
    struct hold_issues issues;
};

static int read_rows(struct hold_cli *cli, struct rows_file *f, struct hold_error *err) {
    int rc = hold_cli_rows(cli, f->rows, f->path, f->preference, &f->issues, err);
    return rc == HOLD_OK && f->issues.n_errors > 0 ? tell(cli, &f->issues, err) : rc;
}

static int render_rows(struct hold_cli *cli, const struct hold_renderer *r, struct rows_file *f,
                       struct hold_error *err) {
    int rc = hold_check_rows(r, f->rows, &f->issues, err);
    if (rc == HOLD_OK)
        rc = tell(cli, &f->issues, err);
    return rc == HOLD_OK ? hold_render_set(r, f->rows, f->set, NULL, err) : rc;
}

static int compare_ids(const void *a, const void *b) {
    const struct hold_example *x = *(const struct hold_example *const *)a;
    const struct hold_example *y = *(const struct hold_example *const *)b;
    if (x->n != y->n)
        return x->n < y->n ? -1 : 1;
    return memcmp(x->ids, y->ids, (size_t)x->n * sizeof *x->ids);
}

/* Rows to evaluate on that are trained on tell nothing: exact ones are counted and told. */
static int warn_shared(struct hold_cli *cli, const struct hold_training *t,
                       struct hold_error *err) {
    void *memory = NULL;
    int64_t shared = 0, first = 0;
    int rc = hold_new(&memory, (size_t)t->set.n, sizeof(struct hold_example *), "rows", err);
    if (rc < 0)
        return rc;
    const struct hold_example **sorted = memory;
    for (int64_t i = 0; i < t->set.n; i++)
        sorted[i] = &t->set.example[i];
    qsort(sorted, (size_t)t->set.n, sizeof *sorted, compare_ids);
    for (int64_t i = 0; i < t->eval_set.n; i++) {
        const struct hold_example *x = &t->eval_set.example[i];
        if (bsearch(&x, sorted, (size_t)t->set.n, sizeof *sorted, compare_ids) == NULL)
            continue;
        first = shared++ == 0 ? i + 1 : first;
    }
    if (shared > 0)
        hold_log(&cli->ctx, HOLD_WARN, "data",
                 "%s: %lld of %lld rows are training rows too, the first is row %lld: eval_loss "
                 "does not measure what was learnt from them",
                 t->eval_rows.path, (long long)shared, (long long)t->eval_set.n, (long long)first);
    hold_free(sorted);
    return HOLD_OK;
}

/* Options that were given beside others that switch them off. */
static void tell_idle(struct hold_cli *cli, const struct hold_train_config *c) {
    bool full = strcmp(c->tuning, "full") == 0, sgd = strcmp(c->optim, "sgd") == 0;
    const struct {
        const char *option;
        bool idle;
        const char *beside;
    } ROWS[] = {
        {"lora_r", full, "with --tuning full"},
        {"lora_alpha", full, "with --tuning full"},
        {"lora_dropout", full, "with --tuning full"},
        {"lora_target_modules", full, "with --tuning full"},
        {"momentum", !sgd, "with --optim adamw"},
        {"adam_beta1", sgd, "with --optim sgd"},
        {"adam_beta2", sgd, "with --optim sgd"},
        {"adam_epsilon", sgd, "with --optim sgd"},
        {"num_train_epochs", c->max_steps > 0, "with --max-steps"},
        {"eval_steps", strcmp(c->eval_strategy, "steps") != 0,
         strcmp(c->eval_strategy, "no") == 0 ? "with --eval-strategy no"
                                             : "with --eval-strategy epoch"},
        {"early_stopping_threshold", c->early_stopping_patience == 0,
         "with --early-stopping-patience 0"},
    };
    for (size_t i = 0; i < sizeof ROWS / sizeof *ROWS; i++)
        if (ROWS[i].idle && hold_cli_is_given(cli, ROWS[i].option))
            hold_cli_tell_idle(cli, ROWS[i].option, ROWS[i].beside);
}

int hold_training_open(struct hold_training *t, struct hold_cli *cli,
                       const struct hold_training_files *files, const struct hold_train_config *c,
                       int64_t now, struct hold_error *err) {
    struct rows_file data = {
        .path = files->data, .preference = files->preference, .rows = &t->rows, .set = &t->set};
    struct rows_file eval = {.path = files->eval_data,
                             .preference = files->preference,
                             .rows = &t->eval_rows,
                             .set = &t->eval_set};
    bool evaluates = files->eval_data != NULL && files->eval_data[0] != '\0';
    if (evaluates == (strcmp(c->eval_strategy, "no") == 0))
        return hold_fail(err, HOLD_EUSAGE,
                         evaluates ? "--eval-data needs --eval-strategy steps or epoch"
                                   : "--eval-strategy %s needs --eval-data FILE",
                         c->eval_strategy);
    tell_idle(cli, c);
    struct hold_error inner = {0};
    int rc = hold_model_check_targets(c->lora_target_modules, &inner);
    if (rc < 0)
        return hold_fail(err, rc, "--lora-target-modules: %s", inner.text);
    rc = read_rows(cli, &data, err);
    if (rc == HOLD_OK && evaluates)
        rc = read_rows(cli, &eval, err);
    if (rc == HOLD_OK)
        rc = hold_cli_device(cli, &t->device, err);
    if (rc == HOLD_OK)
        rc = (strcmp(c->tuning, "full") == 0 ? hold_cli_model : hold_cli_model_lean)(
            cli, files->model, files->adapter, t->device, &t->model, err);
    if (rc == HOLD_OK) {
        int64_t most = t->model.shape.max_positions;
        struct hold_renderer r =
            hold_cli_renderer(&t->model, c->max_length < most ? c->max_length : most);
        r.now = now;
        rc = render_rows(cli, &r, &data, err);
        if (rc == HOLD_OK && evaluates)
            rc = render_rows(cli, &r, &eval, err);
        if (rc == HOLD_OK && evaluates)
            rc = warn_shared(cli, t, err);
    }
    if (rc == HOLD_OK)
        rc = hold_train_make(&t->model, c, err);
    hold_issues_release(&data.issues);
    hold_issues_release(&eval.issues);
    return rc;
}

struct hold_train_input hold_training_input(struct hold_training *t,
                                            const struct hold_train_config *c) {
    t->stream = (struct hold_stream_input){.name = "main", .set = &t->set};
    return (struct hold_train_input){.model = &t->model,
                                     .config = *c,
                                     .streams = &t->stream,
                                     .n_streams = 1,
                                     .reserve_bytes = t->step_bytes,
                                     .eval = t->eval_set.n > 0 ? &t->eval_set : NULL,
                                     .spec = ""};
}

void hold_training_close(struct hold_training *t) {
    hold_set_release(&t->set);
    hold_rows_release(&t->rows);
    hold_set_release(&t->eval_set);
    hold_rows_release(&t->eval_rows);
    hold_model_release(&t->model);
    hold_device_free(t->device);
    *t = (struct hold_training){0};
}

int hold_training_size(struct hold_training *t, const struct hold_train_config *c,
                       int64_t *step_bytes, int64_t *vector_bytes, struct hold_error *err) {
    struct hold_train_input input = hold_training_input(t, c);
    return hold_train_size(&input, step_bytes, vector_bytes, err);
}

int hold_training_check_memory(struct hold_training *t, const struct hold_train_config *c,
                               struct hold_error *err) {
    int64_t vectors = 0;
    int rc = hold_training_size(t, c, &t->step_bytes, &vectors, err);
    return rc < 0 ? rc : hold_train_check_room("training", c, t->step_bytes, vectors, err);
}

int hold_training_measure(struct hold_training *t, struct hold_cli *cli,
                          const struct hold_train_config *c, int64_t n_steps,
                          struct hold_train_speed *speed, struct hold_error *err) {
    struct hold_train_input input = hold_training_input(t, c);
    struct hold_ctx quiet = cli->ctx;
    quiet.progress = NULL;
    return hold_train_measure(&input, &quiet, n_steps, speed, err);
}
