/* checkpoint.c: everything a run needs to go on bit for bit, written so that only whole ones are
 * ever seen.
 *
 *     work_dir/checkpoint-N/state.safetensors   theta, m, v, every declared buffer
 *     work_dir/checkpoint-N/state.json          spec, step, streams, methods, metrics' length, hash
 *
 * A checkpoint is written into a temporary folder, synced, and renamed; older ones go only after
 * the new one was read back.  A damaged one is skipped, loudly, for the one before it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "formats/safetensors.h"
#include "train/run.h"

enum { KEEP = 2 };

/* --- the vectors --- */

struct vectors {
    int n;
    const char *name[HOLD_MAX_BUFFERS + 3];
    struct hold_ptr at[HOLD_MAX_BUFFERS + 3];
};

static struct vectors list_vectors(const struct hold_run *run) {
    struct vectors v = {0};
    v.name[v.n] = "theta";
    v.at[v.n++] = run->model->flat;
    v.name[v.n] = "optimizer.m";
    v.at[v.n++] = run->m;
    if (!hold_ptr_null(run->v)) {
        v.name[v.n] = "optimizer.v";
        v.at[v.n++] = run->v;
    }
    for (int i = HOLD_THETA + 1; i < run->n_buffers; i++) {
        v.name[v.n] = run->buffers[i].name;
        v.at[v.n++] = run->buffers[i].data;
    }
    return v;
}

struct on_device {
    struct hold_device *device;
    const struct vectors *vectors;
};

static void fetch(void *user, int64_t i, int64_t first, int64_t n, float *out) {
    const struct on_device *v = user;
    v->device->k->read(v->device, out, hold_at_f32(v->vectors->at[i], first), n * 4);
}

/* Piece by piece: saving costs no memory beside the run's. */
static int save_vectors(struct hold_run *run, const char *path, struct hold_error *err) {
    struct vectors v = list_vectors(run);
    struct hold_to_store list[HOLD_MAX_BUFFERS + 3] = {0};
    for (int i = 0; i < v.n; i++)
        list[i] = (struct hold_to_store){.name = v.name[i],
                                         .type = HOLD_ST_F32,
                                         .n_dims = 1,
                                         .dim = {run->model->n_flat, 1, 1, 1}};
    struct on_device from = {run->model->device, &v};
    struct hold_store_source source = {fetch, &from};
    return hold_safetensors_write_from(path, list, v.n, &source, NULL, err);
}

static int load_vectors(struct hold_run *run, const char *path, struct hold_error *err) {
    struct vectors v = list_vectors(run);
    struct hold_safetensors *file = NULL;
    struct hold_device *d = run->model->device;
    int64_t n = run->model->n_flat, count = 0;
    int rc = hold_safetensors_open(&file, path, err);
    if (rc < 0)
        return rc;
    const struct hold_stored *stored = hold_safetensors_tensors(file, &count);
    void *host = NULL;
    rc = hold_new(&host, (size_t)n, sizeof(float), "a checkpoint", err);
    /* All are looked at before the first is written: a checkpoint is taken whole or not at all. */
    for (int i = 0; rc == HOLD_OK && i < v.n; i++) {
        const struct hold_stored *t = hold_stored_find(stored, count, v.name[i]);
        if (t == NULL || t->type != HOLD_ST_F32 || hold_stored_count(t) != n)
            rc = hold_fail(err, HOLD_EFORMAT, "%s: vector '%s' is missing or has another size",
                           path, v.name[i]);
    }
    for (int i = 0; rc == HOLD_OK && i < v.n; i++) {
        rc = hold_stored_to_f32(hold_stored_find(stored, count, v.name[i]), 0, n, host, err);
        if (rc == HOLD_OK)
            d->k->write(d, v.at[i], host, n * 4);
    }
    hold_free(host);
    hold_safetensors_free(file);
    return rc;
}

/* --- the rest --- */

static json_t *streams_json(const struct hold_run *run) {
    json_t *a = json_array();
    int bad = 0;
    for (int i = 0; i < run->n_streams; i++)
        bad |=
            json_array_append_new(a, json_pack("{s:s, s:I, s:I}", "name", run->streams[i].name,
                                               "epoch", (json_int_t)run->streams[i].epoch,
                                               "position", (json_int_t)run->streams[i].position));
    return hold_json_whole(a, bad);
}

static json_t *methods_json(const struct hold_run *run) {
    json_t *a = json_array();
    int bad = 0;
    for (int i = 0; i < run->input->n_methods; i++) {
        const struct hold_hooked *m = &run->input->methods[i];
        json_t *state = hold_options_to_json(m->hooks->persist, m->state);
        bad |= json_array_append_new(
            a, json_pack("{s:s, s:o}", "name", m->hooks->name, "state", state));
    }
    return hold_json_whole(a, bad);
}

static json_t *evaluated_json(const struct hold_run *run) {
    const struct hold_evaluated *v = &run->evaluated;
    return json_pack("{s:I, s:I, s:I, s:f, s:f}", "n", (json_int_t)v->n, "best_step",
                     (json_int_t)v->best_step, "since", (json_int_t)v->since, "last", v->last,
                     "best", v->best);
}

static int restore_evaluated(struct hold_run *run, const json_t *o, const char *where,
                             struct hold_error *err) {
    struct hold_evaluated v = {0};
    if (!json_is_object(o))
        return hold_fail(err, HOLD_EFORMAT, "%s: 'evaluated' is missing", where);
    int rc = hold_json_get_int(o, "n", &v.n, where, err);
    if (rc == HOLD_OK)
        rc = hold_json_get_int(o, "best_step", &v.best_step, where, err);
    if (rc == HOLD_OK)
        rc = hold_json_get_int(o, "since", &v.since, where, err);
    if (rc == HOLD_OK)
        rc = hold_json_get_real(o, "last", &v.last, where, err);
    if (rc == HOLD_OK)
        rc = hold_json_get_real(o, "best", &v.best, where, err);
    if (rc == HOLD_OK)
        run->evaluated = v;
    return rc;
}

static int write_state(struct hold_run *run, const char *dir, const char *hash,
                       struct hold_error *err) {
    long metrics = 0;
    if (run->metrics != NULL) {
        if (fflush(run->metrics) != 0)
            return hold_fail_errno(err, errno, "metrics.jsonl: writing failed");
        if (fsync(fileno(run->metrics)) != 0)
            return hold_fail_errno(err, errno, "metrics.jsonl: syncing");
        metrics = ftell(run->metrics);
        if (metrics < 0)
            return hold_fail_errno(err, errno, "metrics.jsonl: its length is unknown");
    }
    json_t *o = json_pack(
        "{s:i, s:s, s:I, s:i, s:I, s:f, s:f, s:f, s:o, s:o, s:o, s:I, s:s}", "schema", 1, "spec",
        run->input->spec == NULL ? "" : run->input->spec, "step", (json_int_t)run->step, "owed",
        (int)run->owed, "tokens", (json_int_t)run->result.tokens, "seconds", run->result.seconds,
        "first_loss", run->result.first_loss, "last_loss", run->result.last_loss, "streams",
        streams_json(run), "methods", methods_json(run), "evaluated", evaluated_json(run),
        "metrics_bytes", (json_int_t)metrics, "sha256", hash);
    if (o == NULL)
        return hold_fail(err, HOLD_ENOMEMORY, "no memory for a checkpoint");
    struct hold_str path = HOLD_STR_INIT;
    hold_path_join(&path, dir, "state.json");
    int rc = hold_json_save(hold_str_text(&path), o, err);
    json_decref(o);
    hold_str_release(&path);
    return rc;
}

/* Step of a name "checkpoint-N", -1 for others. */
static int64_t step_of(const char *name) {
    if (!hold_starts(name, "checkpoint-"))
        return -1;
    char *end = NULL;
    long long n = strtoll(name + strlen("checkpoint-"), &end, 10);
    return end != NULL && *end == '\0' && n >= 0 ? (int64_t)n : -1;
}

static int compare_steps(const void *a, const void *b) {
    int64_t x = step_of(*(char *const *)a), y = step_of(*(char *const *)b);
    return x < y ? -1 : x > y;
}

/* Names of checkpoints, oldest first. */
static int list_checkpoints(const char *dir, char ***names, size_t *n, struct hold_error *err) {
    int rc = hold_dir_list(dir, names, n, err);
    if (rc < 0)
        return rc;
    size_t kept = 0;
    for (size_t i = 0; i < *n; i++) {
        if (step_of((*names)[i]) >= 0)
            (*names)[kept++] = (*names)[i];
        else
            hold_free((*names)[i]);
    }
    *n = kept;
    if (kept > 1)
        qsort(*names, kept, sizeof **names, compare_steps);
    return HOLD_OK;
}

static int drop_old(const char *dir, struct hold_error *err) {
    char **names = NULL;
    size_t n = 0;
    int rc = list_checkpoints(dir, &names, &n, err);
    struct hold_str path = HOLD_STR_INIT;
    for (size_t i = 0; rc == HOLD_OK && i + KEEP < n; i++) {
        hold_path_join(&path, dir, names[i]);
        rc = hold_remove_tree(hold_str_text(&path), err);
    }
    hold_str_release(&path);
    hold_names_free(names, n);
    return rc;
}

int hold_checkpoint_save(struct hold_run *run, struct hold_error *err) {
    const char *dir = run->input->work_dir;
    struct hold_str temp = HOLD_STR_INIT, final = HOLD_STR_INIT, file = HOLD_STR_INIT;
    char hash[HOLD_HASH_HEX], again[HOLD_HASH_HEX];
    hold_str_addf(&temp, "%s/saving-%ld", dir, (long)getpid());
    hold_str_addf(&final, "%s/checkpoint-%lld", dir, (long long)run->step);
    hold_path_join(&file, hold_str_text(&temp), "state.safetensors");
    int rc = hold_remove_tree(hold_str_text(&temp), err);
    if (rc == HOLD_OK)
        rc = hold_mkdirs(hold_str_text(&temp), err);
    if (rc == HOLD_OK)
        rc = save_vectors(run, hold_str_text(&file), err);
    if (rc == HOLD_OK)
        rc = hold_hash_file(hold_str_text(&file), hash, err);
    if (rc == HOLD_OK)
        rc = write_state(run, hold_str_text(&temp), hash, err);
    if (rc == HOLD_OK) /* one of this step was skipped as damaged when the run went on */
        rc = hold_remove_tree(hold_str_text(&final), err);
    if (rc == HOLD_OK)
        rc = hold_rename_new(hold_str_text(&temp), hold_str_text(&final), err);
    if (rc == HOLD_OK) {
        hold_path_join(&file, hold_str_text(&final), "state.safetensors");
        rc = hold_hash_file(hold_str_text(&file), again, err);
        if (rc == HOLD_OK && strcmp(hash, again) != 0)
            rc = hold_fail(err, HOLD_EIO, "%s: reads back differently from what was written",
                           hold_str_text(&file));
    }
    if (rc == HOLD_OK)
        rc = drop_old(dir, err);
    if (rc < 0) {
        struct hold_error ignored = {0};
        (void)hold_remove_tree(hold_str_text(&temp), &ignored);
    }
    hold_str_release(&temp);
    hold_str_release(&final);
    hold_str_release(&file);
    return rc;
}

static int restore_methods(struct hold_run *run, const json_t *methods, const char *where,
                           struct hold_error *err) {
    if (json_array_size(methods) != (size_t)run->input->n_methods)
        return hold_fail(err, HOLD_EFORMAT, "%s: methods differ from this run's", where);
    for (int i = 0; i < run->input->n_methods; i++) {
        const struct hold_hooked *m = &run->input->methods[i];
        const json_t *item = json_array_get(methods, (size_t)i);
        const char *name = json_string_value(json_object_get(item, "name"));
        if (name == NULL || strcmp(name, m->hooks->name) != 0)
            return hold_fail(err, HOLD_EFORMAT, "%s: methods differ from this run's", where);
        const json_t *state = json_object_get(item, "state");
        const struct hold_option *o = m->hooks->persist;
        for (; o != NULL && o->type != HOLD_OPT_END; o++) {
            const json_t *v = json_object_get(state, o->name);
            if (v == NULL)
                return hold_fail(err, HOLD_EFORMAT, "%s: state '%s.%s' is missing", where, name,
                                 o->name);
            int rc = hold_options_set_json(m->hooks->persist, m->state, o->name, v, where, err);
            if (rc < 0)
                return rc;
        }
    }
    return HOLD_OK;
}

static int restore_streams(struct hold_run *run, const json_t *streams, const char *where,
                           struct hold_error *err) {
    if (json_array_size(streams) != (size_t)run->n_streams)
        return hold_fail(err, HOLD_EFORMAT, "%s: streams differ from this run's", where);
    for (size_t i = 0; i < json_array_size(streams); i++) {
        const json_t *s = json_array_get(streams, i);
        const char *name;
        int64_t epoch, position;
        int rc = hold_json_get_text(s, "name", &name, where, err);
        if (rc == HOLD_OK)
            rc = hold_json_get_int(s, "epoch", &epoch, where, err);
        if (rc == HOLD_OK)
            rc = hold_json_get_int(s, "position", &position, where, err);
        if (rc == HOLD_OK)
            rc = hold_stream_restore(run, name, epoch, position, err);
        if (rc < 0)
            return rc;
    }
    return HOLD_OK;
}

/* The log goes on where the checkpoint was made; later rows are written again. */
static int reopen_metrics(struct hold_run *run, int64_t bytes, struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    hold_path_join(&path, run->input->work_dir, "metrics.jsonl");
    const char *p = hold_str_text(&path);
    int rc = HOLD_OK;
    if (hold_file_size(p) < bytes)
        rc = hold_fail(err, HOLD_EFORMAT, "%s: is shorter than its checkpoint says", p);
    if (rc == HOLD_OK)
        run->metrics = fopen(p, "r+");
    if (rc == HOLD_OK && (run->metrics == NULL || ftruncate(fileno(run->metrics), bytes) != 0 ||
                          fseek(run->metrics, 0, SEEK_END) != 0))
        rc = hold_fail_errno(err, errno, "%s: cannot be continued", p);
    hold_str_release(&path);
    return rc;
}

static int load_one(struct hold_run *run, const char *dir, struct hold_error *err) {
    struct hold_str state = HOLD_STR_INIT, file = HOLD_STR_INIT;
    hold_path_join(&state, dir, "state.json");
    hold_path_join(&file, dir, "state.safetensors");
    const char *where = hold_str_text(&state);
    json_t *o = NULL;
    const char *spec = NULL, *hash = NULL;
    char found[HOLD_HASH_HEX];
    int64_t step = 0, tokens = 0, metrics = 0, owed = HOLD_OWES_NOTHING;
    double first_loss = 0.0, last_loss = 0.0, seconds = 0.0;
    int rc = hold_json_load(&o, where, err);
    if (rc == HOLD_OK)
        rc = hold_json_get_text(o, "spec", &spec, where, err);
    if (rc == HOLD_OK && strcmp(spec, run->input->spec == NULL ? "" : run->input->spec) != 0)
        rc = hold_fail(err, HOLD_EBUSY, "%s: belongs to another run (other data, options or base)",
                       where);
    if (rc == HOLD_OK)
        rc = hold_json_get_text(o, "sha256", &hash, where, err);
    if (rc == HOLD_OK)
        rc = hold_hash_file(hold_str_text(&file), found, err);
    if (rc == HOLD_OK && strcmp(hash, found) != 0)
        rc = hold_fail(err, HOLD_EFORMAT, "%s: does not have the hash its checkpoint names",
                       hold_str_text(&file));
    if (rc == HOLD_OK)
        rc = hold_json_get_int(o, "step", &step, where, err);
    if (rc == HOLD_OK)
        rc = hold_json_get_int(o, "tokens", &tokens, where, err);
    if (rc == HOLD_OK)
        rc = hold_json_get_real(o, "first_loss", &first_loss, where, err);
    /* Checkpoints of older versions have none of these three. */
    if (rc == HOLD_OK)
        rc = hold_json_real_or(o, "last_loss", 0.0, &last_loss, where, err);
    if (rc == HOLD_OK)
        rc = hold_json_real_or(o, "seconds", 0.0, &seconds, where, err);
    if (rc == HOLD_OK)
        rc = hold_json_int_or(o, "owed", HOLD_OWES_NOTHING, &owed, where, err);
    if (rc == HOLD_OK && (owed < 0 || owed >= HOLD_OWED_COUNT))
        rc = hold_fail(err, HOLD_EFORMAT, "%s: owed: found %lld, expected 0 to %d", where,
                       (long long)owed, HOLD_OWED_COUNT - 1);
    if (rc == HOLD_OK)
        rc = hold_json_get_int(o, "metrics_bytes", &metrics, where, err);
    if (rc == HOLD_OK && (step < 0 || step > run->steps))
        rc = hold_fail(err, HOLD_EFORMAT, "%s: found step %lld, expected 0 to %lld", where,
                       (long long)step, (long long)run->steps);
    if (rc == HOLD_OK)
        rc = restore_streams(run, json_object_get(o, "streams"), where, err);
    if (rc == HOLD_OK)
        rc = restore_methods(run, json_object_get(o, "methods"), where, err);
    if (rc == HOLD_OK)
        rc = restore_evaluated(run, json_object_get(o, "evaluated"), where, err);
    if (rc == HOLD_OK)
        rc = reopen_metrics(run, metrics, err);
    if (rc == HOLD_OK) /* last, so that a checkpoint that is not taken leaves theta alone */
        rc = load_vectors(run, hold_str_text(&file), err);
    if (rc == HOLD_OK) {
        run->step = step;
        run->owed = (enum hold_owed)owed;
        run->result.tokens = tokens;
        run->result.seconds = seconds;
        run->result.first_loss = first_loss;
        run->result.last_loss = last_loss;
    }
    json_decref(o);
    hold_str_release(&state);
    hold_str_release(&file);
    return rc;
}

/* What a run that died left half done: folders of saves and temporary files of our writer.  The
 * caller holds the folder's lock, so nobody is writing them. */
static int drop_leftovers(const char *dir, struct hold_error *err) {
    enum { TEMP_NAME = 5 + 16 }; /* ".tmp-" and the number of base/file.c */
    char **names = NULL;
    size_t n = 0;
    int rc = hold_dir_list(dir, &names, &n, err);
    struct hold_str path = HOLD_STR_INIT;
    for (size_t i = 0; rc == HOLD_OK && i < n; i++) {
        const char *name = names[i];
        size_t digits = hold_starts(name, ".tmp-") ? strspn(name + 5, "0123456789abcdef") : 0;
        bool temp = digits == TEMP_NAME - 5 && name[TEMP_NAME] == '\0';
        if (!temp &&
            !(hold_starts(name, "saving-") && name[7 + strspn(name + 7, "0123456789")] == '\0'))
            continue;
        hold_path_join(&path, dir, name);
        rc = hold_remove_tree(hold_str_text(&path), err);
    }
    hold_str_release(&path);
    hold_names_free(names, n);
    return rc;
}

int hold_checkpoint_load(struct hold_run *run, bool *found, struct hold_error *err) {
    *found = false;
    const char *dir = run->input->work_dir;
    char **names = NULL;
    size_t n = 0;
    int rc = hold_mkdirs(dir, err);
    if (rc == HOLD_OK)
        rc = drop_leftovers(dir, err);
    if (rc == HOLD_OK)
        rc = list_checkpoints(dir, &names, &n, err);
    struct hold_str path = HOLD_STR_INIT;
    for (size_t i = n; rc == HOLD_OK && !*found && i > 0; i--) {
        hold_path_join(&path, dir, names[i - 1]);
        int one = load_one(run, hold_str_text(&path), err);
        if (one == HOLD_OK) {
            *found = true;
            hold_log(run->ctx, HOLD_INFO, "train", "going on from %s", hold_str_text(&path));
        } else if (one == HOLD_EFORMAT || one == HOLD_EDATA || one == HOLD_EUSAGE ||
                   one == HOLD_ENOTFOUND) { /* of the file, its JSON, a value, a missing file */
            hold_log(run->ctx, HOLD_WARN, "train", "skipping a damaged checkpoint: %s", err->text);
            if (run->metrics != NULL)
                fclose(run->metrics);
            run->metrics = NULL;
            for (int k = 0; k < run->n_streams; k++)
                run->streams[k].epoch = run->streams[k].position = 0;
            run->evaluated = (struct hold_evaluated){0};
        } else {
            rc = one;
        }
    }
    hold_str_release(&path);
    hold_names_free(names, n);
    return rc;
}
