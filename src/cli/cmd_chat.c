/* cmd_chat.c: `holdfast chat`: a conversation, the answer printed as it comes. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/commands.h"

#define T struct options
struct options {
    const char *model, *adapter, *system;
    int64_t max_tokens, top_k, seed;
    double temperature, top_p;
};
static const struct hold_option options[] = {
    HOLD_CLI_MODEL(T),
    HOLD_TEXT(T, adapter, "", NULL, "PEFT folder to merge, or several by commas"),
    HOLD_TEXT(T, system, "", NULL, "system message"),
    HOLD_INT(T, max_tokens, 512, 1, 1000000, "new tokens an answer"),
    HOLD_REAL(T, temperature, 0.7, 0, 100, "0: greedy"),
    HOLD_REAL(T, top_p, 0.95, 0, 1, "mass that is sampled from"),
    HOLD_INT(T, top_k, 0, 0, 1000000, "candidates that are sampled from; 0: all"),
    HOLD_INT(T, seed, 42, 0, 9007199254740991, "of sampling; each answer has its own from it"),
    {0},
};
#undef T

struct chat {
    struct hold_cli *cli;
    const struct options *o;
    struct hold_model *m;
    json_t *messages;
    int64_t answers;
    bool terminal; /* a person types */
    bool screen;   /* a person reads */
};

static const char *const HELP =
    "/reset forgets the conversation, /system TEXT sets the system message (and forgets),\n"
    "/help shows this, /quit or Ctrl-D ends; Ctrl-C stops an answer;\n"
    "\"\"\" stands before and behind a text of several lines.\n";
static const char QUOTES[] = "\"\"\"";

/* Ctrl-C at a terminal stops what is going on, not the program; SIGTERM and a pipe's end do. */
static bool take_interrupt(struct chat *c) {
    if (!c->terminal || *c->cli->ctx.stop != SIGINT)
        return false;
    hold_cli_forget_signal();
    return true;
}

static int say(json_t *messages, const char *role, const char *text, struct hold_error *err) {
    json_t *content = hold_cli_json_text(text, strlen(text));
    json_t *message =
        content == NULL ? NULL : json_pack("{s:s, s:o}", "role", role, "content", content);
    if (message == NULL || json_array_append_new(messages, message) != 0)
        return hold_fail(err, HOLD_ENOMEMORY, "no memory for the conversation");
    return HOLD_OK;
}

/* On a screen an answer's control characters could do more than be read. */
static int print_piece(void *user, const char *text, size_t n) {
    const bool *screen = user;
    if (*screen) {
        for (size_t i = 0; i < n; i++) {
            unsigned char x = (unsigned char)text[i];
            putchar((x < 0x20 && x != '\n' && x != '\t') || x == 0x7f ? '?' : x);
        }
        return ferror(stdout) != 0 || fflush(stdout) != 0;
    }
    return fwrite(text, 1, n, stdout) != n || fflush(stdout) != 0;
}

static int reset(struct chat *c, const char *system, struct hold_error *err) {
    json_array_clear(c->messages);
    return system[0] == '\0' ? HOLD_OK : say(c->messages, "system", system, err);
}

/* An answer to the messages so far.  A question that cannot be answered (too long, refused by the
 * template) is taken back and the talk goes on. */
static int answer(struct chat *c, struct hold_error *err) {
    struct hold_renderer r = hold_cli_renderer(c->m, 0);
    struct hold_generate_options g = {.max_tokens = c->o->max_tokens,
                                      .temperature = c->o->temperature,
                                      .top_p = c->o->top_p,
                                      .top_k = c->o->top_k,
                                      .seed = (uint64_t)(c->o->seed + c->answers)};
    struct hold_ids ids = {0};
    struct hold_generated out = {0};
    struct hold_ctx quiet = c->cli->ctx;
    quiet.progress = NULL;
    int rc = hold_render_prompt(&r, c->messages, NULL, &ids, err);
    if (rc == HOLD_OK && (int64_t)ids.len >= c->m->shape.max_positions)
        rc = hold_fail(err, HOLD_EDATA,
                       "the conversation has %zu tokens, the model takes %lld; /reset begins anew",
                       ids.len, (long long)c->m->shape.max_positions);
    if (rc == HOLD_OK)
        rc = hold_generate_stream(c->m, &ids, &g, print_piece, &c->screen, &quiet, &out, err);
    hold_ids_release(&ids);
    if (rc == HOLD_OK || rc == HOLD_EINTERRUPTED) {
        printf("\n");
        int status = say(c->messages, "assistant", out.text == NULL ? "" : out.text, err);
        rc = rc == HOLD_OK ? status : rc;
        c->answers++;
    }
    hold_generated_free(&out, 1);
    if (ferror(stdout) != 0)
        return hold_fail(err, HOLD_EIO, "standard output: writing failed");
    if (rc == HOLD_EINTERRUPTED && take_interrupt(c))
        return HOLD_OK;
    if (rc == HOLD_EDATA || rc == HOLD_EUSAGE) {
        fprintf(stderr, "holdfast: %s\n", err->text);
        json_array_remove(c->messages, json_array_size(c->messages) - 1);
        return HOLD_OK;
    }
    return rc;
}

/* A line that begins with '/'.  *end: the talk is over. */
static int obey(struct chat *c, const char *line, bool *end, struct hold_error *err) {
    if (strcmp(line, "/quit") == 0 || strcmp(line, "/exit") == 0 || strcmp(line, "/bye") == 0)
        *end = true;
    else if (strcmp(line, "/reset") == 0)
        return reset(c, c->o->system, err);
    else if (hold_starts(line, "/system ") || strcmp(line, "/system") == 0)
        return reset(c, line + strlen("/system") + (line[strlen("/system")] == ' '), err);
    else if (strcmp(line, "/help") == 0)
        fputs(HELP, stderr);
    else {
        char shown[128];
        hold_visible(shown, sizeof shown, line);
        fprintf(stderr, "unknown command '%s'\n%s", shown, HELP);
    }
    return HOLD_OK;
}

/* The next line, or the next text between triple quotes, of which the quotes are cut off (*quoted).
 * An interrupt drops what was begun. */
static int next_text(struct chat *c, struct hold_lines *lines, struct hold_str *text, bool *quoted,
                     bool *got, struct hold_error *err) {
    struct hold_str line = HOLD_STR_INIT;
    size_t n = strlen(QUOTES);
    int rc = HOLD_OK;
    hold_str_clear(text);
    *quoted = false;
    do {
        if (c->terminal)
            fputs(*quoted ? ". " : "> ", stderr);
        rc = hold_lines_next(lines, &line, got, err);
        if (rc == HOLD_EINTERRUPTED && take_interrupt(c)) {
            fputs("\n/quit or Ctrl-D ends\n", stderr);
            hold_str_clear(text);
            *quoted = false;
            *got = true;
            rc = HOLD_OK;
            continue;
        }
        if (rc < 0 || !*got)
            break;
        const char *part = hold_str_text(&line);
        if (*quoted) {
            hold_str_add_char(text, '\n');
        } else if (hold_starts(part, QUOTES)) {
            *quoted = true;
            part += n;
        }
        hold_str_add(text, part);
        if (!*quoted)
            break;
    } while (!*quoted || text->len < n || !hold_ends(hold_str_text(text), QUOTES));
    if (*quoted && hold_ends(hold_str_text(text), QUOTES))
        hold_str_cut(text, text->len - n);
    *got = *got || text->len > 0; /* the input may end inside quotes */
    (void)take_interrupt(c);      /* one that came while the line was on its way */
    hold_str_release(&line);
    return rc < 0 ? rc : hold_str_check(text, err);
}

static int talk(struct chat *c, struct hold_lines *lines, struct hold_error *err) {
    struct hold_str line = HOLD_STR_INIT;
    bool got = true, end = false;
    int rc = reset(c, c->o->system, err);
    while (rc == HOLD_OK && !end) {
        bool quoted = false;
        rc = next_text(c, lines, &line, &quoted, &got, err);
        if (rc < 0 || !got)
            break;
        const char *text = hold_str_text(&line);
        if (text[strspn(text, " \t\r\n")] == '\0')
            continue;
        if (text[0] == '/' && !quoted) {
            rc = obey(c, text, &end, err);
            continue;
        }
        rc = say(c->messages, "user", text, err);
        if (rc == HOLD_OK)
            rc = answer(c, err);
    }
    if (c->terminal && !end)
        fputc('\n', stderr);
    hold_str_release(&line);
    return rc;
}

static int run(struct hold_cli *cli, void *opts, int n_args, char **args, struct hold_error *err) {
    const struct options *o = opts;
    (void)n_args;
    (void)args;
    struct hold_device *device = NULL;
    struct hold_model model = {0};
    struct chat c = {.cli = cli,
                     .o = o,
                     .m = &model,
                     .terminal = isatty(STDIN_FILENO) == 1,
                     .screen = isatty(STDOUT_FILENO) == 1};
    void *lines = NULL;
    int rc = hold_cli_open(cli, o->model, o->adapter, &device, &model, err);
    int64_t levels;
    if (rc == HOLD_OK)
        rc = hold_model_read_levels(&model, &levels, err);
    if (rc == HOLD_OK && model.chat == NULL)
        rc = hold_fail(err, HOLD_EUSAGE, "%s: the model has no chat template", o->model);
    if (rc == HOLD_OK)
        rc = hold_new(&lines, 1, sizeof(struct hold_lines), "lines", err);
    if (rc == HOLD_OK)
        rc = hold_lines_open(lines, "-", err);
    c.messages = json_array();
    if (rc == HOLD_OK && c.messages == NULL)
        rc = hold_fail(err, HOLD_ENOMEMORY, "no memory for the conversation");
    if (rc == HOLD_OK && c.terminal)
        fprintf(stderr, "%s\n%s", o->model, HELP);
    if (rc == HOLD_OK)
        rc = talk(&c, lines, err);
    json_decref(c.messages);
    hold_free(lines);
    hold_model_release(&model);
    hold_device_free(device);
    return rc;
}

const struct hold_command hold_cmd_chat = {
    .name = "chat",
    .summary = "talk with a model",
    .usage = "-m MODEL [--adapter DIR] [--system TEXT]",
    .example = "  echo 'Name three colours.' | holdfast chat --max-tokens 32",
    .options = options,
    .size = sizeof(struct options),
    .max_args = 0,
    .run = run,
};
