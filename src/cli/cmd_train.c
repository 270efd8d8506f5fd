/* cmd_train.c: `holdfast train`: one training stage on a file of rows. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "data/render.h"
#include "formats/hf.h"
#include "lab/lab.h"
#include "train/train.h"

struct options {
    struct hold_train_config train; /* first: hold_train_options are over it */
    const char *model, *adapter, *data, *output;
};

static const struct hold_option options[] = {
    {"model", "MODEL: a GGUF file, a Hugging Face folder or a name", HOLD_OPT_TEXT,
     offsetof(struct options, model), 0, 0, 0, "smollm2-135m-instruct", NULL, 'm'},
    HOLD_TEXT(struct options, adapter, "", NULL, "PEFT folder to merge before training"),
    HOLD_TEXT(struct options, data, "", NULL, "rows: JSONL, JSON array or CSV"),
    {"output", "folder to write", HOLD_OPT_TEXT, offsetof(struct options, output), 0, 0, 0, "",
     NULL, 'o'},
    {0},
};

/* What a checkpoint in the folder must agree with. */
static int spec_of(const struct options *o, const struct hold_model *m, struct hold_set *set,
                   char id[HOLD_HASH_HEX], struct hold_error *err) {
    struct hold_hash h;
    char data[HOLD_HASH_HEX];
    hold_hash_init(&h);
    for (int64_t i = 0; i < set->n; i++) {
        const struct hold_example *x = &set->example[i];
        hold_hash_add(&h, x->ids, (size_t)x->n * sizeof *x->ids);
        hold_hash_add(&h, x->target_weight, (size_t)x->n * sizeof *x->target_weight);
    }
    hold_hash_end(&h, data);
    json_t *spec = json_pack("{s:s, s:s, s:s, s:s, s:o}", "kind", "train", "model", m->content_id,
                             "adapter", o->adapter, "rows", data, "options",
                             hold_options_to_json(hold_train_options, &o->train));
    int rc = spec == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for a spec")
                          : hold_spec_id(spec, id, err);
    json_decref(spec);
    return rc;
}

static int write_result(const struct options *o, struct hold_model *m, const char *base_path,
                        struct hold_error *err) {
    if (m->lora) {
        struct hold_adapter a = {0};
        int rc = hold_model_get_lora(m, &a, err);
        if (rc == HOLD_OK) {
            rc = hold_adapter_write(&a, o->output, err);
            hold_adapter_release(&a);
        }
        return rc;
    }
    struct hold_model_files files = {0};
    int rc = hold_model_files_open(&files, base_path, err);
    if (rc < 0)
        return rc;
    rc = hold_model_write(m, &files, HOLD_ST_F32, o->output, err);
    hold_model_files_release(&files);
    return rc;
}

/* The folder is new, empty, or one that this command began. */
static int check_output(const char *dir, struct hold_error *err) {
    if (dir[0] == '\0')
        return hold_fail(err, HOLD_EUSAGE, "-o DIR is missing: where should the result go?");
    if (!hold_exists(dir))
        return HOLD_OK;
    struct hold_str mark = HOLD_STR_INIT;
    hold_path_join(&mark, dir, "train.json");
    bool ours = hold_exists(hold_str_text(&mark));
    hold_str_release(&mark);
    char **names = NULL;
    size_t n = 0;
    int rc = ours ? HOLD_OK : hold_dir_list(dir, &names, &n, err);
    hold_names_free(names, n);
    if (rc == HOLD_OK && n > 0)
        rc = hold_fail(err, HOLD_EUSAGE, "%s: exists and is not a training folder of ours", dir);
    return rc;
}

static int save_mark(const struct options *o, const char *spec, struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    hold_path_join(&path, o->output, "train.json");
    json_t *mark =
        json_pack("{s:i, s:s, s:s, s:s, s:o}", "schema", 1, "spec", spec, "model", o->model, "data",
                  o->data, "options", hold_options_to_json(hold_train_options, &o->train));
    int rc = mark == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for train.json")
                          : hold_json_save(hold_str_text(&path), mark, err);
    json_decref(mark);
    hold_str_release(&path);
    return rc;
}

static int train_on(struct hold_cli *cli, const struct options *o, struct hold_model *m,
                    struct hold_set *set, struct hold_error *err) {
    char spec[HOLD_HASH_HEX];
    struct hold_str work = HOLD_STR_INIT;
    hold_path_join(&work, o->output, "checkpoints");
    struct hold_stream_input stream = {.name = "main", .set = set};
    struct hold_train_input input = {.model = m,
                                     .config = o->train,
                                     .streams = &stream,
                                     .n_streams = 1,
                                     .work_dir = hold_str_text(&work),
                                     .spec = spec};
    struct hold_train_result result = {0};
    int lock = -1;
    struct hold_str lock_path = HOLD_STR_INIT;
    hold_path_join(&lock_path, o->output, ".lock");
    int rc = spec_of(o, m, set, spec, err);
    if (rc == HOLD_OK)
        rc = hold_mkdirs(o->output, err);
    if (rc == HOLD_OK)
        rc = hold_lock_take(hold_str_text(&lock_path), &lock, err);
    if (rc == HOLD_OK)
        rc = save_mark(o, spec, err);
    if (rc == HOLD_OK)
        rc = hold_train(&input, &cli->ctx, &result, err);
    if (rc == HOLD_OK) {
        hold_cli_clear(cli);
        hold_log(&cli->ctx, HOLD_INFO, "train",
                 "%lld steps, loss %.4f to %.4f, %lld tokens in %.1f s (%.0f tok/s), peak %.2f GB",
                 (long long)result.steps, result.first_loss, result.last_loss,
                 (long long)result.tokens, result.seconds,
                 result.seconds > 0 ? (double)result.tokens / result.seconds : 0.0,
                 (double)hold_peak_memory() / 1e9);
    }
    if (lock >= 0)
        hold_lock_drop(lock);
    hold_str_release(&lock_path);
    hold_str_release(&work);
    return rc;
}

static int run(struct hold_cli *cli, void *opts, int n_args, char **args, struct hold_error *err) {
    struct options *o = opts;
    (void)n_args;
    (void)args;
    struct hold_device *device = NULL;
    struct hold_model model = {0};
    struct hold_rows rows = {0};
    struct hold_set set = {0};
    struct hold_str path = HOLD_STR_INIT;
    if (o->data[0] == '\0')
        return hold_fail(err, HOLD_EUSAGE, "--data FILE is missing");
    int rc = check_output(o->output, err);
    if (rc == HOLD_OK)
        rc = hold_rows_read(&rows, o->data, NULL, err);
    if (rc == HOLD_OK)
        rc = hold_cli_device(cli, &device, err);
    if (rc == HOLD_OK)
        rc = hold_model_locate(hold_str_text(&cli->models), o->model, &path, err);
    if (rc == HOLD_OK)
        rc = hold_cli_model(cli, o->model, o->adapter, device, &model, err);
    if (rc == HOLD_OK) {
        struct hold_renderer r = hold_cli_renderer(&model, o->train.max_length);
        rc = hold_render_set(&r, &rows, &set, NULL, err);
    }
    if (rc == HOLD_OK && set.n_cut > 0)
        hold_log(&cli->ctx, HOLD_WARN, "train",
                 "%lld rows are longer than max_length %lld and were cut", (long long)set.n_cut,
                 (long long)o->train.max_length);
    if (rc == HOLD_OK && strcmp(o->train.tuning, "full") == 0) {
        rc = hold_model_make_full(&model, err);
    } else if (rc == HOLD_OK) {
        struct hold_lora_config c = {.r = o->train.lora_r,
                                     .alpha = o->train.lora_alpha,
                                     .dropout = o->train.lora_dropout,
                                     .target_modules = o->train.lora_target_modules,
                                     .seed = (uint64_t)o->train.seed};
        rc = hold_model_add_lora(&model, &c, err);
    }
    if (rc == HOLD_OK)
        rc = train_on(cli, o, &model, &set, err);
    if (rc == HOLD_OK)
        rc = write_result(o, &model, hold_str_text(&path), err);
    hold_set_release(&set);
    hold_rows_release(&rows);
    hold_model_release(&model);
    hold_device_free(device);
    hold_str_release(&path);
    return rc;
}

const struct hold_command hold_cmd_train = {
    .name = "train",
    .summary = "fine-tune a model on a file of rows",
    .usage = "-m MODEL --data FILE [options] -o DIR",
    .example = "  holdfast train --data rows.jsonl --learning-rate 1e-4 -o runs/mine",
    .options = options,
    .size = sizeof(struct options),
    .max_args = 0,
    .run = run,
    .more = hold_train_options,
};
