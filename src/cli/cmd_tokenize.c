/* cmd_tokenize.c: `holdfast tokenize`: lines of text to arrays of ids and back. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/commands.h"

#define T struct options
struct options {
    const char *model;
    bool special, decode, json_lines;
};
static const struct hold_option options[] = {
    HOLD_CLI_MODEL(T),
    HOLD_BOOL(T, special, false,
              "take and show the text of special tokens (<|im_end|>) as these tokens"),
    HOLD_BOOL(T, decode, false, "the reverse: arrays of ids to text"),
    HOLD_BOOL(T, json_lines, false, "a text is a JSON string, so that it may hold line ends"),
    {0},
};
#undef T

struct work {
    const struct options *o;
    const struct hold_tokenizer *tokenizer;
    struct hold_ids ids;
    struct hold_str text;
    char where[256];
};

static int parse(struct work *w, const struct hold_str *line, json_t **out,
                 struct hold_error *err) {
    return hold_json_parse(out, hold_str_text(line), line->len, w->where, 1, err);
}

static int encode(struct work *w, const struct hold_str *line, struct hold_str *out,
                  struct hold_error *err) {
    json_t *value = NULL;
    const char *text = hold_str_text(line);
    size_t n = line->len;
    int rc = w->o->json_lines ? parse(w, line, &value, err) : HOLD_OK;
    if (rc == HOLD_OK && w->o->json_lines) {
        if (!json_is_string(value))
            rc = hold_fail(err, HOLD_EDATA, "%s: found %s, expected a JSON string", w->where,
                           hold_json_kind(value));
        text = json_string_value(value);
        n = json_string_length(value);
    }
    w->ids.len = 0;
    if (rc == HOLD_OK)
        rc = hold_tokenizer_encode(w->tokenizer, text, n, w->o->special, &w->ids, err);
    if (rc == HOLD_OK)
        hold_cli_add_ids(&w->ids, out);
    if (rc == HOLD_OK)
        hold_str_add_char(out, '\n');
    json_decref(value);
    return rc;
}

static int decode(struct work *w, const struct hold_str *line, struct hold_str *out,
                  struct hold_error *err) {
    json_t *value = NULL;
    int rc = parse(w, line, &value, err);
    w->ids.len = 0;
    hold_str_clear(&w->text);
    if (rc == HOLD_OK)
        rc = hold_cli_take_ids(value, hold_tokenizer_size(w->tokenizer), w->where, &w->ids, err);
    json_decref(value);
    if (rc == HOLD_OK)
        rc = hold_tokenizer_decode(w->tokenizer, w->ids.data, w->ids.len, w->o->special, &w->text,
                                   err);
    if (rc < 0)
        return rc;
    if (w->o->json_lines) {
        json_t *text = hold_cli_json_text(hold_str_text(&w->text), w->text.len);
        rc = text == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for a text")
                          : hold_json_line(text, out, err);
        json_decref(text);
    } else {
        hold_str_add_bytes(out, hold_str_text(&w->text), w->text.len);
    }
    hold_str_add_char(out, '\n');
    return rc;
}

static int run(struct hold_cli *cli, void *opts, int n_args, char **args, struct hold_error *err) {
    enum { FLUSH = 1 << 16 };
    struct work w = {.o = opts};
    struct hold_text_side text = {0};
    struct hold_lines *lines = NULL;
    struct hold_str line = HOLD_STR_INIT, out = HOLD_STR_INIT;
    void *memory = NULL;
    bool got = true;
    int rc = hold_new(&memory, 1, sizeof *lines, "lines", err);
    lines = memory;
    if (rc == HOLD_OK)
        rc = hold_cli_text_side(cli, w.o->model, &text, err);
    if (rc == HOLD_OK)
        rc = hold_lines_open(lines, n_args > 0 ? args[0] : "-", err);
    w.tokenizer = text.files.tokenizer;
    while (rc == HOLD_OK && (rc = hold_lines_next(lines, &line, &got, err)) == HOLD_OK && got) {
        snprintf(w.where, sizeof w.where, "%.200s:%ld", lines->path, lines->line);
        rc = w.o->decode ? decode(&w, &line, &out, err) : encode(&w, &line, &out, err);
        if (rc == HOLD_OK && hold_stopped(&cli->ctx))
            rc = hold_fail(err, HOLD_EINTERRUPTED, "interrupted");
        if (rc == HOLD_OK && out.len >= FLUSH) {
            rc = hold_cli_write("", &out, err);
            hold_str_clear(&out);
        }
    }
    /* The lines before a bad one are good. */
    struct hold_error later = {0};
    int rc_out = hold_cli_write("", &out, rc == HOLD_OK ? err : &later);
    if (lines != NULL)
        hold_lines_close(lines);
    hold_free(memory);
    hold_ids_release(&w.ids);
    hold_str_release(&w.text);
    hold_str_release(&line);
    hold_str_release(&out);
    hold_cli_text_release(&text);
    return rc == HOLD_OK ? rc_out : rc;
}

const struct hold_command hold_cmd_tokenize = {
    .name = "tokenize",
    .summary = "lines of text to token ids, and back",
    .usage = "-m MODEL [--special] [--decode] [--json-lines] [FILE]",
    .example = "  printf 'Hello world\\n' | holdfast tokenize\n"
               "  printf 'Hello world\\n' | holdfast tokenize | holdfast tokenize --decode",
    .options = options,
    .size = sizeof(struct options),
    .max_args = 1,
    .run = run,
};
