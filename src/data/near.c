/* near.c: near duplicates between sets: word Jaccard over an index of each row's rarest words.
 *
 * Two sets of words with Jaccard >= t share a word among the |x| - ceil(t |x|) + 1 rarest of each
 * (prefix filtering; Chaudhuri et al. 2006, Bayardo et al. 2007), so only rows that meet in the
 * index are compared. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "data/rows.h"

/* A word of a row, in its normalised text. */
struct word {
    const char *text;
    size_t n;
    int64_t row; /* rows of b follow the rows of a */
};

struct near {
    int64_t n_a, n_rows;  /* rows of a; of both sets */
    struct hold_str text; /* normalised texts, one behind the other */
    struct word *word;    /* n_words, then sorted by text */
    size_t n_words;
    int32_t *ids;  /* distinct words of all rows: rarest first */
    size_t *first; /* row i: ids[first[i] .. first[i] + size[i]) */
    int32_t *size;
    int32_t n_distinct;
    size_t *post_first; /* word w: rows of b in post[post_first[w] .. post_first[w + 1]) */
    int64_t *post;
    int64_t *stamp; /* per row of b: the last row of a that met it */
    int64_t *met;   /* rows of b that the current row of a met */
};

/* ---- words ---- */

static int add_text(struct near *s, const struct hold_row *row, size_t *starts, int64_t i,
                    struct hold_error *err) {
    const json_t *instruction =
        row->format == HOLD_ROW_ALPACA ? NULL : json_object_get(row->data, "instruction");
    starts[i] = s->text.len;
    int status =
        hold_row_normalise(hold_row_user_text(row), json_string_value(instruction), &s->text, err);
    hold_str_add_char(&s->text, ' ');
    return status ? status : hold_str_check(&s->text, err);
}

static int new_array(void *out, size_t n, size_t size, struct hold_error *err) {
    return hold_new((void **)out, n ? n : 1, size, "an index of words", err);
}

static int split_words(struct near *s, const size_t *starts, struct hold_error *err) {
    size_t count = 0;
    for (size_t i = 0; i < s->text.len; i++)
        count += s->text.data[i] == ' ';
    int status = new_array(&s->word, count, sizeof(*s->word), err);
    for (int64_t row = 0; row < s->n_rows && !status; row++) {
        size_t end = row + 1 < s->n_rows ? starts[row + 1] : s->text.len;
        for (size_t p = starts[row]; p < end;) {
            const char *word = s->text.data + p;
            size_t n = (size_t)((const char *)memchr(word, ' ', end - p) - word);
            if (n)
                s->word[s->n_words++] = (struct word){word, n, row};
            p += n + 1;
        }
    }
    return status;
}

static int compare_text(const struct word *a, const struct word *b) {
    int order = memcmp(a->text, b->text, a->n < b->n ? a->n : b->n);
    return order ? order : (a->n > b->n) - (a->n < b->n);
}

static int compare_words(const void *pa, const void *pb) {
    const struct word *a = pa, *b = pb;
    int order = compare_text(a, b);
    return order ? order : (a->row > b->row) - (a->row < b->row);
}

/* A distinct word: where its occurrences stand in the sorted list, and in how many rows it is. */
struct entry {
    size_t start, end;
    int64_t rows;
};

static int compare_entries(const void *pa, const void *pb) {
    const struct entry *a = pa, *b = pb;
    if (a->rows != b->rows)
        return a->rows < b->rows ? -1 : 1;
    return a->start < b->start ? -1 : a->start > b->start;
}

static bool is_repeat(const struct word *word, size_t k, size_t start) {
    return k > start && word[k].row == word[k - 1].row;
}

/* Sorting instead of hashing: no choice of words can make it slow. */
static int number_words(struct near *s, struct hold_error *err) {
    struct entry *entry = NULL;
    int status = new_array(&entry, s->n_words, sizeof(*entry), err);
    if (!status)
        status = new_array(&s->ids, s->n_words, sizeof(*s->ids), err);
    if (!status)
        status = new_array(&s->size, (size_t)s->n_rows, sizeof(*s->size), err);
    if (!status && s->n_words > INT32_MAX)
        status = hold_fail(err, HOLD_EDATA, "more than %d words to compare", INT32_MAX);
    if (status)
        goto cleanup;
    qsort(s->word, s->n_words, sizeof(*s->word), compare_words);
    for (size_t k = 0; k < s->n_words; s->n_distinct++) {
        struct entry *e = &entry[s->n_distinct];
        *e = (struct entry){k, k, 0};
        for (; k < s->n_words && !compare_text(&s->word[e->start], &s->word[k]); k++)
            e->rows += !is_repeat(s->word, k, e->start);
        e->end = k;
    }
    qsort(entry, (size_t)s->n_distinct, sizeof(*entry), compare_entries);
    for (int32_t id = 0; id < s->n_distinct; id++)
        for (size_t k = entry[id].start; k < entry[id].end; k++)
            if (!is_repeat(s->word, k, entry[id].start)) {
                int64_t row = s->word[k].row;
                s->ids[s->first[row] + (size_t)s->size[row]++] = id;
            }
cleanup:
    hold_free(entry);
    return status;
}

/* Room in `ids` for each row: its words with repeats. */
static int place_rows(struct near *s, struct hold_error *err) {
    int status = new_array(&s->first, (size_t)s->n_rows + 1, sizeof(*s->first), err);
    if (status)
        return status;
    for (size_t k = 0; k < s->n_words; k++)
        s->first[s->word[k].row + 1]++;
    for (int64_t i = 0; i < s->n_rows; i++)
        s->first[i + 1] += s->first[i];
    return HOLD_OK;
}

static int read_words(struct near *s, const struct hold_rows *a, const struct hold_rows *b,
                      struct hold_error *err) {
    size_t *starts = NULL;
    int status = new_array(&starts, (size_t)s->n_rows, sizeof(*starts), err);
    for (int64_t i = 0; i < s->n_rows && !status; i++)
        status = add_text(s, i < s->n_a ? &a->row[i] : &b->row[i - s->n_a], starts, i, err);
    if (!status)
        status = split_words(s, starts, err);
    if (!status)
        status = place_rows(s, err);
    if (!status)
        status = number_words(s, err);
    hold_free(starts);
    return status;
}

/* ---- the index and the pairs ---- */

/* How many of a row's rarest words must be looked at. */
static int32_t prefix(int32_t size, double threshold) {
    return size ? size - (int32_t)ceil(threshold * size - 1e-9) + 1 : 0;
}

static int index_rows(struct near *s, double threshold, struct hold_error *err) {
    size_t total = 0;
    int64_t n_b = s->n_rows - s->n_a;
    int status = new_array(&s->post_first, (size_t)s->n_distinct + 2, sizeof(*s->post_first), err);
    if (!status)
        status = new_array(&s->stamp, (size_t)n_b, sizeof(*s->stamp), err);
    if (!status)
        status = new_array(&s->met, (size_t)n_b, sizeof(*s->met), err);
    if (status)
        return status;
    for (int64_t row = s->n_a; row < s->n_rows; row++)
        for (int32_t k = 0; k < prefix(s->size[row], threshold); k++, total++)
            s->post_first[s->ids[s->first[row] + (size_t)k] + 2]++;
    for (int32_t w = 0; w < s->n_distinct; w++)
        s->post_first[w + 2] += s->post_first[w + 1];
    status = new_array(&s->post, total, sizeof(*s->post), err);
    if (status)
        return status;
    /* post_first[w + 1] walks from the start of word w's list to its end. */
    for (int64_t row = s->n_a; row < s->n_rows; row++)
        for (int32_t k = 0; k < prefix(s->size[row], threshold); k++)
            s->post[s->post_first[s->ids[s->first[row] + (size_t)k] + 1]++] = row - s->n_a;
    return HOLD_OK;
}

/* Words in both of two rows; their ids are ascending. */
static int32_t shared_words(const struct near *s, int64_t i, int64_t j) {
    const int32_t *a = s->ids + s->first[i], *b = s->ids + s->first[j];
    int32_t both = 0;
    for (int32_t x = 0, y = 0; x < s->size[i] && y < s->size[j];) {
        int32_t step_a = a[x] <= b[y], step_b = b[y] <= a[x];
        both += step_a & step_b;
        x += step_a;
        y += step_b;
    }
    return both;
}

static int compare_rows(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* The rows of b that share a rare word with row i of a, ascending. */
static int64_t meet(struct near *s, int64_t i, double threshold) {
    int64_t n_met = 0;
    for (int32_t k = 0; k < prefix(s->size[i], threshold); k++) {
        int32_t w = s->ids[s->first[i] + (size_t)k];
        for (size_t p = s->post_first[w]; p < s->post_first[w + 1]; p++) {
            int64_t j = s->post[p];
            if (s->stamp[j] == i + 1)
                continue;
            s->stamp[j] = i + 1;
            s->met[n_met++] = j;
        }
    }
    qsort(s->met, (size_t)n_met, sizeof(*s->met), compare_rows);
    return n_met;
}

/* ---- interface ---- */

static void release(struct near *s) {
    hold_str_release(&s->text);
    hold_free(s->word);
    hold_free(s->ids);
    hold_free(s->first);
    hold_free(s->size);
    hold_free(s->post_first);
    hold_free(s->post);
    hold_free(s->stamp);
    hold_free(s->met);
}

int hold_rows_near(const struct hold_rows *a, const struct hold_rows *b, double threshold,
                   int (*found)(void *user, int64_t i, int64_t j, double jaccard), void *user,
                   struct hold_error *err) {
    if (!(threshold > 0 && threshold <= 1))
        return hold_fail(err, HOLD_EUSAGE, "a word overlap of %g, expected more than 0, at most 1",
                         threshold);
    struct near s = {.n_a = a->n, .n_rows = a->n + b->n};
    int status = read_words(&s, a, b, err);
    if (!status)
        status = index_rows(&s, threshold, err);
    for (int64_t i = 0, stop = 0; i < s.n_a && !status && !stop; i++) {
        int64_t n_met = meet(&s, i, threshold);
        for (int64_t m = 0; m < n_met && !stop; m++) {
            int64_t j = s.met[m], row = s.n_a + j;
            if (a == b && j <= i)
                continue;
            int32_t both = shared_words(&s, i, row);
            double either = (double)s.size[i] + s.size[row] - both;
            if (both >= threshold * either - 1e-12)
                stop = found(user, i, j, both / either);
        }
    }
    release(&s);
    return status;
}
