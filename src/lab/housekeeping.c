/* housekeeping.c: what a store holds: listing, pins, collection of what nobody needs, verification.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "lab/store_parts.h"

/* Names in a folder of the store with `suffix`, without it: calls back for each; a missing folder
 * (a store opened for reading) has none. */
static int each_name(struct hold_store *s, const char *folder, const char *suffix,
                     int (*each)(void *user, const char *name, struct hold_error *err), void *user,
                     struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    char **names = NULL;
    size_t n = 0;
    hold_path_join(&path, s->path, folder);
    int rc = hold_is_dir(hold_str_text(&path))
                 ? hold_dir_list(hold_str_text(&path), &names, &n, err)
                 : HOLD_OK;
    for (size_t i = 0; rc == HOLD_OK && i < n; i++) {
        if (!hold_ends(names[i], suffix))
            continue;
        names[i][strlen(names[i]) - strlen(suffix)] = '\0';
        rc = each(user, names[i], err);
    }
    hold_names_free(names, n);
    hold_str_release(&path);
    return rc;
}

int64_t hold_store_tree_bytes(const char *dir) {
    char **names = NULL;
    size_t n = 0;
    struct hold_error e = {0};
    struct hold_str path = HOLD_STR_INIT;
    int64_t sum = 0;
    struct stat st;
    if (hold_dir_list(dir, &names, &n, &e) < 0)
        return 0;
    for (size_t i = 0; i < n; i++) {
        hold_path_join(&path, dir, names[i]);
        if (lstat(hold_str_text(&path), &st) != 0)
            continue;
        if (S_ISDIR(st.st_mode))
            sum += hold_store_tree_bytes(hold_str_text(&path));
        else if (S_ISREG(st.st_mode))
            sum += (int64_t)st.st_size;
    }
    hold_names_free(names, n);
    hold_str_release(&path);
    return sum;
}

static bool is_pinned(struct hold_store *s, const char *id) {
    struct hold_str path = HOLD_STR_INIT;
    hold_store_at(s, "pin", id, "", &path);
    bool pinned = hold_exists(hold_str_text(&path));
    hold_str_release(&path);
    return pinned;
}

/* --- list --- */

struct listing {
    struct hold_store *s;
    json_t *list;
};

static int list_one(void *user, const char *id, struct hold_error *err) {
    struct listing *l = user;
    json_t *manifest = NULL;
    struct hold_error e = {0};
    if (!hold_is_id(id))
        return HOLD_OK;
    if (hold_store_spec_manifest(l->s, id, &manifest, &e) < 0) {
        hold_log(l->s->ctx, HOLD_WARN, "store", "%s", e.text);
        return HOLD_OK;
    }
    const char *kind = json_string_value(json_object_get(manifest, "kind"));
    const char *name = json_string_value(json_object_get(manifest, "name"));
    const char *content = json_string_value(json_object_get(manifest, "content"));
    const char *made = json_string_value(json_object_get(manifest, "made"));
    json_t *o =
        json_pack("{s:s, s:s, s:s, s:s, s:I, s:s, s:b}", "id", id, "content",
                  content ? content : "", "kind", kind ? kind : "", "name", name ? name : "",
                  "bytes", (json_int_t)json_integer_value(json_object_get(manifest, "bytes")),
                  "made", made ? made : "", "pinned", (int)is_pinned(l->s, id));
    json_decref(manifest);
    return json_array_append_new(l->list, o) == 0
               ? HOLD_OK
               : hold_fail(err, HOLD_ENOMEMORY, "no memory for a listing");
}

int hold_store_list(struct hold_store *s, json_t **out, struct hold_error *err) {
    struct listing l = {.s = s, .list = json_array()};
    if (l.list == NULL)
        return hold_fail(err, HOLD_ENOMEMORY, "no memory for a listing");
    int rc = each_name(s, "spec", ".json", list_one, &l, err);
    if (rc < 0) {
        json_decref(l.list);
        return rc;
    }
    *out = l.list;
    return HOLD_OK;
}

/* --- pins and runs --- */

int hold_store_pin(struct hold_store *s, const char *id, bool pinned, struct hold_error *err) {
    char full[HOLD_HASH_HEX];
    struct hold_str path = HOLD_STR_INIT;
    int rc = hold_store_writable(s, err);
    if (rc == HOLD_OK)
        rc = hold_store_spec_named(s, id, full, err);
    if (rc < 0)
        return rc;
    hold_store_at(s, "pin", full, "", &path);
    rc = pinned ? hold_file_write_atomic(hold_str_text(&path), "", 0, err)
                : hold_remove_tree(hold_str_text(&path), err);
    hold_str_release(&path);
    return rc;
}

int hold_store_note_run(struct hold_store *s, const char *dir, const char (*ids)[HOLD_HASH_HEX],
                        int n, struct hold_error *err) {
    char key[HOLD_HASH_HEX];
    struct hold_str path = HOLD_STR_INIT;
    json_t *list = json_array();
    int bad = list == NULL;
    for (int i = 0; bad == 0 && i < n; i++)
        bad |= json_array_append_new(list, json_string(ids[i]));
    json_t *o = bad != 0 ? NULL
                         : json_pack("{s:s, s:I, s:o}", "dir", dir, "time", (json_int_t)time(NULL),
                                     "specs", list);
    hold_hash_bytes(dir, strlen(dir), key);
    hold_store_at(s, "run", key, ".json", &path);
    int rc = o == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for a run's note")
                       : hold_store_writable(s, err);
    if (rc == HOLD_OK)
        rc = hold_json_save(hold_str_text(&path), o, err);
    json_decref(o);
    hold_str_release(&path);
    return rc;
}

/* --- collection --- */

struct sweep {
    struct hold_store *s;
    json_t *specs;    /* kept ids */
    json_t *contents; /* kept artifacts */
    double days;
    bool dry;
    int64_t bytes, n;
};

static int keep(json_t *set, const char *name, struct hold_error *err) {
    return json_object_set_new(set, name, json_true()) == 0
               ? HOLD_OK
               : hold_fail(err, HOLD_ENOMEMORY, "no memory for a collection");
}

static bool is_kept(const json_t *set, const char *name) {
    return json_object_get(set, name) != NULL;
}

static int keep_content(struct sweep *w, const char *content, struct hold_error *err);

/* Every id that a value names is an input, if there is an artifact of that name. */
static int keep_named(struct sweep *w, const json_t *value, struct hold_error *err) {
    int rc = HOLD_OK;
    if (json_is_string(value) && hold_is_id(json_string_value(value)))
        return keep_content(w, json_string_value(value), err);
    for (size_t i = 0; json_is_array(value) && rc == HOLD_OK && i < json_array_size(value); i++)
        rc = keep_named(w, json_array_get(value, i), err);
    const char *key;
    json_t *item;
    if (json_is_object(value))
        json_object_foreach((json_t *)value, key, item) if (rc == HOLD_OK) rc =
            keep_named(w, item, err);
    return rc;
}

static int keep_content(struct sweep *w, const char *content, struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    struct hold_error e = {0};
    json_t *o = NULL;
    if (is_kept(w->contents, content))
        return HOLD_OK;
    hold_store_artifact(w->s, content, &path);
    bool there = hold_is_dir(hold_str_text(&path));
    int rc = there ? keep(w->contents, content, err) : HOLD_OK;
    static const char *const FILES[] = {"/manifest.json", "/model.json"};
    for (int i = 0; there && rc == HOLD_OK && i < 2; i++) {
        hold_store_at(w->s, "artifact", content, FILES[i], &path);
        if (hold_json_load(&o, hold_str_text(&path), &e) == HOLD_OK)
            rc = keep_named(w, i == 0 ? json_object_get(o, "spec") : o, err);
        json_decref(o);
        o = NULL;
    }
    hold_str_release(&path);
    return rc;
}

static int keep_spec(struct sweep *w, const char *id, struct hold_error *err) {
    json_t *manifest = NULL;
    struct hold_error e = {0};
    if (is_kept(w->specs, id) || hold_store_spec_manifest(w->s, id, &manifest, &e) < 0)
        return HOLD_OK;
    int rc = keep(w->specs, id, err);
    const char *content = json_string_value(json_object_get(manifest, "content"));
    if (rc == HOLD_OK && hold_is_id(content))
        rc = keep_content(w, content, err);
    if (rc == HOLD_OK)
        rc = keep_named(w, json_object_get(manifest, "spec"), err);
    json_decref(manifest);
    return rc;
}

static int keep_pin(void *user, const char *id, struct hold_error *err) {
    return keep_spec(user, id, err);
}

static int keep_run(void *user, const char *key, struct hold_error *err) {
    struct sweep *w = user;
    struct hold_str path = HOLD_STR_INIT;
    struct hold_error e = {0};
    json_t *o = NULL;
    int rc = HOLD_OK;
    hold_store_at(w->s, "run", key, ".json", &path);
    if (hold_json_load(&o, hold_str_text(&path), &e) == HOLD_OK) {
        const char *dir = json_string_value(json_object_get(o, "dir"));
        double age = difftime(time(NULL), (time_t)json_integer_value(json_object_get(o, "time")));
        const json_t *specs = json_object_get(o, "specs");
        if (dir != NULL && hold_is_dir(dir) && age <= w->days * 86400.0)
            for (size_t i = 0; rc == HOLD_OK && i < json_array_size(specs); i++) {
                const char *id = json_string_value(json_array_get(specs, i));
                if (hold_is_id(id))
                    rc = keep_spec(w, id, err);
            }
    }
    json_decref(o);
    hold_str_release(&path);
    return rc;
}

/* A process at work has not noted its run yet: what was made within the hour is left to it. */
static int keep_recent(void *user, const char *id, struct hold_error *err) {
    struct sweep *w = user;
    struct hold_str path = HOLD_STR_INIT;
    struct stat st;
    double most = w->days * 86400.0 < 3600.0 ? w->days * 86400.0 : 3600.0;
    hold_store_at(w->s, "spec", id, ".json", &path);
    bool recent = stat(hold_str_text(&path), &st) == 0 && difftime(time(NULL), st.st_mtime) < most;
    hold_str_release(&path);
    return recent && hold_is_id(id) ? keep_spec(w, id, err) : HOLD_OK;
}

static int drop_path(struct sweep *w, const char *folder, const char *name, const char *suffix,
                     bool count, struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    hold_store_at(w->s, folder, name, suffix, &path);
    if (count) {
        w->bytes += hold_store_tree_bytes(hold_str_text(&path));
        w->n++;
    }
    int rc = w->dry ? HOLD_OK : hold_remove_tree(hold_str_text(&path), err);
    hold_str_release(&path);
    return rc;
}

/* A pointer goes before its artifact, so that no pointer names what is gone. */
static int drop_spec(void *user, const char *id, struct hold_error *err) {
    struct sweep *w = user;
    json_t *manifest = NULL;
    struct hold_error e = {0};
    if (!hold_is_id(id) || is_kept(w->specs, id))
        return HOLD_OK;
    if (hold_store_spec_manifest(w->s, id, &manifest, &e) == HOLD_OK) {
        const char *content = json_string_value(json_object_get(manifest, "content"));
        bool kept = content != NULL && is_kept(w->contents, content);
        json_decref(manifest);
        if (kept)
            return HOLD_OK;
    }
    return drop_path(w, "spec", id, ".json", false, err);
}

static int drop_artifact(void *user, const char *content, struct hold_error *err) {
    struct sweep *w = user;
    if (is_kept(w->contents, content))
        return HOLD_OK;
    return drop_path(w, "artifact", content, "", true, err);
}

static int drop_failure(void *user, const char *id, struct hold_error *err) {
    return drop_path(user, "failed", id, ".json", false, err);
}

static int drop_work(void *user, const char *id, struct hold_error *err) {
    struct sweep *w = user;
    struct hold_str path = HOLD_STR_INIT;
    struct hold_error e = {0};
    json_t *lease = NULL;
    hold_store_at(w->s, "work", id, "/lease.json", &path);
    /* An owner that cannot be judged from here (another machine) keeps its work. */
    bool live =
        hold_json_load(&lease, hold_str_text(&path), &e) == HOLD_OK && hold_lease_alive(lease) != 0;
    json_decref(lease);
    hold_str_release(&path);
    return live ? HOLD_OK : drop_path(w, "work", id, "", true, err);
}

int hold_store_gc(struct hold_store *s, double days, bool dry, int64_t *bytes, int64_t *n,
                  struct hold_error *err) {
    struct sweep w = {
        .s = s, .days = days, .dry = dry, .specs = json_object(), .contents = json_object()};
    int rc = dry ? HOLD_OK : hold_store_writable(s, err);
    if (rc == HOLD_OK && (w.specs == NULL || w.contents == NULL))
        rc = hold_fail(err, HOLD_ENOMEMORY, "no memory for a collection");
    if (rc == HOLD_OK)
        rc = each_name(s, "pin", "", keep_pin, &w, err);
    if (rc == HOLD_OK)
        rc = each_name(s, "run", ".json", keep_run, &w, err);
    if (rc == HOLD_OK)
        rc = each_name(s, "spec", ".json", keep_recent, &w, err);
    if (rc == HOLD_OK)
        rc = each_name(s, "spec", ".json", drop_spec, &w, err);
    if (rc == HOLD_OK)
        rc = each_name(s, "artifact", "", drop_artifact, &w, err);
    if (rc == HOLD_OK)
        rc = each_name(s, "work", "", drop_work, &w, err);
    if (rc == HOLD_OK)
        rc = each_name(s, "failed", ".json", drop_failure, &w, err);
    *bytes = w.bytes;
    *n = w.n;
    json_decref(w.specs);
    json_decref(w.contents);
    return rc;
}

/* --- verification --- */

struct verify {
    struct hold_store *s;
    int64_t n, bad;
};

static int verify_one(void *user, const char *content, struct hold_error *err) {
    struct verify *v = user;
    struct hold_str path = HOLD_STR_INIT;
    struct hold_error e = {0};
    char found[HOLD_HASH_HEX] = "";
    int64_t bytes = 0;
    hold_store_artifact(v->s, content, &path);
    int rc = hold_store_content_id(hold_str_text(&path), found, &bytes, &e);
    v->n++;
    if (rc == HOLD_ENOMEMORY) {
        hold_str_release(&path);
        return hold_fail(err, rc, "%s", e.text);
    }
    if (rc < 0 || strcmp(found, content) != 0) {
        v->bad++;
        hold_log(v->s->ctx, HOLD_ERROR, "store", "%s: its bytes are not those of its name%s%s",
                 hold_str_text(&path), rc < 0 ? ": " : "", e.text);
    }
    hold_str_release(&path);
    return HOLD_OK;
}

int hold_store_verify(struct hold_store *s, int64_t *n, int64_t *bad, struct hold_error *err) {
    struct verify v = {.s = s};
    int rc = each_name(s, "artifact", "", verify_one, &v, err);
    *n = v.n;
    *bad = v.bad;
    return rc;
}
