/* chars.c: SentencePiece vocabularies: characters with byte fallback, merges and scores. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tokenizer/internal.h"
#include "tokenizer/unicode.h"

enum { BLANK_BYTES = 3 };
/* Hash steps that finding the merges of a vocabulary may cost. */
#define MERGE_WORK_MAX (UINT64_C(1) << 32)

static int hex_digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

int hold_byte_piece(const char *text, size_t n) {
    if (n != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') {
        return -1;
    }
    int high = hex_digit(text[3]), low = hex_digit(text[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

size_t hold_chars_bytes(const char *text, size_t n, char *out) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        if (n - i >= BLANK_BYTES && memcmp(text + i, HOLD_BLANK, BLANK_BYTES) == 0) {
            out[count++] = ' ';
            i += BLANK_BYTES - 1;
        } else {
            out[count++] = text[i];
        }
    }
    return count;
}

static bool is_blank_at(const char *text, size_t at, size_t n) {
    return n - at >= BLANK_BYTES && memcmp(text + at, HOLD_BLANK, BLANK_BYTES) == 0;
}

void hold_chars_prepare(struct hold_tokenizer *t) {
    for (int c = 0; c < 128; c++) {
        char byte = (char)c;
        t->ascii[c] = hold_names_get(&t->names, &byte, 1);
    }
    /* Without a piece of its own the blank may fuse with its neighbours into one unknown. */
    bool alone = hold_names_get(&t->names, HOLD_BLANK, BLANK_BYTES) >= 0;
    memset(t->glued, !alone, sizeof t->glued);
    for (size_t k = 0; k <= t->names.mask; k++) {
        const struct hold_name *name = &t->names.slots[k];
        for (size_t i = 1; name->key != NULL && i < name->len; i++) {
            if (is_blank_at(name->key, i, name->len)) {
                t->glued[(unsigned char)name->key[i - 1]] = true;
            }
        }
    }
}

size_t hold_chars_word(const struct hold_tokenizer *t, const char *text, size_t at, size_t n) {
    if (t->ignore_merges) {
        return n; /* the whole pre-token may be a piece */
    }
    for (size_t i = at + 1; i < n; i++) {
        if ((unsigned char)text[i] == 0xE2 && !t->glued[(unsigned char)text[i - 1]] &&
            is_blank_at(text, i, n)) {
            return i;
        }
    }
    return n;
}

/* Ids of the bytes of a character, all or none. */
static bool push_bytes(const struct hold_tokenizer *t, const unsigned char *bytes, size_t at,
                       size_t next, size_t begin, struct hold_word *w) {
    for (size_t i = at; i < next; i++) {
        if (t->byte_ids[bytes[i]] < 0) {
            return false;
        }
    }
    for (size_t i = at; i < next; i++) {
        w->ids[w->n] = t->byte_ids[bytes[i]];
        w->starts[w->n++] = (uint32_t)(i - begin);
    }
    return true;
}

int hold_chars_symbols(const struct hold_tokenizer *t, const char *text, size_t begin, size_t end,
                       struct hold_word *w, struct hold_error *err) {
    const unsigned char *bytes = (const unsigned char *)text;
    int rc = hold_word_reserve(w, end - begin, err);
    if (rc != HOLD_OK) {
        return rc;
    }
    w->n = 0;
    bool fuse = false; /* the last symbol is an unknown that the next may join */
    for (size_t at = begin, next = begin; at < end; at = next) {
        int32_t c = hold_unicode_next(bytes, &next);
        int32_t id = c < 128 ? t->ascii[c] : hold_names_get(&t->names, text + at, next - at);
        if (id < 0 && t->byte_fallback && push_bytes(t, bytes, at, next, begin, w)) {
            fuse = false;
            continue;
        }
        bool unknown = id < 0;
        id = unknown ? t->unk : id;
        if (id >= 0 && !(unknown && fuse)) {
            w->ids[w->n] = id;
            w->starts[w->n++] = (uint32_t)(at - begin);
        }
        fuse = unknown && t->fuse_unk;
    }
    return HOLD_OK;
}

struct scored {
    float score;
    int32_t id;
};

static int by_score(const void *a, const void *b) {
    const struct scored *x = a, *y = b;
    return x->score != y->score ? (x->score > y->score ? -1 : 1)
                                : (x->id > y->id) - (x->id < y->id);
}

static uint32_t piece_bytes(const struct hold_tokenizer *t, int32_t id) {
    return (uint32_t)strlen(t->text[id]);
}

/* Each way to make piece `id` of two others; with `put` it becomes a merge. */
static int split_piece(struct hold_tokenizer *t, int32_t id, int32_t rank, bool put, size_t *count,
                       struct hold_error *err) {
    const char *text = t->text[id];
    size_t n = piece_bytes(t, id), at = 0;
    int rc = HOLD_OK;
    for (hold_unicode_next((const unsigned char *)text, &at); rc == HOLD_OK && at < n;
         hold_unicode_next((const unsigned char *)text, &at)) {
        int32_t left = hold_names_get(&t->names, text, at);
        int32_t right = left < 0 ? -1 : hold_names_get(&t->names, text + at, n - at);
        if (right >= 0) {
            ++*count;
            rc = put ? hold_pairs_put(&t->pairs, left, right, rank, id, err) : HOLD_OK;
        }
    }
    return rc;
}

int hold_chars_merges(struct hold_tokenizer *t, const struct hold_vocab *v,
                      struct hold_error *err) {
    struct scored *order = NULL;
    size_t n = 0, count = 0;
    uint64_t work = 0;
    int rc = hold_new((void **)&order, (size_t)t->n, sizeof *order, "merges", err);
    for (int32_t i = 0; rc == HOLD_OK && i < t->n; i++) {
        if (t->types[i] != HOLD_PIECE_NORMAL || t->text[i] == NULL || t->text[i][0] == '\0') {
            continue;
        }
        if (!isfinite(v->scores[i])) {
            rc = hold_fail(err, HOLD_EFORMAT, "piece %d: its score is not finite", i);
        }
        work += (uint64_t)piece_bytes(t, i) * piece_bytes(t, i);
        order[n++] = (struct scored){v->scores[i], i};
    }
    if (rc == HOLD_OK && work > MERGE_WORK_MAX) {
        rc = hold_fail(err, HOLD_EUNSUPPORTED, "the pieces of the vocabulary are too long");
    }
    if (rc == HOLD_OK) {
        qsort(order, n, sizeof *order, by_score);
    }
    int32_t rank = 0;
    for (int pass = 0; rc == HOLD_OK && pass < 2; pass++) {
        rc = pass == 1 ? hold_pairs_init(&t->pairs, count, err) : HOLD_OK;
        for (size_t k = 0; rc == HOLD_OK && k < n; k++) {
            rank += k > 0 && order[k].score != order[k - 1].score; /* equal ones: the leftmost */
            rc = split_piece(t, order[k].id, rank, pass == 1, &count, err);
        }
    }
    hold_free(order);
    return rc;
}

int hold_chars_unigram(struct hold_tokenizer *t, const struct hold_vocab *v,
                       struct hold_error *err) {
    struct hold_unigram_piece *pieces = NULL;
    size_t n = 0;
    int rc = hold_new((void **)&pieces, (size_t)t->n, sizeof *pieces, "unigram model", err);
    for (int32_t i = 0; rc == HOLD_OK && i < t->n; i++) {
        bool usable = t->types[i] == HOLD_PIECE_NORMAL || t->types[i] == HOLD_PIECE_USER;
        if (usable && t->text[i] != NULL && t->text[i][0] != '\0') {
            double score = v->weights != NULL ? v->weights[i] : (double)v->scores[i];
            if (v->weights != NULL && isnan(score)) {
                continue; /* an added token, which the model does not know */
            }
            pieces[n++] = (struct hold_unigram_piece){t->text[i], piece_bytes(t, i), i, score};
        }
    }
    if (rc == HOLD_OK) {
        rc = hold_unigram_new(&t->unigram, pieces, n, err);
    }
    hold_free(pieces);
    return rc;
}

static int by_rank(const void *a, const void *b) {
    const struct hold_merge *x = a, *y = b;
    return x->rank != y->rank   ? (x->rank > y->rank) - (x->rank < y->rank)
           : x->left != y->left ? (x->left > y->left) - (x->left < y->left)
                                : (x->right > y->right) - (x->right < y->right);
}

int hold_tokenizer_merges(const struct hold_tokenizer *t, struct hold_merge **out, size_t *n,
                          struct hold_error *err) {
    size_t slots = t->pairs.slots != NULL ? t->pairs.mask + 1 : 0;
    *n = 0;
    for (size_t i = 0; i < slots; i++) {
        *n += t->pairs.slots[i].key != UINT64_MAX;
    }
    int rc = hold_new((void **)out, *n + 1, sizeof **out, "merges", err);
    for (size_t i = 0, k = 0; rc == HOLD_OK && i < slots; i++) {
        const struct hold_pair *p = &t->pairs.slots[i];
        if (p->key != UINT64_MAX) {
            (*out)[k++] = (struct hold_merge){p->rank, (int32_t)(p->key >> 32),
                                              (int32_t)(p->key & UINT32_MAX)};
        }
    }
    if (rc == HOLD_OK) {
        qsort(*out, *n, sizeof **out, by_rank);
    }
    return rc;
}
