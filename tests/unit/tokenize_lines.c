/* tokenize_lines.c: the driver of compare_lines.py: JSON strings to ids with a tokenizer alone, be
 * it a GGUF file without tensors or a tokenizer.json.
 *
 * tokenize_lines FILE [special | decode | time | json] < LINES
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "base/mem.h"
#include "formats/gguf.h"
#include "formats/vocab.h"
#include "tokenizer/tokenizer.h"

static int open_file(struct hold_tokenizer **out, const char *path, bool rewrite,
                     struct hold_error *err) {
    size_t n = strlen(path);
    int rc = HOLD_OK;
    if (n > 5 && strcmp(path + n - 5, ".json") == 0) {
        json_t *json = NULL;
        rc = hold_json_load(&json, path, err);
        if (rc == HOLD_OK) {
            rc = hold_tokenizer_from_json(out, json, NULL, path, err);
        }
        json_decref(json);
        return rc;
    }
    struct hold_gguf *gguf = NULL;
    struct hold_vocab vocab;
    enum hold_piece_type *types = NULL;
    rc = hold_gguf_open(&gguf, path, err);
    if (rc == HOLD_OK) {
        rc = hold_vocab_from_gguf(&vocab, &types, gguf, path, err);
    }
    if (rc == HOLD_OK) {
        rc = hold_tokenizer_new(out, &vocab, err);
    }
    if (rc == HOLD_OK && rewrite) {
        json_t *json = NULL;
        rc = hold_vocab_to_json(&json, &vocab, path, err);
        json_dumpf(json, stdout, JSON_COMPACT);
        json_decref(json);
    }
    hold_free(types);
    hold_gguf_free(gguf);
    return rc;
}

static int encode(const struct hold_tokenizer *t, const json_t *text, bool special,
                  struct hold_error *err) {
    struct hold_ids ids = {0};
    int rc = hold_tokenizer_encode(t, json_string_value(text), json_string_length(text), special,
                                   &ids, err);
    for (size_t i = 0; rc == HOLD_OK && i < ids.len; i++) {
        printf(i == 0 ? "[%d" : ",%d", ids.data[i]);
    }
    puts(ids.len == 0 ? "[]" : "]");
    hold_ids_release(&ids);
    return rc;
}

static int decode(const struct hold_tokenizer *t, const json_t *list, struct hold_error *err) {
    struct hold_ids ids = {0};
    struct hold_str text = HOLD_STR_INIT;
    int rc = HOLD_OK;
    for (size_t i = 0; rc == HOLD_OK && i < json_array_size(list); i++) {
        rc = hold_ids_push(&ids, (int32_t)json_integer_value(json_array_get(list, i)), err);
    }
    if (rc == HOLD_OK) {
        rc = hold_tokenizer_decode(t, ids.data, ids.len, false, &text, err);
    }
    for (size_t i = 0; rc == HOLD_OK && i < text.len; i++) {
        printf("%02x", (unsigned char)text.data[i]); /* any bytes */
    }
    putchar('\n');
    hold_ids_release(&ids);
    hold_str_release(&text);
    return rc;
}

/* Encode all lines `ROUNDS` times; prints bytes and the seconds of the fastest round. */
static int measure(const struct hold_tokenizer *t, struct hold_error *err) {
    enum { ROUNDS = 3 };
    struct hold_ids ids = {0};
    struct hold_str *lines = NULL;
    size_t n = 0, bytes = 0, cap = 0;
    char *line = NULL;
    double best = 1e9;
    int rc = HOLD_OK;
    for (size_t room = 0; rc == HOLD_OK && getline(&line, &room, stdin) > 0; n++) {
        json_t *text = NULL;
        if (n == cap) {
            cap = cap * 2 + 1024;
            lines = realloc(lines, cap * sizeof *lines);
        }
        rc = hold_json_parse(&text, line, strlen(line), "line", (long)n + 1, err);
        lines[n] = (struct hold_str){0};
        hold_str_add_bytes(&lines[n], json_string_value(text), json_string_length(text));
        bytes += lines[n].len;
        json_decref(text);
    }
    for (int round = 0; rc == HOLD_OK && round < ROUNDS; round++) {
        struct timespec from, to;
        clock_gettime(CLOCK_MONOTONIC, &from);
        for (size_t i = 0; rc == HOLD_OK && i < n; i++) {
            ids.len = 0;
            rc = hold_tokenizer_encode(t, hold_str_text(&lines[i]), lines[i].len, false, &ids, err);
        }
        clock_gettime(CLOCK_MONOTONIC, &to);
        double seconds =
            (double)(to.tv_sec - from.tv_sec) + 1e-9 * (double)(to.tv_nsec - from.tv_nsec);
        best = seconds < best ? seconds : best;
    }
    printf("%zu %.6f\n", bytes, best);
    for (size_t i = 0; i < n; i++) {
        hold_str_release(&lines[i]);
    }
    free(lines);
    free(line);
    hold_ids_release(&ids);
    return rc;
}

int main(int argc, char **argv) {
    struct hold_error err = {0};
    struct hold_tokenizer *t = NULL;
    const char *mode = argc > 2 ? argv[2] : "";
    char *line = NULL;
    size_t room = 0;
    if (argc < 2) {
        fputs("tokenize_lines FILE [special | decode | time | json] < LINES\n", stderr);
        return 2;
    }
    int rc = open_file(&t, argv[1], strcmp(mode, "json") == 0, &err); /* a GGUF as tokenizer.json */
    if (rc == HOLD_OK && strcmp(mode, "time") == 0) {
        rc = measure(t, &err);
    }
    for (long n = 1; rc == HOLD_OK && strcmp(mode, "json") != 0 && getline(&line, &room, stdin) > 0;
         n++) {
        json_t *value = NULL;
        rc = hold_json_parse(&value, line, strlen(line), "line", n, &err);
        if (rc == HOLD_OK) {
            rc = strcmp(mode, "decode") == 0 ? decode(t, value, &err)
                                             : encode(t, value, strcmp(mode, "special") == 0, &err);
        }
        json_decref(value);
    }
    if (rc != HOLD_OK) {
        fprintf(stderr, "%s\n", err.text);
    }
    free(line);
    hold_tokenizer_free(t);
    return rc == HOLD_OK ? 0 : 1;
}
