/* cmd_model_init.c: `holdfast model init`: a model of random weights from a folder that has none.
 *
 * Matrices are N(0, 0.02^2), those that write into the residual stream N(0, 0.02^2 / (2 n_layers))
 * (Radford et al. 2019), gains are 1, biases 0.  Each tensor's numbers depend on (seed, its name)
 * alone.
 */
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/rng.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "formats/shape.h"

#define T struct init_options
struct init_options {
    const char *output;
    int64_t seed;
};
static const struct hold_option init_options[] = {
    HOLD_CLI_OUTPUT(T, "Hugging Face folder to make"),
    HOLD_INT(T, seed, 42, 0, 9007199254740991, "of the random numbers"),
    {0},
};
#undef T

static const double SPREAD = 0.02;

/* Files of the folder that the new one keeps as they are. */
static const struct {
    const char *name;
    bool needed;
} KEPT[] = {{"config.json", true},
            {"tokenizer.json", true},
            {"tokenizer_config.json", false},
            {"special_tokens_map.json", false},
            {"chat_template.jinja", false},
            {"generation_config.json", false}};

static int draw(const struct hold_shape *shape, const struct hold_part *part, uint64_t seed,
                float **out, struct hold_error *err) {
    size_t n = (size_t)(part->dim[0] * (part->n_dims > 1 ? part->dim[1] : 1));
    void *memory = NULL;
    int rc = hold_new(&memory, n, sizeof(float), part->hf, err);
    if (rc < 0)
        return rc;
    float *w = memory;
    bool residual = hold_ends(part->hf, "o_proj.weight") || hold_ends(part->hf, "down_proj.weight");
    double spread = residual ? SPREAD / sqrt(2.0 * (double)shape->n_layers) : SPREAD;
    struct hold_rng rng;
    hold_rng_init(&rng, seed, part->hf, 0, 0);
    for (size_t i = 0; i < n; i++)
        w[i] = part->n_dims == 1 ? part->fresh : (float)(spread * hold_rng_normal(&rng));
    *out = w;
    return HOLD_OK;
}

static int write_weights(const struct hold_shape *shape, uint64_t seed, const char *path,
                         struct hold_error *err) {
    int64_t n = hold_part_count(shape);
    void *parts = NULL, *list = NULL;
    int rc = hold_new(&parts, (size_t)n, sizeof(struct hold_part), "a list of tensors", err);
    if (rc == HOLD_OK)
        rc = hold_new(&list, (size_t)n, sizeof(struct hold_to_store), "a list of tensors", err);
    struct hold_part *part = parts;
    struct hold_to_store *to = list;
    for (int64_t i = 0; rc == HOLD_OK && i < n; i++) {
        float *data = NULL;
        hold_part_get(shape, i, &part[i]);
        rc = draw(shape, &part[i], seed, &data, err);
        to[i] = (struct hold_to_store){.name = part[i].hf,
                                       .type = HOLD_ST_F32,
                                       .n_dims = part[i].n_dims,
                                       .dim = {part[i].dim[0], part[i].dim[1], 1, 1},
                                       .data = data};
    }
    json_t *metadata = json_pack("{s:s}", "format", "pt");
    if (rc == HOLD_OK && metadata == NULL)
        rc = hold_fail(err, HOLD_ENOMEMORY, "no memory for a model's metadata");
    if (rc == HOLD_OK)
        rc = hold_safetensors_write(path, to, n, metadata, err);
    json_decref(metadata);
    for (int64_t i = 0; to != NULL && i < n; i++)
        hold_free((void *)to[i].data);
    hold_free(list);
    hold_free(parts);
    return rc;
}

static int read_shape(const char *dir, struct hold_shape *shape, struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    json_t *config = NULL;
    hold_path_join(&path, dir, "config.json");
    int rc = hold_str_check(&path, err);
    if (rc == HOLD_OK)
        rc = hold_json_load(&config, hold_str_text(&path), err);
    if (rc == HOLD_OK)
        rc = hold_shape_from_config(shape, config, hold_str_text(&path), err);
    json_decref(config);
    hold_str_release(&path);
    return rc;
}

static int copy_kept(const char *from, const char *to, struct hold_error *err) {
    struct hold_str source = HOLD_STR_INIT, target = HOLD_STR_INIT;
    int rc = HOLD_OK;
    for (size_t i = 0; rc == HOLD_OK && i < sizeof KEPT / sizeof *KEPT; i++) {
        hold_path_join(&source, from, KEPT[i].name);
        hold_path_join(&target, to, KEPT[i].name);
        rc = hold_str_check(&source, err);
        if (rc == HOLD_OK)
            rc = hold_str_check(&target, err);
        if (rc == HOLD_OK && (KEPT[i].needed || hold_exists(hold_str_text(&source))))
            rc = hold_copy_file(hold_str_text(&source), hold_str_text(&target), err);
    }
    hold_str_release(&source);
    hold_str_release(&target);
    return rc;
}

/* The folder is filled beside its place, opened as any model would be, and then put there. */
static int fill_folder(const char *from, const struct hold_shape *shape, uint64_t seed,
                       const char *part, struct hold_error *err) {
    struct hold_str weights = HOLD_STR_INIT;
    struct hold_model_files files = {0};
    hold_path_join(&weights, part, "model.safetensors");
    int rc = hold_str_check(&weights, err);
    if (rc == HOLD_OK)
        rc = hold_mkdirs(part, err);
    if (rc == HOLD_OK)
        rc = copy_kept(from, part, err);
    if (rc == HOLD_OK)
        rc = write_weights(shape, seed, hold_str_text(&weights), err);
    if (rc == HOLD_OK)
        rc = hold_model_files_open(&files, part, err);
    hold_model_files_release(&files);
    hold_str_release(&weights);
    return rc;
}

static int init(struct hold_cli *cli, void *opts, int n_args, char **args, struct hold_error *err) {
    const struct init_options *o = opts;
    struct hold_shape shape = {0};
    struct hold_str part = HOLD_STR_INIT;
    (void)n_args;
    int rc = hold_cli_check_new_dir(o->output, err);
    if (rc == HOLD_OK)
        rc = read_shape(args[0], &shape, err);
    /* "DIR/" and "DIR" are one folder. */
    hold_str_add(&part, o->output);
    while (part.len > 1 && hold_ends(hold_str_text(&part), "/"))
        hold_str_cut(&part, part.len - 1);
    hold_str_addf(&part, ".%ld.part", (long)getpid());
    if (rc == HOLD_OK)
        rc = hold_str_check(&part, err);
    if (rc == HOLD_OK) {
        rc = fill_folder(args[0], &shape, (uint64_t)o->seed, hold_str_text(&part), err);
        if (rc == HOLD_OK && hold_is_dir(o->output))
            rmdir(o->output); /* an empty one; anything else makes the renaming fail */
        if (rc == HOLD_OK)
            rc = hold_rename_new(hold_str_text(&part), o->output, err);
        struct hold_error later = {0};
        if (rc < 0)
            hold_remove_tree(hold_str_text(&part), &later);
    }
    if (rc == HOLD_OK)
        hold_log(&cli->ctx, HOLD_INFO, "model", "wrote %s", o->output);
    hold_str_release(&part);
    return rc;
}

const struct hold_command hold_cmd_model_init = {
    .name = "model init",
    .summary = "random weights for a folder of config.json and tokenizer files",
    .usage = "DIR -o DIR [--seed N]",
    .example = "  holdfast model init data/tiny/tokenizer --seed 1 -o runs/newborn",
    .options = init_options,
    .size = sizeof(struct init_options),
    .min_args = 1,
    .max_args = 1,
    .run = init,
};
