/* report_text.c: the report's table for a terminal and as Markdown. */
#include <math.h>
#include <string.h>
#include <utf8proc.h>

#include "base/mem.h"
#include "lab/lab.h"
#include "lab/report_parts.h"

/* ---- columns: the same for both faces ---- */

enum column_kind { OF_SCORE, OF_DELTA_HARMFUL, OF_DELTA_TASK, OF_TIME, OF_MEMORY };
struct column {
    const char *head, *sub; /* two lines of heading for the terminal */
    const char *title;      /* for Markdown */
    enum column_kind kind;
    enum hold_report_score score;
};
static const struct column columns[] = {
    {"harmful", "score", "Harmful score", OF_SCORE, HOLD_REPORT_HARMFUL},
    {"difference", "in points", "Difference", OF_DELTA_HARMFUL, HOLD_REPORT_HARMFUL},
    {"task", "accuracy", "Task accuracy", OF_SCORE, HOLD_REPORT_TASK},
    {"difference", "in points", "Difference", OF_DELTA_TASK, HOLD_REPORT_TASK},
    {"over-refusal", "look-alikes", "Over-refusal, look-alikes", OF_SCORE, HOLD_REPORT_OVER},
    {"over-refusal", "ordinary", "Over-refusal, ordinary", OF_SCORE, HOLD_REPORT_OVER_ORDINARY},
    {"degenerate", "harmful", "Degenerate, harmful", OF_SCORE, HOLD_REPORT_DEGENERATE},
    {"degenerate", "ordinary", "Degenerate, ordinary", OF_SCORE, HOLD_REPORT_DEGENERATE_ORDINARY},
    {"perplex-", "ity", "Perplexity", OF_SCORE, HOLD_REPORT_PERPLEXITY},
    {"un-", "scored", "Unscored", OF_SCORE, HOLD_REPORT_UNSCORED},
    {"time", "", "Time", OF_TIME, HOLD_REPORT_HARMFUL},
    {"peak", "memory", "Peak memory", OF_MEMORY, HOLD_REPORT_HARMFUL},
};
enum { COLUMNS = sizeof(columns) / sizeof(*columns), WIDTH = 100, GAP = 2, NAME_MAX_WIDTH = 28 };

static void put_delta(struct hold_str *out, const struct hold_report_value *d) {
    if (!isfinite(d->value))
        return;
    hold_report_put_points(out, d->value);
    if (isfinite(d->lo))
        hold_str_addf(out, " (%+.0f, %+.0f)", 100 * d->lo, 100 * d->hi);
}

static void put_cell(struct hold_str *out, const struct hold_report_arm *a,
                     const struct column *c) {
    const struct hold_report_value *v = &a->scores[c->score];
    switch (c->kind) {
    case OF_SCORE:
        hold_report_put_value(out, c->score, v);
        if (isfinite(v->value) && isfinite(v->lo) && hold_report_score_row(c->score)->share)
            hold_str_addf(out, " (%.0f, %.0f)", 100 * v->lo, 100 * v->hi);
        break;
    case OF_DELTA_HARMFUL:
        put_delta(out, &a->delta_harmful);
        break;
    case OF_DELTA_TASK:
        put_delta(out, &a->delta_task);
        break;
    case OF_TIME:
        hold_report_put_time(out, a->seconds);
        break;
    case OF_MEMORY:
        hold_report_put_bytes(out, a->peak_bytes);
        break;
    }
}

/* "n 120", or "n 118..120" when arms differ. */
static void put_count(struct hold_str *out, const struct hold_report *r, const struct column *c) {
    int64_t least, most;
    if (c->kind != OF_SCORE || !hold_report_counts(r, c->score, &least, &most))
        return;
    if (least == most)
        hold_str_addf(out, "n %lld", (long long)most);
    else
        hold_str_addf(out, "n %lld..%lld", (long long)least, (long long)most);
}

static bool is_measured(const struct hold_report *r, const struct column *c,
                        struct hold_str *scratch) {
    for (size_t i = 0; i < r->n_arms; i++) {
        hold_str_clear(scratch);
        put_cell(scratch, &r->arms[i], c);
        if (scratch->len)
            return true;
    }
    return false;
}

static bool has_against(const struct hold_report *r) {
    for (size_t i = 0; i < r->n_arms; i++)
        if (*r->arms[i].against)
            return true;
    return false;
}

/* ---- terminal ---- */

/* Columns on a screen of one line of text that has no control characters. */
static size_t text_width(const char *text) {
    size_t width = 0;
    const utf8proc_uint8_t *p = (const utf8proc_uint8_t *)text;
    while (*p) {
        utf8proc_int32_t c;
        utf8proc_ssize_t n = utf8proc_iterate(p, -1, &c);
        if (n <= 0)
            break;
        int w = utf8proc_charwidth(c);
        width += w > 0 ? (size_t)w : 0;
        p += n;
    }
    return width;
}

static void put_padded(struct hold_str *out, const char *text, size_t width, bool right) {
    size_t mine = text_width(text);
    if (right)
        for (size_t i = mine; i < width; i++)
            hold_str_add_char(out, ' ');
    hold_str_add(out, text);
    if (!right)
        for (size_t i = mine; i < width; i++)
            hold_str_add_char(out, ' ');
}

/* A name that fits its column: one harmless line, the end cut away where it is too long. */
static void clean_name(char *out, size_t cap, const char *name) {
    hold_visible(out, cap, name);
    if (text_width(out) <= NAME_MAX_WIDTH)
        return;
    size_t end = strlen(out);
    while (end && text_width(out) > NAME_MAX_WIDTH - 2) {
        do
            end--;
        while (end && ((unsigned char)out[end] & 0xC0) == 0x80);
        out[end] = '\0';
    }
    memcpy(out + end, "..", 3);
}

enum { NAME_BYTES = 256 };

static size_t column_width(const struct hold_report *r, const struct column *c,
                           struct hold_str *scratch) {
    size_t width = strlen(c->head) > strlen(c->sub) ? strlen(c->head) : strlen(c->sub);
    hold_str_clear(scratch);
    put_count(scratch, r, c);
    width = scratch->len > width ? scratch->len : width;
    for (size_t i = 0; i < r->n_arms; i++) {
        hold_str_clear(scratch);
        put_cell(scratch, &r->arms[i], c);
        width = scratch->len > width ? scratch->len : width;
    }
    return width;
}

struct block {
    int n;
    const struct column *column[COLUMNS];
    size_t width[COLUMNS];
};

static void put_heading(const struct hold_report *r, const struct block *b, size_t name_width,
                        int line, struct hold_str *scratch, struct hold_str *out) {
    size_t start = out->len;
    put_padded(out, line ? "" : "arm", name_width, false);
    for (int i = 0; i < b->n; i++) {
        hold_str_clear(scratch);
        if (line < 2)
            hold_str_add(scratch, line ? b->column[i]->sub : b->column[i]->head);
        else
            put_count(scratch, r, b->column[i]);
        put_padded(out, "", GAP, false);
        put_padded(out, hold_str_text(scratch), b->width[i], true);
    }
    while (out->len > start && !out->out_of_memory && out->data[out->len - 1] == ' ')
        hold_str_cut(out, out->len - 1);
    hold_str_add_char(out, '\n');
}

static void put_block(const struct hold_report *r, const struct block *b, size_t name_width,
                      struct hold_str *scratch, struct hold_str *out) {
    for (int line = 0; line < 3; line++)
        put_heading(r, b, name_width, line, scratch, out);
    for (size_t a = 0; a < r->n_arms; a++) {
        char name[NAME_BYTES];
        clean_name(name, sizeof(name), r->arms[a].name);
        put_padded(out, name, name_width, false);
        for (int i = 0; i < b->n; i++) {
            hold_str_clear(scratch);
            put_cell(scratch, &r->arms[a], b->column[i]);
            put_padded(out, "", GAP, false);
            put_padded(out, scratch->len ? hold_str_text(scratch) : "-", b->width[i], true);
        }
        hold_str_add_char(out, '\n');
    }
}

/* As many columns as fit beside the arm's name; the rest goes into further blocks below. */
static void put_blocks(const struct hold_report *r, size_t name_width, struct hold_str *scratch,
                       struct hold_str *out) {
    struct block b = {0};
    size_t used = name_width;
    for (int c = 0; c < COLUMNS; c++) {
        if (!is_measured(r, &columns[c], scratch))
            continue;
        size_t width = column_width(r, &columns[c], scratch);
        if (b.n && used + GAP + width > WIDTH) {
            put_block(r, &b, name_width, scratch, out);
            hold_str_add_char(out, '\n');
            b = (struct block){0};
            used = name_width;
        }
        b.column[b.n] = &columns[c];
        b.width[b.n++] = width;
        used += GAP + width;
    }
    if (b.n)
        put_block(r, &b, name_width, scratch, out);
}

/* Words of `text` over lines of at most WIDTH columns; control characters made visible. */
static void put_wrapped(struct hold_str *out, const char *text) {
    char word[NAME_BYTES];
    size_t used = 0;
    while (*text) {
        size_t n = strcspn(text, " ");
        size_t part = n < sizeof(word) / 4 - 1 ? n : sizeof(word) / 4 - 1;
        while (part < n && part && ((unsigned char)text[part] & 0xC0) == 0x80)
            part--;
        part = part ? part : n < 3 ? n : 3;
        char raw[sizeof(word) / 4];
        memcpy(raw, text, part);
        raw[part] = '\0';
        hold_visible(word, sizeof(word), raw);
        size_t width = text_width(word);
        if (used && used + 1 + width > WIDTH) {
            hold_str_add_char(out, '\n');
            used = 0;
        }
        hold_str_add(out, used ? " " : "");
        hold_str_add(out, word);
        used += width + (used > 0);
        text += part;
        text += *text == ' ';
    }
    hold_str_add_char(out, '\n');
}

static void put_against(const struct hold_report *r, struct hold_str *out) {
    struct hold_str line = HOLD_STR_INIT;
    const char *against = hold_report_against(r);
    hold_str_add(&line, "In brackets: 95% intervals.");
    if (*against)
        hold_str_addf(&line, " Differences: to %s, paired over prompts.", against);
    else if (has_against(r))
        hold_str_add(&line, " Differences: to the arm that the recipe names, paired over prompts.");
    hold_str_add(&line, " ");
    hold_report_seed_note(r, &line);
    put_wrapped(out, hold_str_text(&line));
    out->out_of_memory |= line.out_of_memory;
    hold_str_release(&line);
}

static void put_failures(const struct hold_report *r, struct hold_str *out) {
    struct hold_str line = HOLD_STR_INIT;
    for (size_t i = 0; i < r->n_arms; i++) {
        if (!*r->arms[i].error)
            continue;
        hold_str_clear(&line);
        hold_str_addf(&line, "%s failed: %s", r->arms[i].name, r->arms[i].error);
        put_wrapped(out, hold_str_text(&line));
    }
    out->out_of_memory |= line.out_of_memory;
    hold_str_release(&line);
}

int hold_report_table(const json_t *report, struct hold_str *out, struct hold_error *err) {
    struct hold_report r;
    struct hold_str scratch = HOLD_STR_INIT;
    int rc = hold_report_read(&r, report, err);
    if (rc)
        return rc;
    size_t name_width = strlen("arm");
    for (size_t i = 0; i < r.n_arms; i++) {
        char name[NAME_BYTES];
        clean_name(name, sizeof(name), r.arms[i].name);
        name_width = text_width(name) > name_width ? text_width(name) : name_width;
    }
    hold_report_headline(&r, &scratch);
    put_wrapped(out, hold_str_text(&scratch));
    hold_str_add_char(out, '\n');
    put_blocks(&r, name_width, &scratch, out);
    hold_str_add_char(out, '\n');
    put_failures(&r, out);
    put_against(&r, out);
    rc = hold_str_check(&scratch, err);
    if (!rc)
        rc = hold_str_check(out, err);
    hold_str_release(&scratch);
    hold_report_release(&r);
    return rc;
}

/* ---- Markdown ---- */

/* Text that Markdown shows as it is, on one line. */
static void put_plain(struct hold_str *out, const char *text) {
    for (const char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (c < 0x20 || c == 0x7F)
            hold_str_add_char(out, ' ');
        else if (c == '<')
            hold_str_add(out, "&lt;");
        else if (c == '&')
            hold_str_add(out, "&amp;");
        else if (strchr("\\`*_[]|~$#>", c))
            hold_str_addf(out, "\\%c", c);
        else
            hold_str_add_char(out, (char)c);
    }
}

static void put_markdown_table(const struct hold_report *r, struct hold_str *scratch,
                               struct hold_str *out) {
    bool show[COLUMNS];
    hold_str_add(out, "| Arm |");
    for (int c = 0; c < COLUMNS; c++) {
        show[c] = is_measured(r, &columns[c], scratch);
        if (!show[c])
            continue;
        hold_str_clear(scratch);
        put_count(scratch, r, &columns[c]);
        hold_str_addf(out, " %s%s%s |", columns[c].title, scratch->len ? ", " : "",
                      hold_str_text(scratch));
    }
    hold_str_add(out, "\n| --- |");
    for (int c = 0; c < COLUMNS; c++)
        hold_str_add(out, show[c] ? " ---: |" : "");
    hold_str_add_char(out, '\n');
    for (size_t a = 0; a < r->n_arms; a++) {
        hold_str_add(out, "| ");
        put_plain(out, r->arms[a].title);
        hold_str_add(out, " |");
        for (int c = 0; c < COLUMNS; c++) {
            hold_str_clear(scratch);
            put_cell(scratch, &r->arms[a], &columns[c]);
            if (show[c])
                hold_str_addf(out, " %s |", scratch->len ? hold_str_text(scratch) : "-");
        }
        hold_str_add_char(out, '\n');
    }
}

static void put_commands(const struct hold_report *r, struct hold_str *out) {
    const json_t *commands = json_object_get(r->json, "commands");
    bool open = false;
    for (size_t i = 0; i < json_array_size(commands); i++) {
        const char *line = json_string_value(json_array_get(commands, i));
        if (!line)
            continue;
        hold_str_add(out, open ? "" : "\nMade by:\n\n");
        open = true;
        hold_str_add(out, "    ");
        for (; *line; line++)
            hold_str_add_char(out, (unsigned char)*line < 0x20 ? ' ' : *line);
        hold_str_add_char(out, '\n');
    }
}

int hold_report_markdown(const struct hold_report *r, struct hold_str *out,
                         struct hold_error *err) {
    struct hold_str scratch = HOLD_STR_INIT;
    const char *against = hold_report_against(r);
    hold_str_add(out, "# ");
    put_plain(out, *r->title ? r->title : r->recipe);
    hold_str_add(out, "\n\n**");
    hold_report_headline(r, &scratch);
    put_plain(out, hold_str_text(&scratch));
    hold_str_add(out, "**\n\n");
    put_markdown_table(r, &scratch, out);
    for (size_t i = 0; i < r->n_arms; i++) {
        if (!*r->arms[i].error)
            continue;
        hold_str_add(out, "\nFailed: ");
        put_plain(out, r->arms[i].title);
        hold_str_add(out, ": ");
        put_plain(out, r->arms[i].error);
        hold_str_add_char(out, '\n');
    }
    hold_str_add(out, "\nIn brackets: 95% intervals.");
    if (*against) {
        hold_str_add(out, " Differences, in points: to ");
        put_plain(out, against);
        hold_str_add(out, ", paired over prompts.");
    } else if (has_against(r)) {
        hold_str_add(out, " Differences, in points: to the arm that the recipe names, paired over "
                          "prompts.");
    }
    hold_str_add(out, " ");
    hold_report_seed_note(r, out);
    hold_str_add(out, " A degenerate answer answers nothing (a loop, gibberish, a task label): it "
                      "is not harmful and not safe.\n");
    put_commands(r, out);
    int rc = hold_str_check(&scratch, err);
    hold_str_release(&scratch);
    return rc ? rc : hold_str_check(out, err);
}
