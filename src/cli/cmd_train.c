/* cmd_train.c: `holdfast train`: one training stage on a file of rows.
 *
 *     DIR/train.json          what is trained: options, hash of model and rows; "finished"
 *     DIR/metrics.jsonl       of every logged step
 *     DIR/checkpoint-N        to go on from: the same command on the same folder does
 *     DIR/probes.jsonl, samples.jsonl    answers while training, when they were asked for
 *     DIR/adapter_...         the result, or the files of a whole model
 */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/training.h"
#include "lab/lab.h"

#define T struct options
struct options {
    struct hold_train_config train; /* first: hold_train_options are over it */
    const char *model, *adapter, *data, *eval_data, *output, *probe, *samples, *preference;
    int64_t answer_tokens;
    bool overwrite;
};
static const struct hold_option options[] = {
    HOLD_CLI_MODEL(T),
    HOLD_TEXT(T, adapter, "", NULL, "PEFT folder to merge before training, or several by commas"),
    HOLD_TEXT(
        T, data, "", NULL,
        "rows: JSONL, JSON array, CSV or TSV, or a folder that has train and valid files; given "
        "again: more of them"),
    HOLD_CLI_PREFERENCE(T),
    HOLD_TEXT(T, eval_data, "", NULL,
              "rows to take the loss of while training, as eval_strategy says"),
    HOLD_CLI_OUTPUT(T, "folder to write; the same command goes on in it"),
    HOLD_TEXT(T, probe, "", NULL, "harmful prompts to judge the answers to, every probe_steps"),
    HOLD_TEXT(T, samples, "", NULL, "prompts to show the answers to, every probe_steps"),
    HOLD_INT(T, answer_tokens, 32, 1, 4096, "new tokens of these answers"),
    HOLD_BOOL(T, overwrite, false, "forget a training that the folder holds and begin anew"),
    {0},
};
#undef T

struct job {
    struct hold_cli *cli;
    const struct options *o;
    struct hold_str mark_path, samples_path, probes_path;
    json_t *mark; /* train.json as it was, or NULL */
    int64_t now;
    struct hold_training t;
    char spec[HOLD_HASH_HEX];
    struct hold_rows sample_rows;
    json_t *sample_list;
    struct hold_data_set probe_set;
    struct hold_recipe probe_recipe;
    struct hold_probe probe;
    bool probing;
};

/* --- the folder --- */

/* New, empty, or one that this command began. */
static int open_folder(struct job *j, struct hold_error *err) {
    const char *dir = j->o->output;
    hold_path_join(&j->mark_path, dir, "train.json");
    hold_path_join(&j->samples_path, dir, "samples.jsonl");
    hold_path_join(&j->probes_path, dir, "probes.jsonl");
    j->now = hold_cli_now();
    if (dir[0] == '\0' || !hold_exists(hold_str_text(&j->mark_path)))
        return hold_cli_check_new_dir(dir, err);
    if (j->o->overwrite)
        return HOLD_OK;
    int rc = hold_json_load(&j->mark, hold_str_text(&j->mark_path), err);
    /* A template that tells the date must tell the same one. */
    if (rc == HOLD_OK)
        rc = hold_json_int_or(j->mark, "now", j->now, &j->now, hold_str_text(&j->mark_path), err);
    return rc;
}

/* What the folder holds must be the same training. */
static int check_mark(struct job *j, bool *finished, struct hold_error *err) {
    const char *spec = NULL;
    if (j->mark == NULL)
        return HOLD_OK;
    int rc = hold_json_get_text(j->mark, "spec", &spec, hold_str_text(&j->mark_path), err);
    if (rc == HOLD_OK && strcmp(spec, j->spec) != 0)
        rc = hold_fail(err, HOLD_EUSAGE,
                       "%s: holds a training with another model, other rows or options; "
                       "--overwrite begins anew",
                       j->o->output);
    if (rc == HOLD_OK)
        rc = hold_json_bool_or(j->mark, "finished", false, finished, hold_str_text(&j->mark_path),
                               err);
    return rc;
}

static int save_mark(const struct job *j, bool finished, struct hold_error *err) {
    json_t *mark = json_pack("{s:i, s:s, s:s, s:s, s:s, s:I, s:b, s:o}", "schema", 1, "spec",
                             j->spec, "model", j->o->model, "adapter", j->o->adapter, "data",
                             j->o->data, "now", (json_int_t)j->now, "finished", (int)finished,
                             "options", hold_options_to_json(hold_train_options, &j->o->train));
    int rc = mark == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for train.json")
                          : hold_json_save(hold_str_text(&j->mark_path), mark, err);
    json_decref(mark);
    return rc;
}

static void hash_rows(const struct hold_set *set, char out[HOLD_HASH_HEX]) {
    struct hold_hash h;
    hold_hash_init(&h);
    for (int64_t i = 0; i < set->n; i++) {
        const struct hold_example *x = &set->example[i];
        hold_hash_add(&h, x->ids, (size_t)x->n * sizeof *x->ids);
        hold_hash_add(&h, x->target_weight, (size_t)x->n * sizeof *x->target_weight);
    }
    hold_hash_end(&h, out);
}

/* What a checkpoint in the folder must agree with. */
static int make_spec(struct job *j, struct hold_error *err) {
    char data[HOLD_HASH_HEX], eval[HOLD_HASH_HEX];
    hash_rows(&j->t.set, data);
    hash_rows(&j->t.eval_set, eval);
    json_t *spec = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o}", "kind", "train", "model",
                             j->t.model.content_id, "adapter", j->o->adapter, "rows", data,
                             "eval_rows", eval, "dtype", hold_device_dtype(j->t.device), "options",
                             hold_train_identity(&j->o->train));
    int rc = spec == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for a spec")
                          : hold_spec_id(spec, j->spec, err);
    json_decref(spec);
    return rc;
}

/* --- answers while training --- */

static int read_prompts(struct job *j, struct hold_error *err) {
    int rc = j->o->samples[0] == '\0' ? HOLD_OK
                                      : hold_rows_read(&j->sample_rows, j->o->samples, NULL, err);
    if (rc == HOLD_OK && j->o->probe[0] != '\0') {
        j->probing = true;
        rc = hold_rows_read(&j->probe_set.rows, j->o->probe, NULL, err);
    }
    return rc;
}

/* Answers of this step in place of those that an interrupted run had from here on. */
static int take_samples(struct job *j, struct hold_model *m, int64_t step, struct hold_error *err) {
    struct hold_generated *g = NULL;
    struct hold_str text = HOLD_STR_INIT;
    const struct hold_rows *rows = &j->sample_rows;
    int rc = hold_lab_answers(m, rows, j->o->answer_tokens, &j->cli->ctx, &g, err);
    if (rc < 0)
        return rc;
    for (size_t i = json_array_size(j->sample_list); i > 0; i--) {
        const json_t *old = json_array_get(j->sample_list, i - 1);
        if (json_integer_value(json_object_get(old, "step")) >= step)
            json_array_remove(j->sample_list, i - 1);
    }
    for (int64_t i = 0; rc == HOLD_OK && i < rows->n; i++) {
        const char *prompt = hold_row_user_text(&rows->row[i]);
        hold_log(&j->cli->ctx, HOLD_INFO, "train", "step %lld: %s -> %s", (long long)step, prompt,
                 g[i].text);
        if (json_array_append_new(
                j->sample_list, json_pack("{s:I, s:I, s:s, s:s}", "step", (json_int_t)step, "index",
                                          (json_int_t)i, "prompt", prompt, "text", g[i].text)) != 0)
            rc = hold_fail(err, HOLD_ENOMEMORY, "no memory for samples");
    }
    for (size_t i = 0; rc == HOLD_OK && i < json_array_size(j->sample_list); i++) {
        rc = hold_json_line(json_array_get(j->sample_list, i), &text, err);
        hold_str_add_char(&text, '\n');
    }
    if (rc == HOLD_OK)
        rc = hold_cli_write(hold_str_text(&j->samples_path), &text, err);
    hold_str_release(&text);
    hold_generated_free(g, rows->n);
    hold_free(g);
    return rc;
}

static int look(void *user, struct hold_run *run, int64_t step, struct hold_error *err) {
    struct job *j = user;
    int rc = j->sample_rows.n > 0 ? take_samples(j, hold_run_model(run), step, err) : HOLD_OK;
    return rc == HOLD_OK && j->probing ? hold_probe_step(&j->probe, run, step, err) : rc;
}

static int prepare_looks(struct job *j, struct hold_error *err) {
    struct hold_str line = HOLD_STR_INIT;
    void *memory = NULL;
    bool got = true, open = false;
    j->sample_list = json_array();
    int rc = j->sample_list == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for samples")
                                    : hold_new(&memory, 1, sizeof(struct hold_lines), "lines", err);
    struct hold_lines *lines = memory;
    if (rc == HOLD_OK && hold_exists(hold_str_text(&j->samples_path))) {
        rc = hold_lines_open(lines, hold_str_text(&j->samples_path), err);
        open = rc == HOLD_OK;
    }
    while (open && rc == HOLD_OK && (rc = hold_lines_next(lines, &line, &got, err)) == HOLD_OK &&
           got) {
        json_t *row = NULL;
        rc = hold_json_parse(&row, hold_str_text(&line), line.len, lines->path, lines->line, err);
        if (rc == HOLD_OK && json_array_append_new(j->sample_list, row) != 0)
            rc = hold_fail(err, HOLD_ENOMEMORY, "no memory for samples");
    }
    if (open)
        hold_lines_close(lines);
    hold_free(memory);
    hold_str_release(&line);
    if (rc < 0 || !j->probing)
        return rc;
    j->probe_recipe.eval[HOLD_EVAL_PROBE] = (struct hold_eval_set){
        .data = &j->probe_set, .max_tokens = j->o->answer_tokens, .score = "judge"};
    j->probe = (struct hold_probe){.recipe = &j->probe_recipe,
                                   .ctx = &j->cli->ctx,
                                   .profile = j->t.model.profile,
                                   .path = hold_str_text(&j->probes_path)};
    return hold_probe_open(&j->probe, err);
}

/* --- training --- */

static int write_result(struct job *j, struct hold_error *err) {
    struct hold_model *m = &j->t.model;
    if (m->lora) {
        struct hold_adapter a = {0};
        int rc = hold_model_get_lora(m, &a, err);
        if (rc == HOLD_OK) {
            rc = hold_adapter_write(&a, j->o->output, err);
            hold_adapter_release(&a);
        }
        return rc;
    }
    struct hold_model_files files = {0};
    int rc = hold_model_files_open(&files, m->path, err);
    if (rc < 0)
        return rc;
    rc = hold_model_write(m, &files, HOLD_ST_F32, j->o->output, err);
    if (rc == HOLD_OK)
        rc = hold_identity_write(j->o->output, NULL, m->profile, err);
    hold_model_files_release(&files);
    return rc;
}

static int train(struct job *j, struct hold_error *err) {
    const struct hold_ctx *ctx = &j->cli->ctx;
    bool looks = j->probing || j->sample_rows.n > 0;
    struct hold_train_input input = hold_training_input(&j->t, &j->o->train);
    input.work_dir = j->o->output;
    input.spec = j->spec;
    input.probe = looks ? look : NULL;
    input.probe_user = j;
    struct hold_train_result r = {0};
    int rc = save_mark(j, false, err);
    if (rc == HOLD_OK && looks)
        rc = prepare_looks(j, err);
    if (rc == HOLD_OK)
        rc = hold_train(&input, ctx, &r, err);
    hold_cli_clear(j->cli);
    if (rc == HOLD_OK)
        rc = write_result(j, err);
    if (rc == HOLD_OK)
        rc = save_mark(j, true, err);
    if (rc == HOLD_OK && r.evaluations > 0)
        hold_log(ctx, HOLD_INFO, "train", "eval_loss %.4f, the lowest %.4f at step %lld%s",
                 r.eval_loss, r.best_eval_loss, (long long)r.best_step,
                 r.is_best ? ": its weights are the result" : "");
    if (rc == HOLD_OK)
        hold_log(ctx, HOLD_INFO, "train",
                 "%s, loss %.4f to %.4f, %lld tokens in %.1f s (%.0f tok/s), peak %.3f GB: "
                 "%s",
                 hold_cli_count(r.steps, "step").text, r.first_loss, r.last_loss,
                 (long long)r.tokens, r.seconds, r.seconds > 0 ? (double)r.tokens / r.seconds : 0.0,
                 (double)hold_peak_memory() / 1e9, j->o->output);
    return rc;
}

/* Forget the training that the folder holds: what train writes and nothing else. */
static int forget_training(const struct job *j, struct hold_error *err) {
    static const char *const OURS[] = {"train.json",
                                       "metrics.jsonl",
                                       "probes.jsonl",
                                       "samples.jsonl",
                                       "adapter_config.json",
                                       "config.json",
                                       "inference.json",
                                       "adapter_model.safetensors",
                                       "model.safetensors",
                                       "tokenizer.json",
                                       "tokenizer_config.json",
                                       "special_tokens_map.json",
                                       "chat_template.jinja",
                                       "chat_template.json",
                                       "generation_config.json"};
    char **names = NULL;
    size_t n = 0;
    struct hold_str path = HOLD_STR_INIT;
    int rc = hold_dir_list(j->o->output, &names, &n, err);
    for (size_t i = 0; rc == HOLD_OK && i < n; i++) {
        bool ours = hold_starts(names[i], "checkpoint-") || hold_starts(names[i], "saving-");
        for (size_t k = 0; !ours && k < sizeof OURS / sizeof *OURS; k++)
            ours = strcmp(names[i], OURS[k]) == 0;
        hold_path_join(&path, j->o->output, names[i]);
        if (ours)
            rc = hold_remove_tree(hold_str_text(&path), err);
    }
    hold_str_release(&path);
    hold_names_free(names, n);
    return rc;
}

/* The folder is ours from here on: one process at a time works in it. */
static int in_folder(struct job *j, struct hold_error *err) {
    int lock = -1;
    bool finished = false;
    struct hold_str path = HOLD_STR_INIT;
    int rc = hold_mkdirs(j->o->output, err);
    hold_path_join(&path, j->o->output, ".lock");
    if (rc == HOLD_OK)
        rc = hold_lock_take(hold_str_text(&path), &lock, err);
    if (rc == HOLD_OK && j->o->overwrite && hold_exists(hold_str_text(&j->mark_path)))
        rc = forget_training(j, err);
    if (rc == HOLD_OK)
        rc = check_mark(j, &finished, err);
    if (rc == HOLD_OK && finished)
        hold_log(&j->cli->ctx, HOLD_INFO, "train", "%s: finished before; nothing to do",
                 j->o->output);
    else if (rc == HOLD_OK)
        rc = train(j, err);
    if (lock >= 0)
        hold_lock_drop(lock);
    hold_str_release(&path);
    return rc;
}

static int run(struct hold_cli *cli, void *opts, int n_args, char **args, struct hold_error *err) {
    struct job j = {.cli = cli, .o = opts};
    (void)n_args;
    (void)args;
    if (j.o->data[0] == '\0')
        return hold_fail(err, HOLD_EUSAGE, "--data FILE is missing");
    struct hold_training_files files = {.model = j.o->model,
                                        .adapter = j.o->adapter,
                                        .data = j.o->data,
                                        .eval_data = j.o->eval_data,
                                        .preference = j.o->preference,
                                        .no_evaluation = hold_cli_is_given(cli, "eval_strategy")};
    static const char *const OF_LOOKS[] = {"probe_steps", "answer_tokens"};
    for (int i = 0; i < 2 && j.o->probe[0] == '\0' && j.o->samples[0] == '\0'; i++)
        if (hold_cli_is_given(cli, OF_LOOKS[i]))
            hold_cli_tell_idle(cli, OF_LOOKS[i], "without --probe or --samples");
    int rc = hold_training_folders(cli, &files, &((struct options *)opts)->train, err);
    if (rc == HOLD_OK)
        rc = open_folder(&j, err);
    if (rc == HOLD_OK)
        rc = read_prompts(&j, err);
    if (rc == HOLD_OK)
        rc = hold_training_open(&j.t, cli, &files, &j.o->train, j.now, err);
    if (rc == HOLD_OK && j.o->adapter[0] != '\0')
        hold_log(&cli->ctx, HOLD_INFO, "train",
                 "the result stands on %s with %s merged: use it as --adapter %s,%s", j.o->model,
                 j.o->adapter, j.o->adapter, j.o->output);
    if (rc == HOLD_OK)
        rc = make_spec(&j, err);
    if (rc == HOLD_OK)
        rc = hold_training_check_memory(&j.t, &j.o->train, err);
    if (rc == HOLD_OK)
        rc = in_folder(&j, err);
    hold_probe_release(&j.probe);
    hold_rows_release(&j.probe_set.rows);
    hold_rows_release(&j.sample_rows);
    json_decref(j.sample_list);
    json_decref(j.mark);
    hold_training_close(&j.t);
    hold_str_release(&j.mark_path);
    hold_str_release(&j.samples_path);
    hold_str_release(&j.probes_path);
    return rc;
}

const struct hold_command hold_cmd_train = {
    .name = "train",
    .summary = "fine-tune a model on a file of rows",
    .usage = "-m MODEL --data FILE|DIR [--data FILE ...] [options] -o DIR",
    .example = "  holdfast train --data rows.jsonl --learning-rate 1e-4 -o runs/mine",
    .options = options,
    .size = sizeof(struct options),
    .max_args = 0,
    .run = run,
    .more = hold_train_options,
    .many = " data ",
};
