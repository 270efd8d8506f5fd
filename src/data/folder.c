/* folder.c: which file of a folder holds which rows, by the names that are in use. */
#include "data/folder.h"

#include <string.h>
#include <strings.h>

#include "base/file.h"

enum { NAMES_SHOWN = 6 };

static const char *const STEMS[HOLD_SPLIT_COUNT][6] = {
    {"train"}, {"valid", "validation", "val", "dev", "eval"}, {"test"}};
static const char *const ENDS[] = {".jsonl", ".ndjson", ".json", ".csv", ".tsv"};
enum { N_ENDS = sizeof(ENDS) / sizeof(ENDS[0]) };

const char *hold_split_name(enum hold_split split) {
    return STEMS[split][0];
}

/* Does [name, name + n) end so?  *n becomes the length before it. */
static bool cut(const char *name, size_t *n, const char *end) {
    size_t m = strlen(end);
    if (*n < m || strncasecmp(name + *n - m, end, m) != 0)
        return false;
    *n -= m;
    return true;
}

static bool is_stem(enum hold_split split, const char *name, size_t n) {
    for (const char *const *stem = STEMS[split]; *stem; stem++)
        if (strlen(*stem) == n && !strncasecmp(name, *stem, n))
            return true;
    return false;
}

static bool is_file_of(enum hold_split split, const char *name) {
    size_t n = strlen(name);
    if (!cut(name, &n, ".gz"))
        cut(name, &n, ".zst");
    for (size_t i = 0; i < N_ENDS; i++) {
        size_t stem = n;
        if (cut(name, &stem, ENDS[i]) && is_stem(split, name, stem))
            return true;
    }
    return false;
}

/* "train.parquet", and Hugging Face's "train-00000-of-00001.parquet". */
static bool is_parquet_of(enum hold_split split, const char *name) {
    size_t n = strlen(name);
    if (!cut(name, &n, ".parquet"))
        return false;
    const char *dash = memchr(name, '-', n);
    return is_stem(split, name, dash ? (size_t)(dash - name) : n);
}

static int none_found(const char *dir, enum hold_split split, char **names, size_t n,
                      struct hold_error *err) {
    struct hold_str found = HOLD_STR_INIT;
    char shown[64];
    for (size_t i = 0; i < n; i++)
        if (is_parquet_of(split, names[i])) {
            hold_visible(shown, sizeof(shown), names[i]);
            return hold_fail(err, HOLD_EDATA,
                             "%s: %s is Parquet, which is not read: write it as %s.jsonl first",
                             dir, shown, hold_split_name(split));
        }
    for (size_t i = 0; i < n && i < NAMES_SHOWN; i++) {
        hold_visible(shown, sizeof(shown), names[i]);
        hold_str_addf(&found, "%s%s", i ? ", " : "", shown);
    }
    if (n > NAMES_SHOWN)
        hold_str_add(&found, " ...");
    int status =
        hold_fail(err, HOLD_ENOTFOUND,
                  "%s: the folder has no %s.jsonl (or .json, .csv, .tsv; .gz, .zst); it "
                  "has %s",
                  dir, hold_split_name(split), found.len ? hold_str_text(&found) : "no files");
    hold_str_release(&found);
    return status;
}

int hold_folder_find(const char *dir, enum hold_split split, bool required, struct hold_str *out,
                     struct hold_error *err) {
    char **names = NULL, shown[2][64];
    const char *found = NULL;
    size_t n = 0;
    hold_str_clear(out);
    int status = hold_dir_list(dir, &names, &n, err);
    for (size_t i = 0; i < n && !status; i++) {
        if (!is_file_of(split, names[i]))
            continue;
        if (found) {
            hold_visible(shown[0], sizeof(shown[0]), found);
            hold_visible(shown[1], sizeof(shown[1]), names[i]);
            status = hold_fail(err, HOLD_EDATA,
                               "%s: both %s and %s could be its rows of %s: name one of them", dir,
                               shown[0], shown[1], hold_split_name(split));
        }
        found = names[i];
    }
    if (!status && found)
        hold_path_join(out, dir, found);
    else if (!status && required)
        status = none_found(dir, split, names, n, err);
    hold_names_free(names, n);
    return status ? status : hold_str_check(out, err);
}
