/* recipe_data.c: the named sets of a recipe: files, shares of them, owners, labels. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/rng.h"
#include "data/folder.h"
#include "data/unpack.h"
#include "lab/recipe_parts.h"

const char *hold_owner_name(enum hold_owner o) {
    static const char *const NAMES[] = {"defender", "attacker", "customer", "evaluator"};
    _Static_assert(sizeof NAMES / sizeof *NAMES == HOLD_OWNER_COUNT, "one name for every owner");
    return o < HOLD_OWNER_COUNT ? NAMES[o] : "?";
}

int hold_recipe_beside(const struct hold_recipe *r, const char *file, struct hold_str *out,
                       struct hold_error *err) {
    const char *slash = strrchr(r->path, '/');
    hold_str_clear(out);
    if (file[0] != '/' && slash != NULL)
        hold_str_add_bytes(out, r->path, (size_t)(slash - r->path) + 1);
    hold_str_add(out, file);
    return hold_str_check(out, err);
}

int hold_recipe_set(const struct hold_recipe *r, const struct hold_view *v, int *out,
                    struct hold_error *err) {
    const char *name = NULL, *names[256];
    size_t n = 0;
    int rc = hold_view_text(v, &name, err);
    if (rc < 0)
        return rc;
    for (int i = 0; i < r->n_data; i++) {
        if (strcmp(r->data[i].name, name) == 0) {
            *out = i;
            return HOLD_OK;
        }
        if (n < 256)
            names[n++] = r->data[i].name;
    }
    const char *near = hold_nearest(name, names, n);
    return hold_view_fail(v, err, "'%s' is not a set of 'data'%s%s%s", name,
                          near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
}

/* --- files --- */

/* A text file, maybe packed: one text row a line, empty lines left out. */
static int read_lines(struct hold_rows *rows, const char *path, struct hold_error *err) {
    struct hold_str text = HOLD_STR_INIT;
    int rc = hold_file_read(path, 0, &text, err);
    if (rc == HOLD_OK && (rc = hold_data_unpack(&text, err)) < 0) {
        char why[HOLD_ERROR_TEXT];
        memcpy(why, err->text, sizeof why);
        rc = hold_fail(err, rc, "%s: %s", path, why);
    }
    long bad = rc == HOLD_OK ? hold_utf8_check(hold_str_text(&text), text.len) : -1;
    if (bad >= 0)
        rc = hold_fail(err, HOLD_EDATA, "%s: byte %ld is not UTF-8", path, bad);
    if (rc == HOLD_OK) {
        rows->path = hold_strdup(path);
        rc = rows->path == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for rows") : HOLD_OK;
    }
    long line = 1;
    for (const char *p = hold_str_text(&text); rc == HOLD_OK && *p != '\0'; line++) {
        size_t n = strcspn(p, "\n"), keep = n > 0 && p[n - 1] == '\r' ? n - 1 : n;
        if (keep > 0) {
            json_t *o = json_pack("{s:s%}", "text", p, keep);
            rc = o == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for rows")
                           : hold_rows_add(rows, o, line, NULL, err);
            json_decref(o);
        }
        p += n + (p[n] == '\n');
    }
    hold_str_release(&text);
    return rc;
}

static bool is_lines(const char *path) {
    return hold_ends(path, ".txt") || hold_ends(path, ".txt.gz") || hold_ends(path, ".txt.zst");
}

/* Rows of one file, appended with their places. */
static int read_file(struct hold_data_set *d, const char *path, struct hold_error *err) {
    struct hold_rows rows = {0};
    int rc = is_lines(path) ? read_lines(&rows, path, err) : hold_rows_read(&rows, path, NULL, err);
    if (rc == HOLD_OK && d->rows.path == NULL) {
        d->rows = rows; /* most sets are one file */
        return HOLD_OK;
    }
    for (int64_t i = 0; rc == HOLD_OK && i < rows.n; i++)
        rc = hold_rows_share(&d->rows, &rows.row[i], err);
    hold_rows_release(&rows);
    return rc;
}

/* One file, or the parts of a folder's split: a list joined by newlines. */
static int read_files(struct hold_data_set *d, const char *files, struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    int rc = HOLD_OK;
    while (rc == HOLD_OK && hold_files_next(&files, &path)) {
        rc = hold_str_check(&path, err);
        if (rc == HOLD_OK)
            rc = read_file(d, hold_str_text(&path), err);
    }
    hold_str_release(&path);
    return rc;
}

static int add_file(struct hold_recipe *r, struct hold_data_set *d, const struct hold_view *v,
                    struct hold_error *err) {
    const char *file = NULL;
    struct hold_str path = HOLD_STR_INIT;
    int rc = hold_view_text(v, &file, err);
    if (rc == HOLD_OK)
        rc = hold_recipe_beside(r, file, &path, err);
    if (rc == HOLD_OK && !hold_exists(hold_str_text(&path)))
        rc = hold_view_fail(v, err, "no file %s", hold_str_text(&path));
    if (rc == HOLD_OK && hold_is_dir(hold_str_text(&path))) {
        struct hold_str dir = path;
        path = (struct hold_str)HOLD_STR_INIT;
        rc = hold_folder_find(hold_str_text(&dir), d->split, true, &path, err);
        hold_str_release(&dir);
    }
    if (rc == HOLD_OK)
        rc = read_files(d, hold_str_text(&path), err);
    hold_str_release(&path);
    return rc;
}

static int add_files(struct hold_recipe *r, struct hold_data_set *d, const struct hold_view *v,
                     struct hold_error *err) {
    struct hold_view files = hold_view_get(v, "files");
    if (files.value == NULL)
        return hold_view_fail(v, err, "'files' is missing");
    if (!json_is_array(files.value))
        return add_file(r, d, &files, err);
    int rc =
        json_array_size(files.value) > 0 ? HOLD_OK : hold_view_fail(&files, err, "names no file");
    for (size_t i = 0; rc == HOLD_OK && i < json_array_size(files.value); i++) {
        struct hold_view one = hold_view_at(&files, i);
        rc = add_file(r, d, &one, err);
    }
    return rc;
}

/* --- shares --- */

/* skip and limit over one fixed order, so that two sets of the same files with skip 0, limit k and
 * with skip k never share a row. */
static int take_share(struct hold_data_set *d, const struct hold_view *v, struct hold_error *err) {
    int64_t n = d->rows.n;
    if (d->skip == 0 && d->limit == 0)
        return HOLD_OK;
    if (d->skip >= n)
        return hold_view_fail(v, err, "skip: found %lld, the files have %lld rows",
                              (long long)d->skip, (long long)n);
    int64_t take = d->limit > 0 && d->limit < n - d->skip ? d->limit : n - d->skip;
    struct hold_rows out = {.path = hold_strdup(d->rows.path == NULL ? "" : d->rows.path)};
    void *memory = NULL;
    int rc = out.path == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for rows")
                              : hold_new(&memory, (size_t)n, sizeof(uint32_t), "an order", err);
    uint32_t *order = memory;
    struct hold_rng rng;
    hold_rng_init(&rng, 0, "recipe share", 0, 0);
    for (int64_t i = 0; rc == HOLD_OK && i < n; i++)
        order[i] = (uint32_t)i;
    if (rc == HOLD_OK)
        hold_rng_shuffle(&rng, order, (uint32_t)n);
    for (int64_t i = 0; rc == HOLD_OK && i < take; i++)
        rc = hold_rows_share(&out, &d->rows.row[order[d->skip + i]], err);
    hold_free(memory);
    if (rc < 0) {
        hold_rows_release(&out);
        return rc;
    }
    hold_rows_release(&d->rows);
    d->rows = out;
    return HOLD_OK;
}

int hold_rows_id(const struct hold_rows *rows, char id[65], struct hold_error *err) {
    struct hold_hash h;
    struct hold_str line = HOLD_STR_INIT;
    int rc = HOLD_OK;
    hold_hash_init(&h);
    for (int64_t i = 0; rc == HOLD_OK && i < rows->n; i++) {
        hold_str_clear(&line);
        rc = hold_json_canonical(rows->row[i].data, &line, err);
        hold_str_add_char(&line, '\n');
        if (rc == HOLD_OK)
            rc = hold_str_check(&line, err);
        if (rc == HOLD_OK)
            hold_hash_add(&h, hold_str_text(&line), line.len);
    }
    hold_hash_end(&h, id);
    hold_str_release(&line);
    return rc;
}

/* --- sets --- */

static int read_owner(const struct hold_view *v, enum hold_owner *out, struct hold_error *err) {
    struct hold_view owner = hold_view_get(v, "owner");
    const char *word = NULL, *names[HOLD_OWNER_COUNT];
    if (owner.value == NULL)
        return hold_view_fail(v, err,
                              "'owner' is missing: defender, attacker, customer or "
                              "evaluator");
    int rc = hold_view_text(&owner, &word, err);
    if (rc < 0)
        return rc;
    for (int i = 0; i < HOLD_OWNER_COUNT; i++) {
        names[i] = hold_owner_name((enum hold_owner)i);
        if (strcmp(names[i], word) == 0) {
            *out = (enum hold_owner)i;
            return HOLD_OK;
        }
    }
    const char *near = hold_nearest(word, names, HOLD_OWNER_COUNT);
    return hold_view_fail(&owner, err,
                          "found '%s', expected defender, attacker, customer or "
                          "evaluator%s%s%s",
                          word, near ? " (did you mean '" : "", near ? near : "",
                          near ? "'?)" : "");
}

static int read_credit(const struct hold_view *v, const char *key, const char **out,
                       struct hold_error *err) {
    struct hold_view credit = hold_view_get(v, key);
    return credit.value == NULL ? HOLD_OK : hold_view_text(&credit, out, err);
}

/* "data.tset.limit=4": what has neither files nor an owner is another set's name misspelt. */
static int check_new(const struct hold_recipe *r, const struct hold_view *v,
                     struct hold_error *err) {
    const char *names[256], *key, *name = r->data[r->n_data - 1].name;
    json_t *item, *sets = json_object_get(r->source, "data");
    size_t n = 0;
    if (json_object_get(v->value, "files") != NULL || json_object_get(v->value, "owner") != NULL)
        return HOLD_OK;
    json_object_foreach(sets, key, item) if (n < 256 && strcmp(key, name) != 0) names[n++] = key;
    const char *near = hold_nearest(name, names, n);
    return hold_view_fail(v, err, "a set of this name has no 'files' and no 'owner'%s%s%s",
                          near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
}

/* A word of a short list, as its number; nothing where the key is missing. */
struct word {
    const char *word;
    int value;
};
static const struct word SPLITS[] = {
    {"train", HOLD_SPLIT_TRAIN}, {"valid", HOLD_SPLIT_VALID}, {"test", HOLD_SPLIT_TEST}, {0}};
static const struct word SIDES[] = {
    {"chosen", HOLD_SIDE_CHOSEN}, {"rejected", HOLD_SIDE_REJECTED}, {0}};

static int read_word(const struct hold_view *v, const char *key, const struct word *words, int *out,
                     struct hold_error *err) {
    struct hold_view one = hold_view_get(v, key);
    struct hold_str all = HOLD_STR_INIT;
    const char *found = NULL;
    int rc = one.value == NULL ? HOLD_OK : hold_view_text(&one, &found, err);
    if (rc < 0 || one.value == NULL)
        return rc;
    for (int i = 0; words[i].word != NULL; i++) {
        if (strcmp(words[i].word, found) == 0) {
            *out = words[i].value;
            hold_str_release(&all);
            return HOLD_OK;
        }
        hold_str_addf(&all, "%s%s", i > 0 ? " or " : "", words[i].word);
    }
    rc = hold_view_fail(&one, err, "found '%s', expected %s", found, hold_str_text(&all));
    hold_str_release(&all);
    return rc;
}

static int read_set(struct hold_recipe *r, struct hold_data_set *d, const struct hold_view *v,
                    struct hold_error *err) {
    static const char *const KEYS[] = {"files",  "owner",   "task",  "limit",      "skip",
                                       "source", "licence", "split", "preference", NULL};
    struct hold_view task, limit, skip;
    int split = HOLD_SPLIT_TRAIN, side = HOLD_SIDE_ONLY;
    int64_t left_out = 0;
    int rc = hold_view_keys(v, KEYS, err);
    if (rc < 0)
        return rc;
    task = hold_view_get(v, "task");
    limit = hold_view_get(v, "limit");
    skip = hold_view_get(v, "skip");
    rc = check_new(r, v, err);
    if (rc == HOLD_OK)
        rc = read_owner(v, &d->owner, err);
    if (rc == HOLD_OK && task.value != NULL)
        rc = hold_view_text(&task, &d->task, err);
    if (rc == HOLD_OK && limit.value != NULL)
        rc = hold_view_int(&limit, 0, 100000000, &d->limit, err);
    if (rc == HOLD_OK && skip.value != NULL)
        rc = hold_view_int(&skip, 0, 100000000, &d->skip, err);
    if (rc == HOLD_OK)
        rc = read_credit(v, "source", &d->source, err);
    if (rc == HOLD_OK)
        rc = read_credit(v, "licence", &d->licence, err);
    if (rc == HOLD_OK)
        rc = read_word(v, "split", SPLITS, &split, err);
    if (rc == HOLD_OK)
        rc = read_word(v, "preference", SIDES, &side, err);
    d->split = (enum hold_split)split;
    if (rc == HOLD_OK)
        rc = add_files(r, d, v, err);
    if (rc == HOLD_OK)
        rc = hold_rows_take_side(&d->rows, (enum hold_side)side, &left_out, NULL, err);
    if (rc == HOLD_OK && d->rows.n == 0)
        rc = hold_view_fail(v, err, "its files have no rows");
    if (rc == HOLD_OK)
        rc = take_share(d, v, err);
    return rc < 0 ? rc : hold_rows_id(&d->rows, d->content_id, err);
}

int hold_recipe_data(struct hold_recipe *r, const struct hold_view *root, struct hold_error *err) {
    struct hold_view data = hold_view_get(root, "data");
    if (data.value == NULL)
        return HOLD_OK;
    if (!json_is_object(data.value))
        return hold_view_fail(&data, err, "found %s, expected named sets",
                              hold_json_kind(data.value));
    void *memory = NULL;
    int rc = hold_new(&memory, json_object_size(data.value) + 1, sizeof *r->data, "sets", err);
    r->data = memory;
    const char *name;
    json_t *item;
    json_object_foreach((json_t *)data.value, name, item) {
        if (rc < 0)
            break;
        struct hold_view v = hold_view_get(&data, name);
        struct hold_data_set *d = &r->data[r->n_data++];
        d->name = name; /* lives as long as r->source */
        rc = read_set(r, d, &v, err);
    }
    return rc;
}

int hold_recipe_labels(struct hold_recipe *r, const struct hold_view *v, struct hold_error *err) {
    const char *file = NULL;
    struct hold_str path = HOLD_STR_INIT;
    json_t *o = NULL;
    void *memory = NULL;
    int rc = HOLD_OK;
    const json_t *list = v->value;
    if (!json_is_array(list)) {
        rc = hold_view_text(v, &file, err);
        if (rc == HOLD_OK)
            rc = hold_recipe_beside(r, file, &path, err);
        if (rc == HOLD_OK && !hold_exists(hold_str_text(&path)))
            rc = hold_view_fail(v, err, "no file %s", hold_str_text(&path));
        if (rc == HOLD_OK)
            rc = hold_json_load(&o, hold_str_text(&path), err);
        list = json_is_array(o) ? o : json_object_get(o, "labels");
        if (rc == HOLD_OK && !json_is_array(list))
            rc = hold_view_fail(v, err, "%s holds no list 'labels'", hold_str_text(&path));
    }
    if (rc == HOLD_OK)
        rc = hold_new(&memory, json_array_size(list) + 1, sizeof *r->labels, "labels", err);
    r->labels = memory;
    for (size_t i = 0; rc == HOLD_OK && i < json_array_size(list); i++) {
        const char *label = json_string_value(json_array_get(list, i));
        if (label == NULL)
            rc = hold_view_fail(v, err, "label %zu is not text", i + 1);
        else if ((r->labels[r->n_labels++] = hold_arena_strdup(&r->arena, label)) == NULL)
            rc = hold_fail(err, HOLD_ENOMEMORY, "no memory for labels");
    }
    json_decref(o);
    hold_str_release(&path);
    return rc;
}
