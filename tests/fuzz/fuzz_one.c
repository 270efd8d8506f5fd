/* fuzz_one.c: the fuzz targets: one input through one reader, chosen by FUZZ_TARGET at compile
 * time.
 *
 * With libFuzzer it is the target; with FUZZ_REPLAY its own main feeds it every file named on the
 * command line, so that gcc replays the corpora as tests.  A refusal must carry a one-line message.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "data/rows.h"
#include "data/unpack.h"
#include "formats/gguf.h"
#include "formats/hf.h"
#include "formats/safetensors.h"
#include "formats/vocab.h"
#include "lab/recipe.h"
#include "tokenizer/template.h"
#include "tokenizer/tokenizer.h"

enum { MANY = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DEMAND(x)                                                           \
    do {                                                                    \
        if (!(x)) {                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #x); \
            abort();                                                        \
        }                                                                   \
    } while (0)

/* Every failure says why, in one line. */
static int judged(int rc, const struct hold_error *err) {
    DEMAND(rc <= 0);
    DEMAND(rc == 0 || (err->text[0] != '\0' && strchr(err->text, '\n') == NULL));
    return rc;
}

/* The input as a file that has no name on any disk. */
struct input {
    int fd;
    char path[64];
};

__attribute__((unused)) static struct input input_open(const uint8_t *data, size_t size,
                                                       const char *name) {
    (void)name;
    struct input in = {.fd = memfd_create("fuzz", MFD_CLOEXEC)};
    DEMAND(in.fd >= 0);
    DEMAND(write(in.fd, data, size) == (ssize_t)size && lseek(in.fd, 0, SEEK_SET) == 0);
    snprintf(in.path, sizeof in.path, "/proc/self/fd/%d", in.fd);
    return in;
}

__attribute__((unused)) static void read_all(const struct hold_stored *t, int64_t n) {
    float *x = malloc(MANY * sizeof *x);
    DEMAND(x != NULL);
    for (int64_t i = 0; i < n; i++) {
        struct hold_error err = {0};
        int64_t count = hold_stored_count(&t[i]), block = hold_stored_block(t[i].type);
        int64_t take = count < MANY ? count : MANY - MANY % block;
        if (take == 0)
            continue;
        judged(hold_stored_to_f32(&t[i], 0, take, x, &err), &err);
        judged(hold_stored_to_f32(&t[i], count - take, take, x, &err), &err);
    }
    free(x);
}

__attribute__((unused)) static void use_tokenizer(struct hold_tokenizer *t) {
    static const char TEXT[] =
        "A fox's 12345 \xc3\xa9t\xc3\xa9 \xff <|im_end|></s>\n\n  \xe4\xb8\xad";
    struct hold_error err = {0};
    struct hold_ids ids = {0};
    struct hold_str text = HOLD_STR_INIT;
    for (int special = 0; special < 2; special++) {
        if (!judged(hold_tokenizer_encode(t, TEXT, sizeof TEXT - 1, special, &ids, &err), &err))
            judged(hold_tokenizer_decode(t, ids.data, ids.len, true, &text, &err), &err);
    }
    for (size_t i = 0; i < ids.len; i++)
        DEMAND(ids.data[i] >= 0 && ids.data[i] < hold_tokenizer_size(t));
    hold_ids_release(&ids);
    hold_str_release(&text);
}

#if defined FUZZ_GGUF
static void one(const uint8_t *data, size_t size) {
    struct hold_error err = {0};
    struct input in = input_open(data, size, "gguf");
    struct hold_gguf *g = NULL;
    if (!judged(hold_gguf_open(&g, in.path, &err), &err)) {
        int64_t n = 0;
        const struct hold_stored *t = hold_gguf_tensors(g, &n);
        read_all(t, n);
        struct hold_vocab v = {0};
        enum hold_piece_type *types = NULL;
        struct hold_tokenizer *tok = NULL;
        if (!judged(hold_vocab_from_gguf(&v, &types, g, "fuzz", &err), &err) &&
            !judged(hold_tokenizer_new(&tok, &v, &err), &err))
            use_tokenizer(tok);
        hold_tokenizer_free(tok);
        hold_free(types);
        hold_gguf_free(g);
    }
    struct hold_model_files files;
    if (!judged(hold_model_files_open(&files, in.path, &err), &err))
        hold_model_files_release(&files);
    close(in.fd);
}
#elif defined FUZZ_VOCAB
/* Tokenizer metadata of GGUF, written from lines "KEY:VALUE" that a fuzzer keeps well-formed: list
 * items end at "|", KEY is a letter of KEYS. */
static void put_u32(struct hold_str *s, uint32_t x) {
    hold_str_add_bytes(s, &x, sizeof x);
}
static void put_u64(struct hold_str *s, uint64_t x) {
    hold_str_add_bytes(s, &x, sizeof x);
}
static void put_text(struct hold_str *s, const char *text, size_t n) {
    put_u64(s, n);
    hold_str_add_bytes(s, text, n);
}

enum kind { WORD, NUMBER, FLAG, WORDS, REALS, NUMBERS };
static const struct key {
    char letter;
    enum kind kind;
    const char *name;
} KEYS[] = {
    {'m', WORD, "model"},
    {'p', WORD, "pre"},
    {'t', WORDS, "tokens"},
    {'g', WORDS, "merges"},
    {'s', REALS, "scores"},
    {'y', NUMBERS, "token_type"},
    {'b', NUMBER, "bos_token_id"},
    {'e', NUMBER, "eos_token_id"},
    {'u', NUMBER, "unknown_token_id"},
    {'d', NUMBER, "padding_token_id"},
    {'B', FLAG, "add_bos_token"},
    {'E', FLAG, "add_eos_token"},
    {'P', FLAG, "add_space_prefix"},
};
/* GGUF's numbers of the types, by kind; of a list's items for lists. */
static const uint32_t TYPES[] = {8, 4, 7, 8, 6, 5};

static void put_item(struct hold_str *s, enum kind kind, const char *text, size_t n) {
    char number[32];
    snprintf(number, sizeof number, "%.*s", (int)(n < 31 ? n : 31), text);
    float real = strtof(number, NULL);
    uint32_t whole = (uint32_t)strtol(number, NULL, 10);
    if (kind == WORD || kind == WORDS)
        put_text(s, text, n);
    else if (kind == REALS)
        hold_str_add_bytes(s, &real, sizeof real);
    else if (kind == FLAG)
        hold_str_add_char(s, (char)(whole != 0));
    else
        put_u32(s, whole);
}

static void put_value(struct hold_str *s, const struct key *k, const char *text, size_t n) {
    char name[64];
    snprintf(name, sizeof name, "tokenizer.ggml.%s", k->name);
    put_text(s, name, strlen(name));
    if (k->kind < WORDS) {
        put_u32(s, TYPES[k->kind]);
        put_item(s, k->kind, text, n);
        return;
    }
    uint64_t items = 0;
    for (size_t i = 0; i < n; i++)
        items += text[i] == '|';
    put_u32(s, 9);
    put_u32(s, TYPES[k->kind]);
    put_u64(s, items);
    for (size_t at = 0, i = 0; i < n; i++)
        if (text[i] == '|') {
            put_item(s, k->kind, text + at, i - at);
            at = i + 1;
        }
}

static void one(const uint8_t *data, size_t size) {
    struct hold_error err = {0};
    struct hold_str file = HOLD_STR_INIT, values = HOLD_STR_INIT;
    const char *p = (const char *)data, *end = p + size;
    bool seen[sizeof KEYS / sizeof *KEYS] = {false};
    uint64_t n_values = 0;
    while (p < end) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        stop = stop == NULL ? end : stop;
        for (size_t k = 0; k < sizeof KEYS / sizeof *KEYS; k++)
            if (stop - p > 1 && p[0] == KEYS[k].letter && p[1] == ':' && !seen[k]) {
                seen[k] = true;
                put_value(&values, &KEYS[k], p + 2, (size_t)(stop - p) - 2);
                n_values++;
            }
        p = stop == end ? end : stop + 1;
    }
    hold_str_add(&file, "GGUF");
    put_u32(&file, 3);
    put_u64(&file, 0);
    put_u64(&file, n_values);
    hold_str_add_bytes(&file, values.data, values.len);
    struct input in = input_open((const uint8_t *)file.data, file.len, "vocab");
    struct hold_gguf *g = NULL;
    struct hold_vocab v = {0};
    enum hold_piece_type *types = NULL;
    struct hold_tokenizer *tok = NULL;
    if (!judged(hold_gguf_open(&g, in.path, &err), &err) &&
        !judged(hold_vocab_from_gguf(&v, &types, g, "fuzz", &err), &err) &&
        !judged(hold_tokenizer_new(&tok, &v, &err), &err)) {
        json_t *json = NULL;
        use_tokenizer(tok);
        /* What is written as tokenizer.json is read again as the same tokenizer. */
        if (!judged(hold_vocab_to_json(&json, &v, "fuzz", &err), &err)) {
            struct hold_tokenizer *again = NULL;
            if (!judged(hold_tokenizer_from_json(&again, json, NULL, "fuzz", &err), &err))
                use_tokenizer(again);
            hold_tokenizer_free(again);
        }
        json_decref(json);
    }
    hold_tokenizer_free(tok);
    hold_free(types);
    hold_gguf_free(g);
    close(in.fd);
    hold_str_release(&file);
    hold_str_release(&values);
}
#elif defined FUZZ_PACKED
/* gzip or Zstandard: what they become stays within its bound. */
static void one(const uint8_t *data, size_t size) {
    struct hold_error err = {0};
    struct hold_str bytes = HOLD_STR_INIT;
    hold_str_add_bytes(&bytes, data, size);
    if (!judged(hold_data_unpack(&bytes, &err), &err))
        DEMAND(bytes.len <= HOLD_UNPACK_MAX && bytes.len <= HOLD_UNPACK_FLOOR + 200 * size);
    hold_str_release(&bytes);
}
#elif defined FUZZ_SAFETENSORS
static void one(const uint8_t *data, size_t size) {
    struct hold_error err = {0};
    struct input in = input_open(data, size, "safetensors");
    struct hold_safetensors *s = NULL;
    if (!judged(hold_safetensors_open(&s, in.path, &err), &err)) {
        int64_t n = 0;
        const struct hold_stored *t = hold_safetensors_tensors(s, &n);
        read_all(t, n);
        hold_safetensors_free(s);
    }
    close(in.fd);
}
#elif defined FUZZ_TOKENIZER
static void one(const uint8_t *data, size_t size) {
    struct hold_error err = {0};
    json_t *o = NULL;
    if (judged(hold_json_parse(&o, (const char *)data, size, "fuzz", 1, &err), &err))
        return;
    struct hold_tokenizer *t = NULL;
    if (!judged(hold_tokenizer_from_json(&t, o, NULL, "fuzz", &err), &err))
        use_tokenizer(t);
    hold_tokenizer_free(t);
    json_decref(o);
}
#elif defined FUZZ_TEMPLATE
static void one(const uint8_t *data, size_t size) {
    static const char MESSAGES[] = "[{\"role\":\"system\",\"content\":\"Be\"},{\"role\":\"user\","
                                   "\"content\":\"a <|im_end|> b\"},"
                                   "{\"role\":\"assistant\",\"content\":\" \\u00e9 {{ x }} \"},"
                                   "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{"
                                   "\"type\":\"function\",\"function\":{\"name\":\"f\","
                                   "\"arguments\":{\"k\":[1,\"</s>\"]}}}]}]";
    struct hold_error err = {0};
    char *source = malloc(size + 1);
    DEMAND(source != NULL);
    memcpy(source, data, size);
    source[size] = '\0';
    struct hold_template *t = NULL;
    if (!judged(hold_template_new(&t, source, "fuzz", &err), &err)) {
        json_t *messages = json_loads(MESSAGES, 0, NULL);
        DEMAND(messages != NULL);
        struct hold_render_options options = {
            .add_generation_prompt = true, .bos_token = "<s>", .eos_token = "</s>", .now = 1};
        struct hold_rendered r = {0};
        if (!judged(hold_template_render(t, messages, &options, &r, &err), &err)) {
            /* No byte claims a message that is not there. */
            for (size_t i = 0; i < r.text.len; i++)
                DEMAND(r.message[i] >= HOLD_FROM_OTHER && r.message[i] < 4);
            /* Only the message that calls a tool is given more than it says. */
            bool inexact = false;
            if (!judged(hold_template_own_calls(t, messages, &options, &r, &inexact, &err), &err))
                for (size_t i = 0; r.owner != NULL && i < r.text.len; i++)
                    DEMAND(r.owner[i] == -1 || r.owner[i] == 3);
        }
        hold_rendered_release(&r);
        json_decref(messages);
    }
    hold_template_free(t);
    free(source);
}
#elif defined FUZZ_JSONL || defined FUZZ_CSV
#ifdef FUZZ_JSONL
#define ENDING "jsonl"
#else
#define ENDING "csv"
#endif
static void one(const uint8_t *data, size_t size) {
    struct hold_error err = {0};
    char path[64];
    snprintf(path, sizeof path, "fuzz-%ld." ENDING, (long)getpid());
    FILE *f = fopen(path, "wb");
    DEMAND(f != NULL && fwrite(data, 1, size, f) == size && fclose(f) == 0);
    struct hold_rows rows = {0};
    struct hold_issues issues = {0};
    int64_t whole = -1;
    if (!judged(hold_rows_read(&rows, path, NULL, &err), &err))
        whole = rows.n;
    hold_rows_release(&rows);
    rows = (struct hold_rows){0};
    if (!judged(hold_rows_read(&rows, path, &issues, &err), &err)) {
        /* Both readings agree about what is good. */
        DEMAND(whole < 0 || rows.n == whole);
        DEMAND(whole >= 0 || issues.n_errors > 0);
        /* A side of a good row is a good row. */
        int64_t left_out = 0, n = rows.n, before = issues.n_errors;
        bool none =
            judged(hold_rows_take_side(&rows, HOLD_SIDE_REJECTED, &left_out, &issues, &err), &err);
        DEMAND(none || issues.n_errors > before || rows.n + left_out == n);
        DEMAND(none || issues.n_errors <= before + 1);
    }
    hold_rows_release(&rows);
    hold_issues_release(&issues);
    unlink(path);
}
#elif defined FUZZ_RECIPE
static void one(const uint8_t *data, size_t size) {
    struct hold_error err = {0};
    struct input in = input_open(data, size, "recipe");
    struct hold_recipe r;
    if (!judged(hold_recipe_read(&r, in.path, NULL, 0, &err), &err))
        hold_recipe_release(&r);
    close(in.fd);
}
#else
#error "name a target"
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    one(data, size);
    return 0;
}

#ifdef FUZZ_REPLAY
int main(int n, char **name) {
    for (int i = 1; i < n; i++) {
        struct hold_error err = {0};
        struct hold_str bytes = HOLD_STR_INIT;
        if (hold_file_read(name[i], 0, &bytes, &err)) {
            fprintf(stderr, "%s\n", err.text);
            return 1;
        }
        /* Exactly its size, so that the sanitizer sees a read past the end. */
        uint8_t *copy = malloc(bytes.len ? bytes.len : 1);
        DEMAND(copy != NULL);
        if (bytes.len)
            memcpy(copy, bytes.data, bytes.len);
        one(copy, bytes.len);
        free(copy);
        hold_str_release(&bytes);
    }
    printf("%d inputs\n", n - 1);
    return n > 1 ? 0 : 1;
}
#endif
