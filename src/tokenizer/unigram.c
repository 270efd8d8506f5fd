/* unigram.c: a trie of pieces and Viterbi over it. */
#include "tokenizer/unigram.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "tokenizer/bpe.h"

/* What a character without a piece costs, below the least likely piece. */
#define UNKNOWN_PENALTY 10.0

struct hold_unigram {
    struct hold_pairs trie; /* (node, byte) to node; the root is 0 */
    int32_t *ids;           /* of nodes; -1: no piece ends here */
    double *scores;         /* of nodes */
    double unknown;
};

void hold_unigram_free(struct hold_unigram *u) {
    if (u != NULL) {
        hold_pairs_release(&u->trie);
        hold_free(u->ids);
        hold_free(u->scores);
        hold_free(u);
    }
}

static int insert(struct hold_unigram *u, const struct hold_unigram_piece *piece, int32_t *n_nodes,
                  struct hold_error *err) {
    int32_t node = 0;
    for (uint32_t i = 0; i < piece->len; i++) {
        int32_t byte = (unsigned char)piece->text[i];
        const struct hold_pair *next = hold_pairs_get(&u->trie, node, byte);
        if (next == NULL) {
            int rc = hold_pairs_put(&u->trie, node, byte, 0, *n_nodes, err);
            if (rc != HOLD_OK) {
                return rc;
            }
            node = (*n_nodes)++;
            u->ids[node] = -1;
        } else {
            node = next->id;
        }
    }
    u->ids[node] = piece->id;
    u->scores[node] = piece->score;
    return HOLD_OK;
}

int hold_unigram_new(struct hold_unigram **out, const struct hold_unigram_piece *pieces, size_t n,
                     struct hold_error *err) {
    *out = NULL;
    size_t nodes = 1;
    double least = 0;
    for (size_t i = 0; i < n; i++) {
        if (pieces[i].len == 0 || pieces[i].len > HOLD_UNIGRAM_PIECE_MAX) {
            return hold_fail(err, HOLD_EUNSUPPORTED,
                             "piece %d has %u bytes, 1 to %d are taken in a unigram vocabulary",
                             pieces[i].id, pieces[i].len, HOLD_UNIGRAM_PIECE_MAX);
        }
        if (!isfinite(pieces[i].score)) {
            return hold_fail(err, HOLD_EFORMAT, "piece %d: its score is not finite", pieces[i].id);
        }
        least = i == 0 || pieces[i].score < least ? pieces[i].score : least;
        nodes += pieces[i].len;
    }
    if (nodes > INT32_MAX) {
        return hold_fail(err, HOLD_EUNSUPPORTED, "pieces of %zu bytes are too many", nodes);
    }
    struct hold_unigram *u = NULL;
    int rc = hold_new((void **)&u, 1, sizeof *u, "unigram model", err);
    if (rc != HOLD_OK) {
        return rc;
    }
    u->unknown = least - UNKNOWN_PENALTY;
    rc = hold_pairs_init(&u->trie, nodes, err);
    if (rc == HOLD_OK) {
        rc = hold_new((void **)&u->ids, nodes, sizeof *u->ids, "unigram model", err);
    }
    if (rc == HOLD_OK) {
        rc = hold_new((void **)&u->scores, nodes, sizeof *u->scores, "unigram model", err);
        u->ids[0] = -1;
    }
    int32_t n_nodes = 1;
    for (size_t i = 0; rc == HOLD_OK && i < n; i++) {
        rc = insert(u, &pieces[i], &n_nodes, err);
    }
    if (rc != HOLD_OK) {
        hold_unigram_free(u);
        return rc;
    }
    *out = u;
    return HOLD_OK;
}

/* The best way to reach a byte: the score, and the last piece and where it begins. */
struct reach {
    double score;
    uint32_t from; /* UINT32_MAX: not reached */
    int32_t id;    /* -1: an unknown character */
};

static inline void offer(struct reach *r, double score, size_t from, int32_t id) {
    if (r->from == UINT32_MAX || score > r->score) {
        *r = (struct reach){score, (uint32_t)from, id};
    }
}

static size_t character_bytes(unsigned char lead) {
    return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

static void forward(const struct hold_unigram *u, const char *text, size_t n, struct reach *best) {
    for (size_t i = 1; i <= n; i++) {
        best[i].from = UINT32_MAX;
    }
    best[0] = (struct reach){0};
    for (size_t at = 0, step = 0; at < n; at += step) {
        step = character_bytes((unsigned char)text[at]);
        bool single = false;
        int32_t node = 0;
        for (size_t i = at; i < n; i++) {
            const struct hold_pair *next =
                hold_pairs_get(&u->trie, node, (int32_t)(unsigned char)text[i]);
            if (next == NULL) {
                break;
            }
            node = next->id;
            if (u->ids[node] >= 0) {
                offer(&best[i + 1], best[at].score + u->scores[node], at, u->ids[node]);
                single = single || i + 1 == at + step;
            }
        }
        if (!single) {
            offer(&best[at + step], best[at].score + u->unknown, at, -1);
        }
    }
}

int hold_unigram_run(const struct hold_unigram *u, const char *text, size_t n,
                     const struct hold_unigram_sink *sink, struct hold_error *err) {
    struct reach *best = NULL;
    if (n >= UINT32_MAX) {
        return hold_fail(err, HOLD_EDATA, "a text of %zu bytes is too long", n);
    }
    int rc = hold_new((void **)&best, n + 1, sizeof *best, "a text's pieces", err);
    if (rc != HOLD_OK) {
        return rc;
    }
    forward(u, text, n, best);
    /* Turn the chain around: best[b].from becomes where the piece that begins at b ends. */
    uint32_t end = (uint32_t)n, after = UINT32_MAX;
    int32_t after_id = -1;
    while (n > 0) {
        uint32_t from = best[end].from;
        int32_t id = best[end].id;
        best[end].from = after;
        best[end].id = after_id;
        if (end == 0) {
            break;
        }
        after = end;
        after_id = id;
        end = from;
    }
    for (size_t at = 0; rc == HOLD_OK && at < n;) {
        int32_t id = best[at].id;
        size_t to = best[at].from;
        while (id < 0 && to < n && best[to].id < 0) {
            to = best[to].from;
        }
        rc = sink->piece(sink->user, id, at, to, err);
        at = to;
    }
    hold_free(best);
    return rc;
}
