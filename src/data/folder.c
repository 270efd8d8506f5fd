/* folder.c: which file of a folder holds which rows, by the names that are in use. */
#include "data/folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/mem.h"

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

/* A file of a split: the whole of it ("train.jsonl.gz", of 0), or number `number` of `of` as
 * Hugging Face names the parts of a large one ("train-00000-of-00002.jsonl"). */
struct part {
    const char *name;
    size_t stem, digits, rest; /* bytes of "train", "00000"; where "-of-00002.jsonl" begins */
    long number, of;
};

enum { DIGITS_MOST = 9 };

/* Number and count behind the stem of a name of n bytes before its endings. */
static bool take_numbers(struct part *p, size_t n) {
    static const char *const OF = "-of-";
    const char *at = p->name + p->stem + 1;
    p->digits = strspn(at, "0123456789");
    p->rest = p->stem + 1 + p->digits;
    if (p->digits < 1 || p->digits > DIGITS_MOST || strncmp(at + p->digits, OF, strlen(OF)) != 0)
        return false;
    const char *count = p->name + p->rest + strlen(OF);
    size_t m = strspn(count, "0123456789");
    if (m < 1 || m > DIGITS_MOST || (size_t)(count - p->name) + m != n)
        return false;
    p->number = strtol(at, NULL, 10);
    p->of = strtol(count, NULL, 10);
    return p->of > 0;
}

/* Is what stands before the endings, n bytes, the split's name, with numbers or without? */
static bool take_stem(enum hold_split split, struct part *p, size_t n) {
    const char *dash = memchr(p->name, '-', n);
    p->stem = dash ? (size_t)(dash - p->name) : n;
    return is_stem(split, p->name, p->stem) && (!dash || take_numbers(p, n));
}

static bool is_file_of(enum hold_split split, struct part *p) {
    size_t n = strlen(p->name);
    if (!cut(p->name, &n, ".gz"))
        cut(p->name, &n, ".zst");
    for (size_t i = 0; i < N_ENDS; i++) {
        size_t stem = n;
        if (cut(p->name, &stem, ENDS[i]))
            return take_stem(split, p, stem);
    }
    return false;
}

/* "train.parquet", and Hugging Face's "train-00000-of-00001.parquet". */
static bool is_parquet_of(enum hold_split split, const char *name) {
    struct part p = {.name = name};
    size_t n = strlen(name);
    return cut(name, &n, ".parquet") && take_stem(split, &p, n);
}

static int none_found(const char *dir, enum hold_split split, char **names, size_t n,
                      struct hold_error *err) {
    struct hold_str found = HOLD_STR_INIT;
    char shown[64];
    for (size_t i = 0; i < n; i++)
        if (is_parquet_of(split, names[i])) {
            hold_visible(shown, sizeof(shown), names[i]);
            return hold_fail(err, HOLD_EDATA,
                             "%s: %s is Parquet, which is not read: write it as %s.jsonl first, as "
                             "with pandas: read_parquet(FILE).to_json(\"%s.jsonl\", "
                             "orient=\"records\", lines=True)",
                             dir, shown, hold_split_name(split), hold_split_name(split));
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

static int two_found(const char *dir, enum hold_split split, const struct part *a,
                     const struct part *b, struct hold_error *err) {
    char shown[2][64];
    hold_visible(shown[0], sizeof(shown[0]), a->name);
    hold_visible(shown[1], sizeof(shown[1]), b->name);
    return hold_fail(err, HOLD_EDATA,
                     "%s: both %s and %s could be its rows of %s: name one of them", dir, shown[0],
                     shown[1], hold_split_name(split));
}

/* The names differ in their numbers only. */
static bool is_same_set(const struct part *a, const struct part *b) {
    return a->of == b->of && a->stem == b->stem && !strncmp(a->name, b->name, a->stem) &&
           !strcmp(a->name + a->rest, b->name + b->rest);
}

static int by_number(const void *pa, const void *pb) {
    const struct part *a = pa, *b = pb;
    return (a->number > b->number) - (a->number < b->number);
}

/* All parts are there, from 0 or from 1 on; they become sorted. */
static int check_parts(const char *dir, enum hold_split split, struct part *part, size_t n,
                       struct hold_error *err) {
    char shown[64], missing[96];
    for (size_t i = 1; i < n; i++)
        if (!is_same_set(&part[0], &part[i]))
            return two_found(dir, split, &part[0], &part[i], err);
    if (!n || !part[0].of)
        return HOLD_OK;
    qsort(part, n, sizeof(*part), by_number);
    long first = part[n - 1].number == part[0].of && part[0].number > 0 ? 1 : 0;
    for (size_t i = 0; i < n; i++)
        if (i && part[i].number == part[i - 1].number)
            return two_found(dir, split, &part[i - 1], &part[i], err);
    hold_visible(shown, sizeof(shown), part[0].name);
    for (size_t i = 0; i < (size_t)part[0].of; i++) {
        if (i < n && part[i].number == first + (long)i)
            continue;
        snprintf(missing, sizeof(missing), "%.*s-%0*ld%.48s", (int)part[0].stem, part[0].name,
                 (int)part[0].digits, first + (long)i, part[0].name + part[0].rest);
        return hold_fail(err, HOLD_EDATA, "%s: %s is missing, a part of the rows of %s as %s is",
                         dir, missing, hold_split_name(split), shown);
    }
    if (n == (size_t)part[0].of)
        return HOLD_OK;
    hold_visible(shown, sizeof(shown), part[part[0].of].name);
    return hold_fail(err, HOLD_EDATA, "%s: %s is a part beyond the %ld that its name speaks of",
                     dir, shown, part[0].of);
}

int hold_folder_find(const char *dir, enum hold_split split, bool required, struct hold_str *out,
                     struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    struct part *part = NULL;
    char **names = NULL;
    size_t n = 0, found = 0;
    hold_str_clear(out);
    int status = hold_dir_list(dir, &names, &n, err);
    if (!status)
        status = hold_new((void **)&part, n + 1, sizeof(*part), "the files of a folder", err);
    for (size_t i = 0; i < n && !status; i++) {
        part[found] = (struct part){.name = names[i]};
        found += is_file_of(split, &part[found]);
    }
    if (!status)
        status = check_parts(dir, split, part, found, err);
    for (size_t i = 0; i < found && !status; i++) {
        hold_path_join(&path, dir, part[i].name);
        hold_str_addf(out, "%s%s", i ? "\n" : "", hold_str_text(&path));
        status = hold_str_check(&path, err);
    }
    if (!status && !found && required)
        status = none_found(dir, split, names, n, err);
    hold_str_release(&path);
    hold_free(part);
    hold_names_free(names, n);
    return status ? status : hold_str_check(out, err);
}

bool hold_files_next(const char **files, struct hold_str *out) {
    size_t n = strcspn(*files, "\n");
    hold_str_clear(out);
    hold_str_add_bytes(out, *files, n);
    *files += n + ((*files)[n] == '\n');
    return n > 0;
}
