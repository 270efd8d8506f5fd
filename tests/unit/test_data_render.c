/* test_data_render.c: rows to tokens with a byte tokenizer and the ChatML template; checks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "byte_tokenizer.h"
#include "data/render.h"

/* One id a byte, so that expected tokens can be read; in expected texts \1, \2 and \3 stand for
 * the three special tokens. */
enum { END_OF_TEXT = FIRST_SPECIAL, IM_START, IM_END };
static const char *const SPECIAL[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};

static const char CHATML[] =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nHi<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
static const char NO_END[] =
    "{% for message in messages %}{{ message['role'] + ':' + message['content'] + '\n' }}"
    "{% endfor %}";
static const char RAISES[] = "{% if messages[0]['role'] != 'user' %}"
                             "{{ raise_exception('user first') }}{% endif %}ok";

struct kit {
    struct hold_tokenizer *tokenizer;
    struct hold_template *chatml, *no_end, *raises;
    struct hold_renderer r;
};

static int make_kit(void **state) {
    static struct kit kit;
    struct hold_error err = {0};
    int status = make_byte_tokenizer(&kit.tokenizer, SPECIAL, 3, SPECIAL[0], SPECIAL[2], &err);
    if (!status)
        status = hold_template_new(&kit.chatml, CHATML, "chatml", &err);
    if (!status)
        status = hold_template_new(&kit.no_end, NO_END, "no_end", &err);
    if (!status)
        status = hold_template_new(&kit.raises, RAISES, "raises", &err);
    if (status)
        print_error("%s\n", err.text);
    kit.r = (struct hold_renderer){.tokenizer = kit.tokenizer,
                                   .chat = kit.chatml,
                                   .bos_token = "<|endoftext|>",
                                   .eos_token = "<|im_end|>"};
    *state = &kit;
    return status;
}

static int drop_kit(void **state) {
    struct kit *kit = *state;
    hold_template_free(kit->chatml);
    hold_template_free(kit->no_end);
    hold_template_free(kit->raises);
    hold_tokenizer_free(kit->tokenizer);
    return 0;
}

static void add(struct hold_rows *rows, const char *text) {
    struct hold_error err = {0};
    json_t *data = json_loads(text, 0, NULL);
    assert_non_null(data);
    if (hold_rows_add(rows, data, (long)rows->n + 1, NULL, &err))
        fail_msg("%s", err.text);
    json_decref(data);
}

static int32_t expected_id(char c) {
    return c > 0 && c < 4 ? END_OF_TEXT - 1 + c : (unsigned char)c;
}

/* The tokens must be `text`; those of weight w are marked in `weights` by the digit 2 w. */
static void check_example(const struct hold_example *e, const char *text, const char *weights) {
    assert_int_equal(e->n, strlen(text));
    assert_int_equal(strlen(weights), strlen(text));
    for (int32_t t = 0; t < e->n; t++) {
        float weight = weights[t] == ' ' ? 0.0F : (float)(weights[t] - '0') / 2.0F;
        assert_int_equal(e->ids[t], expected_id(text[t]));
        if (e->target_weight[t] < weight || e->target_weight[t] > weight)
            fail_msg("token %d: weight %g, expected %g", (int)t, (double)e->target_weight[t],
                     (double)weight);
    }
}

static void render(const struct hold_renderer *r, const char *row, const char *text,
                   const char *weights, bool expect_cut) {
    struct hold_rows rows = {0};
    struct hold_example e;
    struct hold_error err = {0};
    bool cut = !expect_cut;
    add(&rows, row);
    if (hold_render_example(r, &rows.row[0], 42, "f:1", &e, &cut, &err))
        fail_msg("%s", err.text);
    assert_int_equal(cut, expect_cut);
    assert_int_equal(e.row, 42);
    assert_true(e.weight >= 1.0F && e.weight <= 1.0F);
    check_example(&e, text, weights);
    hold_example_release(&e);
    hold_rows_release(&rows);
}

#define ROW_QA "{\"prompt\":\"Q\",\"completion\":\"Yes\"}"

static void chat(void **state) {
    const struct kit *kit = *state;
    struct hold_renderer r = kit->r;
    render(&r, ROW_QA, "\2system\nHi\3\n\2user\nQ\3\n\2assistant\nYes\3\n",
           "            "
           "         "
           "           "
           "2222"
           " ",
           false);
    render(&r,
           "{\"messages\":[{\"role\":\"system\",\"content\":\"S\"},"
           "{\"role\":\"user\",\"content\":\"Q\"},"
           "{\"role\":\"assistant\",\"content\":\"A\",\"weight\":0},"
           "{\"role\":\"user\",\"content\":\"R\"},"
           "{\"role\":\"assistant\",\"content\":\"B\",\"weight\":1.5}]}",
           "\2system\nS\3\n\2user\nQ\3\n\2assistant\nA\3\n\2user\nR\3\n\2assistant\nB\3\n",
           "           "
           "         "
           "              "
           "         "
           "           "
           "33"
           " ",
           false);
}

static void system_and_prefix(void **state) {
    const struct kit *kit = *state;
    struct hold_renderer r = kit->r;
    r.system = "Sys";
    r.prefix = "P: ";
    render(&r, ROW_QA, "\2system\nSys\3\n\2user\nP: Q\3\n\2assistant\nYes\3\n",
           "             "
           "            "
           "           "
           "2222"
           " ",
           false);
    /* The row's own system message stays; only the last user text gets the prefix; weights stay
     * with their messages. */
    render(&r,
           "{\"messages\":[{\"role\":\"system\",\"content\":\"S\"},"
           "{\"role\":\"user\",\"content\":\"Q\"},{\"role\":\"user\",\"content\":\"R\"},"
           "{\"role\":\"assistant\",\"content\":\"B\",\"weight\":0.5}]}",
           "\2system\nS\3\n\2user\nQ\3\n\2user\nP: R\3\n\2assistant\nB\3\n",
           "           "
           "         "
           "            "
           "           "
           "11"
           " ",
           false);
    r.system = "";
    r.prefix = NULL;
    render(&r, ROW_QA, "\2system\n\3\n\2user\nQ\3\n\2assistant\nYes\3\n",
           "          "
           "         "
           "           "
           "2222"
           " ",
           false);
}

/* Special-token text of a user stays text, split over messages or not. */
static void no_injection(void **state) {
    const struct kit *kit = *state;
    struct hold_renderer r = kit->r;
    r.chat = kit->no_end;
    render(&r,
           "{\"messages\":[{\"role\":\"user\",\"content\":\"<|im_end|>\"},"
           "{\"role\":\"user\",\"content\":\"<|im_\"},"
           "{\"role\":\"assistant\",\"content\":\"a<|im_start|>\"}]}",
           "user:<|im_end|>\nuser:<|im_\nassistant:a<|im_start|>\n",
           "                "
           "           "
           "          "
           "2222222222222"
           " ",
           false);
    render(&r, "{\"text\":\"a<|im_end|>\"}", "a<|im_end|>", " 2222222222", false);
}

static void text_rows(void **state) {
    const struct kit *kit = *state;
    struct hold_renderer r = kit->r;
    render(&r, "{\"text\":\"ab\"}", "ab", " 2", false);
    r.add_bos = r.add_eos = true;
    render(&r, "{\"text\":\"ab\"}", "\1ab\3", " 222", false);
    r.max_length = 3;
    render(&r, "{\"text\":\"ab\"}", "\1ab", " 22", true);
    r.max_length = 4;
    render(&r, "{\"text\":\"ab\"}", "\1ab\3", " 222", false);
}

static void cuts(void **state) {
    const struct kit *kit = *state;
    struct hold_renderer r = kit->r;
    r.max_length = 34;
    render(&r, ROW_QA, "\2system\nHi\3\n\2user\nQ\3\n\2assistant\nYe",
           "            "
           "         "
           "           "
           "22",
           true);
}

static void prompts(void **state) {
    const struct kit *kit = *state;
    static const char *const ROWS[] = {ROW_QA, "{\"prompt\":\"Q\"}"};
    static const char EXPECTED[] = "\2system\nHi\3\n\2user\nQ\3\n\2assistant\n";
    for (int i = 0; i < 2; i++) {
        struct hold_rows rows = {0};
        struct hold_ids ids = {0};
        struct hold_error err = {0};
        add(&rows, ROWS[i]);
        size_t messages = json_array_size(rows.row[0].messages);
        assert_int_equal(hold_render_prompt(&kit->r, rows.row[0].messages, NULL, &ids, &err),
                         HOLD_OK);
        assert_int_equal(ids.len, strlen(EXPECTED));
        for (size_t t = 0; t < ids.len; t++)
            assert_int_equal(ids.data[t], expected_id(EXPECTED[t]));
        assert_int_equal(json_array_size(rows.row[0].messages), messages);
        hold_ids_release(&ids);
        hold_rows_release(&rows);
    }
}

static void fill(struct hold_rows *rows, const char *const *texts, int n) {
    *rows = (struct hold_rows){.path = hold_strdup("f.jsonl")};
    for (int i = 0; i < n; i++)
        add(rows, texts[i]);
}

static void sets(void **state) {
    const struct kit *kit = *state;
    static const char *const TEXTS[] = {ROW_QA, "{\"prompt\":\"only a question\"}",
                                        "{\"text\":\"abc\"}", "{\"text\":\"\"}"};
    struct hold_renderer r = kit->r;
    struct hold_rows rows;
    struct hold_set set;
    struct hold_issues issues = {0};
    struct hold_error err = {0};
    r.max_length = 34;
    fill(&rows, TEXTS, 4);
    assert_int_equal(hold_render_set(&r, &rows, &set, NULL, &err), HOLD_EDATA);
    assert_string_equal(err.text,
                        "f.jsonl:2: error: the row has no trained token within max_length");
    assert_null(set.example);
    assert_int_equal(hold_render_set(&r, &rows, &set, &issues, &err), HOLD_OK);
    assert_int_equal(set.n, 4);
    assert_int_equal(set.n_cut, 2);
    assert_int_equal(set.n_tokens, 34 + 34 + 3);
    assert_int_equal(set.n_trained, 2 + 2);
    assert_int_equal(set.example[2].n, 3);
    assert_int_equal(set.example[2].row, 2);
    assert_int_equal(set.example[3].n, 0);
    assert_int_equal(issues.n_errors, 2);
    assert_string_equal(issues.item[1].text, "f.jsonl:4: error: the row has no tokens");
    hold_issues_release(&issues);
    hold_set_release(&set);
    hold_rows_release(&rows);
}

static void refused(void **state) {
    const struct kit *kit = *state;
    static const char *const TEXTS[] = {
        "{\"messages\":[{\"role\":\"assistant\",\"content\":\"x\"}]}"};
    struct hold_renderer r = kit->r;
    struct hold_rows rows;
    struct hold_example e;
    struct hold_error err = {0};
    bool cut;
    fill(&rows, TEXTS, 1);
    r.chat = NULL;
    assert_int_equal(hold_render_example(&r, &rows.row[0], 0, "f:1", &e, &cut, &err), HOLD_EDATA);
    assert_string_equal(err.text,
                        "f:1: error: the row is a chat, and the model has no chat template");
    r.chat = kit->raises;
    assert_int_not_equal(hold_render_example(&r, &rows.row[0], 0, "f:1", &e, &cut, &err), HOLD_OK);
    assert_int_equal(strncmp(err.text, "f:1: error: ", 12), 0);
    assert_non_null(strstr(err.text, "user first"));
    assert_null(e.ids);
    hold_rows_release(&rows);
}

/* ---- checks ---- */

struct finding {
    const char *text, *rule;
};

static void check(const struct hold_renderer *r, const char *const *texts, int n,
                  const struct finding *findings, int64_t n_findings) {
    struct hold_rows rows;
    struct hold_issues issues = {0};
    struct hold_error err = {0};
    fill(&rows, texts, n);
    assert_int_equal(hold_check_rows(r, &rows, &issues, &err), HOLD_OK);
    for (int64_t i = 0; i < issues.n; i++) {
        if (i >= n_findings)
            fail_msg("unexpected: %s", issues.item[i].text);
        assert_string_equal(issues.item[i].text, findings[i].text);
        assert_string_equal(issues.item[i].rule, findings[i].rule);
        assert_int_equal(issues.item[i].error, strstr(findings[i].text, ": error: ") != NULL);
    }
    assert_int_equal(issues.n, n_findings);
    hold_issues_release(&issues);
    hold_rows_release(&rows);
}

static void checks(void **state) {
    const struct kit *kit = *state;
    struct hold_renderer r = kit->r;
    static const char *const TEXTS[] = {
        ROW_QA,
        "{\"instruction\":\"Q!\",\"output\":\"No\"}",
        "{\"prompt\":\"R <|im_start|>\",\"completion\":\"a<|im_end|>\"}",
        "{\"prompt\":\"alone\"}",
        "{\"prompt\":\"S\",\"completion\":\" \\n\"}",
        ("{\"messages\":[{\"role\":\"user\",\"content\":\"T\"},"
         "{\"role\":\"assistant\",\"content\":\"u\",\"weight\":0}]}"),
        "{\"prompt\":\"??\",\"completion\":\"x\"}",
        "{\"prompt\":\"!!\",\"completion\":\"x\"}",
        "{\"text\":\"x\"}",
    };
    static const struct finding FOUND[] = {
        {"f.jsonl:2: warning: the row asks the same as line 1", "duplicates"},
        {"f.jsonl:3: warning: prompt: holds the text of a special token, which is taken as plain "
         "text",
         "special_token_text"},
        {"f.jsonl:3: warning: completion: holds the text of a special token, which is taken as "
         "plain text",
         "special_token_text"},
        {"f.jsonl:4: error: the row has no assistant text", "no_assistant_text"},
        {"f.jsonl:5: error: the row has no assistant text", "no_assistant_text"},
        {"f.jsonl:6: error: the row has no trained token", "no_trained_token"},
        {"f.jsonl:9: error: the row has no trained token", "no_trained_token"},
    };
    static const struct finding WITHOUT_MODEL[] = {
        {"f.jsonl:2: warning: the row asks the same as line 1", "duplicates"},
        {"f.jsonl:4: error: the row has no assistant text", "no_assistant_text"},
        {"f.jsonl:5: error: the row has no assistant text", "no_assistant_text"},
    };
    static const struct finding CUT[] = {
        {"f.jsonl:1: warning: the answer is cut: 2 of 4 trained tokens come after max_length 34",
         "truncated_answer"}};
    static const struct finding CUT_AWAY[] = {
        {"f.jsonl:1: error: no trained token is left: the row has 37 tokens, and the first trained "
         "one comes after max_length 20",
         "no_trained_token"}};
    static const struct finding EMPTY[] = {
        {"f.jsonl:1: error: the file has no rows", "empty_file"}};
    check(&r, TEXTS, 9, FOUND, 7);
    check(NULL, TEXTS, 9, WITHOUT_MODEL, 3);
    check(&r, NULL, 0, EMPTY, 1);
    r.max_length = 34;
    check(&r, TEXTS, 1, CUT, 1);
    r.max_length = 20;
    check(&r, TEXTS, 1, CUT_AWAY, 1);
    r.max_length = 36;
    check(&r, TEXTS, 1, NULL, 0);
}

static void checks_ends(void **state) {
    const struct kit *kit = *state;
    struct hold_renderer r = kit->r;
    r.chat = kit->no_end;
    r.system = "S";
    static const char *const TEXTS[] = {
        ROW_QA, "{\"messages\":[{\"role\":\"user\",\"content\":\"T\"},"
                "{\"role\":\"assistant\",\"content\":\"u\"},{\"role\":\"user\",\"content\":\"T\"},"
                "{\"role\":\"assistant\",\"content\":\"v\"}]}"};
    static const struct finding FOUND[] = {
        {"f.jsonl:1: warning: completion: no end-of-turn token is trained after the answer",
         "missing_end_of_turn"},
        {"f.jsonl:2: warning: messages[1].content: no end-of-turn token is trained after the "
         "answer",
         "missing_end_of_turn"},
        {"f.jsonl:2: warning: messages[3].content: no end-of-turn token is trained after the "
         "answer",
         "missing_end_of_turn"},
    };
    check(&r, TEXTS, 2, FOUND, 3);
}

/* The words of a refusing template are the tokenizer room's; the place and the rule are ours. */
static void checks_not_rendered(void **state) {
    const struct kit *kit = *state;
    static const char *const TEXTS[] = {ROW_QA};
    struct hold_renderer r = kit->r;
    struct hold_rows rows;
    struct hold_issues issues = {0};
    struct hold_error err = {0};
    r.chat = kit->raises;
    r.system = "S";
    fill(&rows, TEXTS, 1);
    assert_int_equal(hold_check_rows(&r, &rows, &issues, &err), HOLD_OK);
    assert_int_equal(issues.n_errors, 1);
    assert_string_equal(issues.item[0].rule, "not_rendered");
    assert_int_equal(strncmp(issues.item[0].text, "f.jsonl:1: error: ", 18), 0);
    assert_non_null(strstr(issues.item[0].text, "user first"));
    hold_issues_release(&issues);
    hold_rows_release(&rows);
}

/* Every allocation of ours fails in turn. */
static void no_memory(void **state) {
    const struct kit *kit = *state;
    static const char *const TEXTS[] = {ROW_QA};
    struct hold_renderer r = kit->r;
    struct hold_rows rows;
    r.system = "S";
    r.prefix = "P";
    fill(&rows, TEXTS, 1);
    int status = HOLD_ENOMEMORY;
    for (int64_t at = 1; status; at++) {
        struct hold_example e;
        struct hold_error err = {0};
        bool cut;
        assert_true(at < 5000);
        hold_mem_fail_at(at);
        status = hold_render_example(&r, &rows.row[0], 0, "f:1", &e, &cut, &err);
        hold_mem_fail_at(0);
        assert_true(status == HOLD_OK || status == HOLD_ENOMEMORY);
        hold_example_release(&e);
    }
    hold_rows_release(&rows);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chat),
        cmocka_unit_test(system_and_prefix),
        cmocka_unit_test(no_injection),
        cmocka_unit_test(text_rows),
        cmocka_unit_test(cuts),
        cmocka_unit_test(prompts),
        cmocka_unit_test(sets),
        cmocka_unit_test(refused),
        cmocka_unit_test(checks),
        cmocka_unit_test(checks_ends),
        cmocka_unit_test(checks_not_rendered),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, make_kit, drop_kit);
}
