/* cmd_template.c: `holdfast template`: rows of messages through the model's chat template. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "tokenizer/template.h"

#define T struct options
struct options {
    const char *model;
    bool add_generation_prompt, ids;
};
static const struct hold_option options[] = {
    HOLD_CLI_MODEL(T),
    HOLD_BOOL(T, add_generation_prompt, false, "end with the beginning of an answer"),
    HOLD_BOOL(T, ids, false, "token ids in place of text"),
    {0},
};
#undef T

/* The row's messages as they are; rows of other shapes (Alpaca, prompt ...) become messages.
 * *out: new reference. */
static int messages_of(json_t *row, const char *path, long line, json_t **out,
                       struct hold_error *err) {
    json_t *messages = json_object_get(row, "messages");
    if (json_is_array(messages)) {
        *out = json_incref(messages);
        return HOLD_OK;
    }
    struct hold_rows rows = {.path = hold_strdup(path)};
    int rc = rows.path == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for a row")
                               : hold_rows_add(&rows, row, line, NULL, err);
    if (rc == HOLD_OK && rows.row[0].messages == NULL)
        rc = hold_fail(err, HOLD_EDATA, "%s:%ld: a text row has no messages", path, line);
    if (rc == HOLD_OK)
        *out = json_incref(rows.row[0].messages);
    hold_rows_release(&rows);
    return rc;
}

static int print_ids(const struct hold_tokenizer *tokenizer, const struct hold_rendered *r,
                     const json_t *messages, struct hold_str *out, struct hold_error *err) {
    struct hold_ids ids = {0};
    int rc = hold_template_tokenize(tokenizer, r, messages, &ids, NULL, err);
    hold_cli_add_ids(&ids, out);
    hold_ids_release(&ids);
    return rc;
}

static int render(const struct options *o, const struct hold_text_side *text, json_t *row,
                  const char *path, long line, struct hold_str *out, struct hold_error *err) {
    struct hold_rendered r = {0};
    json_t *messages = NULL;
    int rc = messages_of(row, path, line, &messages, err);
    if (rc < 0)
        return rc;
    struct hold_render_options with = {.add_generation_prompt = o->add_generation_prompt,
                                       .bos_token = text->files.bos_token,
                                       .eos_token = text->files.eos_token,
                                       .extra = row,
                                       .now = hold_cli_now()};
    rc = hold_template_render(text->chat, messages, &with, &r, err);
    if (rc < 0) {
        char why[HOLD_ERROR_TEXT];
        memcpy(why, err->text, sizeof why);
        rc = hold_fail(err, rc, "%s:%ld: %s", path, line, why);
    } else if (o->ids) {
        rc = print_ids(text->files.tokenizer, &r, messages, out, err);
    } else {
        json_t *shown = hold_cli_json_text(hold_str_text(&r.text), r.text.len);
        rc = shown == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for a text")
                           : hold_json_line(shown, out, err);
        json_decref(shown);
    }
    hold_str_add_char(out, '\n');
    hold_rendered_release(&r);
    json_decref(messages);
    return rc;
}

static int each_line(struct hold_cli *cli, const struct options *o,
                     const struct hold_text_side *text, struct hold_lines *lines,
                     struct hold_str *out, struct hold_error *err) {
    struct hold_str line = HOLD_STR_INIT;
    bool got = true;
    int rc = HOLD_OK;
    while ((rc = hold_lines_next(lines, &line, &got, err)) == HOLD_OK && got) {
        json_t *row = NULL;
        const char *bytes = hold_str_text(&line);
        if (bytes[strspn(bytes, " \t\r")] == '\0')
            continue;
        rc = hold_json_parse(&row, bytes, line.len, lines->path, lines->line, err);
        if (rc == HOLD_OK && !json_is_object(row))
            rc = hold_fail(err, HOLD_EDATA, "%s:%ld: found %s, expected an object with messages",
                           lines->path, lines->line, hold_json_kind(row));
        if (rc == HOLD_OK)
            rc = render(o, text, row, lines->path, lines->line, out, err);
        json_decref(row);
        if (rc == HOLD_OK && hold_stopped(&cli->ctx))
            rc = hold_fail(err, HOLD_EINTERRUPTED, "interrupted");
        if (rc < 0)
            break;
    }
    hold_str_release(&line);
    return rc;
}

static int run(struct hold_cli *cli, void *opts, int n_args, char **args, struct hold_error *err) {
    const struct options *o = opts;
    struct hold_text_side text = {0};
    struct hold_str out = HOLD_STR_INIT;
    void *lines = NULL;
    bool open = false;
    int rc = hold_new(&lines, 1, sizeof(struct hold_lines), "lines", err);
    if (rc == HOLD_OK) {
        rc = hold_lines_open(lines, n_args > 0 ? args[0] : "-", err);
        open = rc == HOLD_OK;
    }
    if (rc == HOLD_OK)
        rc = hold_cli_text_side(cli, o->model, &text, err);
    if (rc == HOLD_OK && text.chat == NULL)
        rc = hold_fail(err, HOLD_EUSAGE, "%s: the model has no chat template", o->model);
    if (rc == HOLD_OK)
        rc = each_line(cli, o, &text, lines, &out, err);
    if (rc == HOLD_OK)
        rc = hold_cli_write("", &out, err);
    if (open)
        hold_lines_close(lines);
    hold_free(lines);
    hold_str_release(&out);
    hold_cli_text_release(&text);
    return rc;
}

const struct hold_command hold_cmd_template = {
    .name = "template",
    .summary = "render rows of messages by the model's chat template",
    .usage = "-m MODEL [FILE.jsonl] [--add-generation-prompt] [--ids]",
    .example = "  echo '{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}' | "
               "holdfast template --add-generation-prompt",
    .options = options,
    .size = sizeof(struct options),
    .max_args = 1,
    .run = run,
};
