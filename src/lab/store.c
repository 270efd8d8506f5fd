/* store.c: where artifacts and specs lie, how they are found and what their ids are. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "lab/store_parts.h"

enum { PREFIX_MIN = 6, FILE_MOST = 1 << 26 /* bytes of a pointer or manifest; real ones: KiB */ };
static const double LEASE_SECONDS = 30.0, LOCK_SECONDS = 20.0;
static const char *const FOLDERS[] = {"spec", "artifact", "failed", "work", "pin", "run", "lock"};
enum { N_FOLDERS = sizeof FOLDERS / sizeof *FOLDERS };

/* --- places --- */

void hold_store_at(const struct hold_store *s, const char *folder, const char *name,
                   const char *suffix, struct hold_str *out) {
    hold_str_clear(out);
    hold_str_addf(out, "%s/%s/%s%s", s->path, folder, name, suffix);
}

void hold_store_artifact(const struct hold_store *s, const char *content, struct hold_str *out) {
    hold_store_at(s, "artifact", content, "", out);
}

const char *hold_store_path(const struct hold_store *s) {
    return s->path;
}

void hold_store_set_lease(struct hold_store *s, double seconds) {
    s->lease_seconds = seconds;
}

static int make_folders(struct hold_store *s, struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    int rc = HOLD_OK;
    for (int i = 0; rc == HOLD_OK && i < N_FOLDERS; i++) {
        hold_path_join(&path, s->path, FOLDERS[i]);
        rc = hold_str_check(&path, err);
        if (rc == HOLD_OK)
            rc = hold_mkdirs(hold_str_text(&path), err);
        if (rc == HOLD_OK && access(hold_str_text(&path), W_OK) != 0)
            rc = hold_fail_errno(err, errno, "%s", hold_str_text(&path));
    }
    hold_str_release(&path);
    return rc;
}

int hold_store_open(struct hold_store **out, const char *path, const struct hold_ctx *ctx,
                    struct hold_error *err) {
    void *memory = NULL;
    *out = NULL;
    int rc = hold_new(&memory, 1, sizeof(struct hold_store), "a store", err);
    if (rc < 0)
        return rc;
    struct hold_store *s = memory;
    s->ctx = ctx;
    s->lease_seconds = LEASE_SECONDS;
    s->path = hold_strdup(path);
    if (s->path == NULL)
        rc = hold_fail(err, HOLD_ENOMEMORY, "no memory for a store");
    if (rc == HOLD_OK)
        rc = make_folders(s, err);
    if (rc == HOLD_EIO && hold_is_dir(path)) {
        s->read_only = true;
        snprintf(s->why, sizeof s->why, "%.255s", err->text);
        hold_log(ctx, HOLD_WARN, "store", "%s: opened for reading only (%s)", path, s->why);
        *err = (struct hold_error){0};
        rc = HOLD_OK;
    }
    if (rc < 0) {
        hold_store_close(s);
        return rc;
    }
    *out = s;
    return HOLD_OK;
}

void hold_store_close(struct hold_store *s) {
    if (s == NULL)
        return;
    hold_free(s->path);
    hold_free(s->checked);
    hold_free(s);
}

int hold_store_writable(const struct hold_store *s, struct hold_error *err) {
    if (!s->read_only)
        return HOLD_OK;
    return hold_fail(err, HOLD_EIO,
                     "%s: the store cannot be written (%s); choose another with --store DIR",
                     s->path, s->why);
}

int hold_store_lock(struct hold_store *s, const char *id, int *fd, struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    char two[3] = {id[0], id[1], '\0'};
    hold_store_at(s, "lock", two, "", &path);
    double begun = hold_clock_now();
    int rc;
    while ((rc = hold_lock_take(hold_str_text(&path), fd, err)) == HOLD_EBUSY &&
           hold_clock_now() - begun < LOCK_SECONDS)
        usleep(5000);
    hold_str_release(&path);
    return rc;
}

/* --- ids --- */

int hold_spec_id(const json_t *spec, char id[HOLD_HASH_HEX], struct hold_error *err) {
    struct hold_str text = HOLD_STR_INIT;
    int rc = hold_json_canonical(spec, &text, err);
    if (rc == HOLD_OK)
        hold_hash_bytes(hold_str_text(&text), text.len, id);
    hold_str_release(&text);
    return rc;
}

struct walk {
    struct hold_hash hash;
    int64_t bytes;
};

static int add_file(struct walk *w, const char *path, const char *name, struct hold_error *err) {
    char hex[HOLD_HASH_HEX];
    int64_t bytes = hold_file_size(path);
    int rc = hold_hash_file(path, hex, err);
    if (rc < 0)
        return rc;
    struct hold_str entry = HOLD_STR_INIT;
    hold_str_addf(&entry, "%s\n%lld\n%s\n", name, (long long)bytes, hex);
    rc = hold_str_check(&entry, err);
    if (rc == HOLD_OK)
        hold_hash_add(&w->hash, hold_str_text(&entry), entry.len);
    hold_str_release(&entry);
    w->bytes += bytes > 0 ? bytes : 0;
    return rc;
}

static int add_folder(struct walk *w, const char *dir, const char *prefix, int depth,
                      struct hold_error *err) {
    char **names = NULL;
    size_t n = 0;
    struct hold_str path = HOLD_STR_INIT, name = HOLD_STR_INIT;
    int rc = depth > 8 ? hold_fail(err, HOLD_EFORMAT, "%s: folders are too deep", dir)
                       : hold_dir_list(dir, &names, &n, err);
    for (size_t i = 0; rc == HOLD_OK && i < n; i++) {
        if (depth == 0 && (strcmp(names[i], "manifest.json") == 0 || strcmp(names[i], "log") == 0))
            continue;
        struct stat st;
        hold_path_join(&path, dir, names[i]);
        hold_str_clear(&name);
        hold_str_addf(&name, "%s%s", prefix, names[i]);
        if (lstat(hold_str_text(&path), &st) != 0)
            rc = hold_fail_errno(err, errno, "%s", hold_str_text(&path));
        else if (S_ISREG(st.st_mode))
            rc = add_file(w, hold_str_text(&path), hold_str_text(&name), err);
        else if (S_ISDIR(st.st_mode)) {
            hold_str_add_char(&name, '/');
            rc = add_folder(w, hold_str_text(&path), hold_str_text(&name), depth + 1, err);
        } else
            rc = hold_fail(err, HOLD_EFORMAT, "%s: found something that is no file or folder",
                           hold_str_text(&path));
    }
    hold_names_free(names, n);
    hold_str_release(&path);
    hold_str_release(&name);
    return rc;
}

int hold_store_content_id(const char *dir, char content[HOLD_HASH_HEX], int64_t *bytes,
                          struct hold_error *err) {
    struct walk w = {.bytes = 0};
    hold_hash_init(&w.hash);
    int rc = add_folder(&w, dir, "", 0, err);
    hold_hash_end(&w.hash, content);
    *bytes = w.bytes;
    return rc;
}

/* --- finding --- */

static bool was_checked(const struct hold_store *s, const char *content) {
    for (int i = 0; i < s->n_checked; i++)
        if (strcmp(s->checked[i], content) == 0)
            return true;
    return false;
}

/* Bytes may rot or be edited: each artifact is hashed once by a process before it is used. */
static bool is_whole(struct hold_store *s, const char *content) {
    if (was_checked(s, content))
        return true;
    struct hold_str dir = HOLD_STR_INIT;
    struct hold_error e = {0};
    char found[HOLD_HASH_HEX];
    int64_t bytes = 0;
    hold_store_artifact(s, content, &dir);
    bool there = hold_is_dir(hold_str_text(&dir));
    int rc = there ? hold_store_content_id(hold_str_text(&dir), found, &bytes, &e) : HOLD_ENOTFOUND;
    bool whole = rc == HOLD_OK && strcmp(found, content) == 0;
    if (!there)
        hold_log(s->ctx, HOLD_WARN, "store", "artifact %.12s is missing", content);
    else if (!whole)
        hold_log(s->ctx, HOLD_WARN, "store", "%s: its bytes are not those of its name%s%s",
                 hold_str_text(&dir), rc < 0 ? ": " : "", e.text);
    hold_str_release(&dir);
    if (whole) {
        void *grown = hold_realloc(s->checked, (size_t)(s->n_checked + 1) * sizeof *s->checked);
        if (grown != NULL) {
            s->checked = grown;
            memcpy(s->checked[s->n_checked++], content, HOLD_HASH_HEX);
        }
    }
    return whole;
}

/* A file of the store that is named by an id, which may have come from another file. */
static int load_named(struct hold_store *s, const char *folder, const char *id, const char *suffix,
                      struct hold_str *path, json_t **out, struct hold_error *err) {
    struct hold_str text = HOLD_STR_INIT;
    *out = NULL;
    if (!hold_is_id(id))
        return hold_fail(err, HOLD_EFORMAT, "%s/%s: '%.80s' is no id (64 digits of 0-9 a-f)",
                         s->path, folder, id);
    hold_store_at(s, folder, id, suffix, path);
    int rc = hold_file_read(hold_str_text(path), FILE_MOST, &text, err);
    if (rc == HOLD_OK)
        rc = hold_json_parse(out, hold_str_text(&text), text.len, hold_str_text(path), 1, err);
    if (rc == HOLD_OK && !json_is_object(*out)) {
        rc = hold_fail(err, HOLD_EFORMAT, "%s: not an object", hold_str_text(path));
        json_decref(*out);
        *out = NULL;
    }
    hold_str_release(&text);
    return rc;
}

static int read_pointer(struct hold_store *s, const char *id, json_t **out,
                        struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    int rc = load_named(s, "spec", id, ".json", &path, out, err);
    if (rc == HOLD_OK && !hold_is_id(json_string_value(json_object_get(*out, "content")))) {
        rc = hold_fail(err, HOLD_EFORMAT, "%s: names no content", hold_str_text(&path));
        json_decref(*out);
        *out = NULL;
    }
    hold_str_release(&path);
    return rc;
}

int hold_store_find(struct hold_store *s, const char *id, char content[HOLD_HASH_HEX], bool *found,
                    struct hold_error *err) {
    json_t *pointer = NULL;
    struct hold_error e = {0};
    *found = false;
    int rc = read_pointer(s, id, &pointer, &e);
    if (rc == HOLD_ENOTFOUND)
        return HOLD_OK;
    if (rc == HOLD_ENOMEMORY)
        return hold_fail(err, rc, "%s", e.text);
    if (rc < 0) {
        hold_log(s->ctx, HOLD_WARN, "store", "a damaged pointer is passed over: %s", e.text);
        return HOLD_OK;
    }
    snprintf(content, HOLD_HASH_HEX, "%s", json_string_value(json_object_get(pointer, "content")));
    *found = is_whole(s, content);
    json_decref(pointer);
    return HOLD_OK;
}

int hold_store_manifest(struct hold_store *s, const char *content, json_t **out,
                        struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    int rc = load_named(s, "artifact", content, "/manifest.json", &path, out, err);
    hold_str_release(&path);
    return rc;
}

int hold_store_spec_manifest(struct hold_store *s, const char *id, json_t **out,
                             struct hold_error *err) {
    json_t *pointer = NULL;
    int rc = read_pointer(s, id, &pointer, err);
    if (rc < 0)
        return rc;
    *out = json_incref(json_object_get(pointer, "manifest"));
    json_decref(pointer);
    return *out == NULL ? hold_fail(err, HOLD_EFORMAT, "spec %.12s has no manifest", id) : HOLD_OK;
}

/* The names in a folder (without suffix) that begin with prefix: their number, the first in id. */
static int names_with(struct hold_store *s, const char *folder, const char *prefix,
                      char id[HOLD_HASH_HEX], int *count, struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    char **names = NULL;
    size_t n = 0;
    *count = 0;
    hold_path_join(&path, s->path, folder);
    int rc = hold_dir_list(hold_str_text(&path), &names, &n, err);
    for (size_t i = 0; rc == HOLD_OK && i < n; i++)
        if (hold_starts(names[i], prefix) && strlen(names[i]) >= HOLD_HASH_HEX - 1) {
            char one[HOLD_HASH_HEX];
            snprintf(one, sizeof one, "%.64s", names[i]);
            if (hold_is_id(one) && (*count)++ == 0)
                memcpy(id, one, sizeof one);
        }
    hold_names_free(names, n);
    hold_str_release(&path);
    return rc;
}

static int check_prefix(const char *prefix, struct hold_error *err) {
    if (strlen(prefix) < PREFIX_MIN || strspn(prefix, "0123456789abcdef") != strlen(prefix))
        return hold_fail(err, HOLD_ENOTFOUND,
                         "'%s' is not a stage id (at least %d digits of 0-9 a-f)", prefix,
                         PREFIX_MIN);
    return HOLD_OK;
}

int hold_store_spec_named(struct hold_store *s, const char *prefix, char id[HOLD_HASH_HEX],
                          struct hold_error *err) {
    int n = 0, rc = check_prefix(prefix, err);
    if (rc == HOLD_OK)
        rc = names_with(s, "spec", prefix, id, &n, err);
    if (rc == HOLD_OK && n == 0)
        rc = hold_fail(err, HOLD_ENOTFOUND, "no stage '%s' in %s", prefix, s->path);
    if (rc == HOLD_OK && n > 1)
        rc = hold_fail(err, HOLD_EUSAGE, "%d stages begin with '%s'; give more digits", n, prefix);
    return rc;
}

int hold_store_look_up(struct hold_store *s, const char *prefix, char content[HOLD_HASH_HEX],
                       struct hold_error *err) {
    char id[HOLD_HASH_HEX];
    int n = 0, rc = check_prefix(prefix, err);
    if (rc == HOLD_OK)
        rc = names_with(s, "artifact", prefix, content, &n, err);
    if (rc == HOLD_OK && n > 1)
        return hold_fail(err, HOLD_EUSAGE, "%d artifacts begin with '%s'; give more digits", n,
                         prefix);
    if (rc < 0 || n == 1)
        return rc;
    rc = hold_store_spec_named(s, prefix, id, err);
    bool found = false;
    if (rc == HOLD_OK)
        rc = hold_store_find(s, id, content, &found, err);
    if (rc == HOLD_OK && !found)
        rc = hold_fail(err, HOLD_ENOTFOUND, "stage %.12s has no whole artifact", id);
    return rc;
}
