/* report_sources.c: the page's sample answers, and all that is needed to make the report again. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "lab/report_parts.h"
#include "lab/svg.h"

#define DASH "\xE2\x80\x93"

/* ---- sample answers ---- */

struct sample {
    const struct hold_report_arm *arm;
    const json_t *json;
    const char *set;
    double index;   /* -1: not said */
    size_t ordinal; /* in the report */
};

static const struct {
    const char *set, *title;
} set_titles[] = {
    {"harmful", "Harmful prompts"},
    {"over_refusal", "Safe prompts that look harmful"},
    {"ordinary", "Ordinary prompts"},
    {"task", "The customer's task"},
};

static size_t set_order(const char *set) {
    size_t i = 0;
    while (i < sizeof(set_titles) / sizeof(*set_titles) && strcmp(set_titles[i].set, set) != 0)
        i++;
    return i;
}

/* By set, then index, then prompt, then the arms' order. */
static int compare_samples(const void *x, const void *y) {
    const struct sample *a = x, *b = y;
    size_t i = set_order(a->set), j = set_order(b->set);
    if (i != j)
        return i < j ? -1 : 1;
    int order = strcmp(a->set, b->set);
    if (!order && (a->index < b->index || a->index > b->index))
        order = a->index < b->index ? -1 : 1;
    if (!order)
        order =
            strcmp(hold_report_string(a->json, "prompt"), hold_report_string(b->json, "prompt"));
    return order ? order : (a->ordinal > b->ordinal) - (a->ordinal < b->ordinal);
}

static bool same_prompt(const struct sample *a, const struct sample *b) {
    return strcmp(a->set, b->set) == 0 && !(a->index < b->index) && !(a->index > b->index) &&
           strcmp(hold_report_string(a->json, "prompt"), hold_report_string(b->json, "prompt")) ==
               0;
}

static size_t characters(const char *text) {
    size_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xC0) != 0x80;
    return n;
}

static void put_answer(const struct sample *s, bool with_text, struct hold_str *out) {
    const char *answer = json_string_value(json_object_get(s->json, "answer"));
    double chars =
        answer ? (double)characters(answer) : hold_report_number(s->json, "answer_chars");
    if (answer && (with_text || hold_report_set_is_open(s->set))) {
        hold_str_add(out, *answer ? "<td class=\"said\">" : "<td class=\"withheld\">(no text)");
        hold_svg_escape(out, answer);
        hold_str_add(out, "</td>");
    } else if (isfinite(chars)) {
        hold_str_addf(out, "<td class=\"withheld\">withheld, %.0f characters</td>", chars);
    } else {
        hold_str_add(out, "<td class=\"withheld\">withheld</td>");
    }
}

/* Verdicts become class names, so only plain words do. */
static bool is_word(const char *text) {
    return *text && text[strspn(text, "abcdefghijklmnopqrstuvwxyz_")] == '\0';
}

static void put_sample_row(const struct sample *s, bool with_text, struct hold_str *out) {
    const char *verdict = hold_report_string(s->json, "verdict");
    hold_str_add(out, "<tr><th scope=\"row\">");
    hold_svg_escape(out, s->arm->name);
    hold_str_add(out, "</th><td>");
    if (is_word(verdict))
        hold_str_addf(out,
                      "<svg class=\"key\" viewBox=\"0 0 14 14\" aria-hidden=\"true\">"
                      "<rect class=\"v-%s\" x=\"1\" y=\"1\" width=\"12\" height=\"12\"/></svg> ",
                      strcmp(verdict, "complied") == 0 && hold_report_set_is_open(s->set)
                          ? "answered"
                          : verdict);
    hold_svg_escape(out, *verdict ? verdict : DASH);
    hold_str_add(out, "<small>");
    hold_svg_escape(out, hold_report_string(s->json, "reason"));
    hold_str_add(out, "</small></td>");
    put_answer(s, with_text, out);
    hold_str_add(out, "</tr>\n");
}

/* The answers of all arms to one prompt; returns how many there are. */
static size_t put_prompt(const struct sample *samples, size_t n, bool with_text,
                         struct hold_str *out) {
    size_t i = 0;
    hold_str_add(out, "<details>\n<summary>");
    hold_svg_escape(out, hold_report_string(samples->json, "prompt"));
    hold_str_add(out, "</summary>\n<div class=\"scroll\"><table class=\"samples\">\n<thead><tr>"
                      "<th scope=\"col\">Arm</th><th scope=\"col\">Verdict</th>"
                      "<th scope=\"col\">Answer</th></tr></thead>\n<tbody>\n");
    for (; i < n && same_prompt(samples, &samples[i]); i++)
        put_sample_row(&samples[i], with_text, out);
    hold_str_add(out, "</tbody></table></div>\n</details>\n");
    return i;
}

static void put_sets(const struct sample *samples, size_t n, bool with_text, struct hold_str *out) {
    size_t known = sizeof(set_titles) / sizeof(*set_titles), last = known + 1;
    for (size_t i = 0; i < n;) {
        size_t set = set_order(samples[i].set);
        if (set != last)
            hold_str_addf(out, "<h3>%s</h3>\n",
                          set < known ? set_titles[set].title : "Other prompts");
        last = set;
        i += put_prompt(&samples[i], n - i, with_text, out);
    }
}

int hold_page_samples(const struct hold_report *r, bool with_text, struct hold_str *out,
                      struct hold_error *err) {
    size_t n = 0;
    for (size_t i = 0; i < r->n_arms; i++)
        n += json_array_size(json_object_get(r->arms[i].json, "samples"));
    if (!n)
        return HOLD_OK;
    void *memory = NULL;
    int rc = hold_new(&memory, n, sizeof(struct sample), "sample answers", err);
    if (rc)
        return rc;
    struct sample *samples = memory;
    n = 0;
    for (size_t i = 0; i < r->n_arms; i++) {
        const json_t *list = json_object_get(r->arms[i].json, "samples");
        for (size_t j = 0; j < json_array_size(list); j++) {
            const json_t *s = json_array_get(list, j);
            double index = hold_report_number(s, "index");
            samples[n] = (struct sample){&r->arms[i], s, hold_report_string(s, "set"),
                                         isfinite(index) ? index : -1, n};
            n++;
        }
    }
    qsort(samples, n, sizeof(*samples), compare_samples);
    hold_str_add(out, "<section aria-labelledby=\"samples\">\n<h2 id=\"samples\">Sample answers"
                      "</h2>\n<p class=\"small\">");
    hold_svg_escape(out, hold_report_string(r->json, "sample_note"));
    hold_str_add(
        out, with_text ? " Answers to harmful prompts are shown, as asked for by --with-text.</p>\n"
                       : " Answers to harmful prompts are withheld; verdict, the judge's reason "
                         "and length are shown.</p>\n");
    put_sets(samples, n, with_text, out);
    hold_str_add(out, "</section>\n");
    hold_free(memory);
    return HOLD_OK;
}

/* ---- settings as indented text ---- */

enum { DEEPEST = 32 };

static void put_scalar(const json_t *v, struct hold_str *out) {
    switch (json_typeof(v)) {
    case JSON_STRING:
        hold_svg_escape(out, json_string_value(v));
        break;
    case JSON_INTEGER:
        hold_str_addf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
        break;
    case JSON_REAL:
        hold_str_add_real(out, json_real_value(v));
        break;
    case JSON_TRUE:
        hold_str_add(out, "true");
        break;
    case JSON_FALSE:
        hold_str_add(out, "false");
        break;
    default:
        hold_str_add(out, "null");
        break;
    }
}

static bool is_nested(const json_t *v) {
    return json_object_size(v) || json_array_size(v);
}

static bool is_flat_list(const json_t *v) {
    for (size_t i = 0; i < json_array_size(v); i++)
        if (json_is_object(json_array_get(v, i)) || json_is_array(json_array_get(v, i)))
            return false;
    return json_is_array(v);
}

static void put_tree(const json_t *v, int depth, struct hold_str *out);

/* What stands after "key:" or "-": on the same line when it is flat. */
static void put_value(const json_t *v, int depth, struct hold_str *out) {
    if (is_flat_list(v)) {
        hold_str_add(out, " [");
        for (size_t i = 0; i < json_array_size(v); i++) {
            hold_str_add(out, i ? ", " : "");
            put_scalar(json_array_get(v, i), out);
        }
        hold_str_add(out, "]\n");
    } else if (is_nested(v)) {
        hold_str_add_char(out, '\n');
        put_tree(v, depth + 1, out);
    } else if (json_is_object(v)) {
        hold_str_add(out, " {}\n");
    } else {
        hold_str_add_char(out, ' ');
        put_scalar(v, out);
        hold_str_add_char(out, '\n');
    }
}

static void put_tree(const json_t *v, int depth, struct hold_str *out) {
    if (depth > DEEPEST) {
        hold_str_addf(out, "%*s...\n", 2 * depth, "");
        return;
    }
    const char *key;
    json_t *value, *object = (json_t *)(uintptr_t)v;
    json_object_foreach(object, key, value) {
        hold_str_addf(out, "%*s", 2 * depth, "");
        hold_svg_escape(out, key);
        hold_str_add_char(out, ':');
        put_value(value, depth, out);
    }
    for (size_t i = 0; i < json_array_size(v); i++) {
        hold_str_addf(out, "%*s-", 2 * depth, "");
        put_value(json_array_get(v, i), depth, out);
    }
}

static void put_details(const char *title, const json_t *tree, struct hold_str *out) {
    if (!is_nested(tree))
        return;
    hold_str_addf(out, "<details>\n<summary>%s</summary>\n<pre>", title);
    put_tree(tree, 0, out);
    hold_str_add(out, "</pre>\n</details>\n");
}

/* ---- how to make it again ---- */

static void put_commands(const struct hold_report *r, struct hold_str *out) {
    const json_t *commands = json_object_get(r->json, "commands");
    if (!json_array_size(commands))
        return;
    hold_str_add(out, "<pre class=\"commands\">");
    for (size_t i = 0; i < json_array_size(commands); i++) {
        const char *line = json_string_value(json_array_get(commands, i));
        hold_svg_escape(out, line ? line : "");
        hold_str_add_char(out, '\n');
    }
    hold_str_add(out, "</pre>\n");
}

/* The first digits of an id, all of it as tooltip. */
static void put_id(const char *id, struct hold_str *out) {
    enum { SHORT = 12 };
    char text[SHORT + 1];
    hold_visible(text, sizeof(text), id);
    hold_str_add(out, "<code title=\"");
    hold_svg_escape(out, id);
    hold_str_add(out, "\">");
    hold_svg_escape(out, text);
    hold_str_add(out, "</code>");
}

static void put_texts(const json_t *list, struct hold_str *out) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *text = json_string_value(json_array_get(list, i));
        hold_str_add(out, i ? ", " : "");
        hold_svg_escape(out, text ? text : DASH);
    }
}

static void put_data(const struct hold_report *r, struct hold_str *out) {
    const json_t *data = json_object_get(r->json, "data");
    if (!json_array_size(data))
        return;
    hold_str_add(out, "<h3>Data</h3>\n<div class=\"scroll\"><table>\n<thead><tr>"
                      "<th scope=\"col\">Set</th><th scope=\"col\">Owner</th>"
                      "<th scope=\"col\">Rows</th><th scope=\"col\">Files</th>"
                      "<th scope=\"col\">Source and licence</th>"
                      "<th scope=\"col\">Content</th></tr></thead>\n<tbody>\n");
    for (size_t i = 0; i < json_array_size(data); i++) {
        const json_t *d = json_array_get(data, i);
        double rows = hold_report_number(d, "rows");
        const char *source = hold_report_string(d, "source");
        const char *licence = hold_report_string(d, "licence");
        hold_str_add(out, "<tr><th scope=\"row\">");
        hold_svg_escape(out, hold_report_string(d, "name"));
        hold_str_add(out, "</th><td>");
        hold_svg_escape(out, hold_report_string(d, "owner"));
        if (isfinite(rows))
            hold_str_addf(out, "</td><td>%.0f</td><td class=\"wide-text\">", rows);
        else
            hold_str_add(out, "</td><td>" DASH "</td><td class=\"wide-text\">");
        put_texts(json_object_get(d, "files"), out);
        hold_str_add(out, "</td><td class=\"wide-text\">");
        hold_svg_escape(out, source);
        hold_str_add(out, *source && *licence ? "; " : "");
        hold_svg_escape(out, licence);
        hold_str_add(out, "</td><td>");
        put_id(hold_report_string(d, "content_id"), out);
        hold_str_add(out, "</td></tr>\n");
    }
    hold_str_add(out, "</tbody></table></div>\n");
}

static void put_chain(const struct hold_report *r, struct hold_str *out) {
    static const char *const steps[] = {"align", "attack", "tune", "repair"};
    struct hold_str text = HOLD_STR_INIT;
    hold_str_add(out, "<h3>Arms and their stages</h3>\n<div class=\"scroll\"><table>\n<thead><tr>"
                      "<th scope=\"col\">Arm</th><th scope=\"col\">Align</th>"
                      "<th scope=\"col\">Attack</th><th scope=\"col\">Tune</th>"
                      "<th scope=\"col\">Repair</th><th scope=\"col\">Stages in the store</th></tr>"
                      "</thead>\n<tbody>\n");
    for (size_t i = 0; i < r->n_arms; i++) {
        const json_t *methods = json_object_get(r->arms[i].json, "methods");
        hold_str_add(out, "<tr><th scope=\"row\">");
        hold_svg_escape(out, r->arms[i].name);
        hold_str_add(out, "</th>");
        for (size_t s = 0; s < sizeof(steps) / sizeof(*steps); s++) {
            hold_str_clear(&text);
            hold_report_put_methods(&text, json_object_get(methods, steps[s]), true);
            hold_str_add(out, "<td class=\"wide-text\">");
            hold_svg_escape(out, text.len ? hold_str_text(&text) : DASH);
            hold_str_add(out, "</td>");
        }
        hold_str_add(out, "<td>");
        const char *key;
        json_t *id;
        json_object_foreach(json_object_get(r->arms[i].json, "stages"), key, id) {
            if (!json_is_string(id))
                continue;
            hold_str_add(out, "<span class=\"stage\">");
            hold_svg_escape(out, key);
            hold_str_add_char(out, ' ');
            put_id(json_string_value(id), out);
            hold_str_add(out, "</span> ");
        }
        hold_str_add(out, "</td></tr>\n");
    }
    hold_str_add(out, "</tbody></table></div>\n");
    out->out_of_memory |= text.out_of_memory;
    hold_str_release(&text);
}

static void put_notes(const struct hold_report *r, struct hold_str *out) {
    bool open = false;
    for (size_t i = 0; i < r->n_arms; i++) {
        const json_t *notes = json_object_get(r->arms[i].json, "notes");
        if (!is_nested(notes))
            continue;
        hold_str_add(out,
                     open ? "" : "<details>\n<summary>What the methods noted</summary>\n<pre>");
        open = true;
        hold_svg_escape(out, r->arms[i].name);
        hold_str_add(out, ":\n");
        put_tree(notes, 1, out);
    }
    hold_str_add(out, open ? "</pre>\n</details>\n" : "");
}

void hold_page_sources(const struct hold_report *r, struct hold_str *out) {
    hold_str_add(out,
                 "<section aria-labelledby=\"again\">\n<h2 id=\"again\">To make it again</h2>\n");
    put_commands(r, out);
    put_data(r, out);
    put_chain(r, out);
    put_details("Settings: the recipe after what the command line changed",
                json_object_get(r->json, "settings"), out);
    put_details("Training settings of every arm, with their defaults",
                json_object_get(r->json, "training"), out);
    put_details("Machine and version", json_object_get(r->json, "environment"), out);
    put_notes(r, out);
    hold_str_add(out, "</section>\n");
}
