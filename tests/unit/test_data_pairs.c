/* test_data_pairs.c: rows of preferences in each layout, one side of them, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "data/render.h"
#include "data/rows.h"

/* Rows are written with ' for ", which none of the texts has. */
static json_t *parse(const char *text) {
    char *copy = strdup(text);
    json_error_t at;
    assert_non_null(copy);
    for (char *p = copy; *p; p++)
        *p = *p == '\'' ? '"' : *p;
    json_t *out = json_loads(copy, JSON_DECODE_ANY, &at);
    if (!out)
        fail_msg("%s: %s", text, at.text);
    free(copy);
    return out;
}

static int add(struct hold_rows *rows, const char *text, struct hold_issues *issues,
               struct hold_error *err) {
    json_t *data = parse(text);
    int status = hold_rows_add(rows, data, 7, issues, err);
    json_decref(data);
    return status;
}

static void same(const json_t *found, const char *expected) {
    json_t *e = parse(expected);
    char *shown = json_dumps(found, 0);
    if (!json_equal(found, e))
        fail_msg("found %s, expected %s", shown, expected);
    free(shown);
    json_decref(e);
}

/* The row has this format, `shared` common messages, and these two sides. */
static void pair(const char *text, enum hold_row_format format, int shared, const char *chosen,
                 const char *rejected) {
    struct hold_rows rows = {0};
    struct hold_error err = {0};
    if (add(&rows, text, NULL, &err))
        fail_msg("%s: %s", text, err.text);
    assert_int_equal(rows.row[0].format, format);
    assert_int_equal(rows.row[0].side, HOLD_SIDE_BOTH);
    assert_int_equal(rows.row[0].shared, shared);
    same(rows.row[0].messages, chosen);
    same(rows.row[0].rejected, rejected);
    hold_rows_release(&rows);
}

#define U(t) "{'role':'user','content':'" t "'}"
#define A(t) "{'role':'assistant','content':'" t "'}"
#define S(t) "{'role':'system','content':'" t "'}"
#define LIST_2(a, b) "[" a "," b "]"
#define ASKED_X LIST_2(U("q"), A("x"))
#define ASKED_Y LIST_2(U("q"), A("y"))

static void layouts(void **state) {
    (void)state;
    const enum hold_row_format PROMPT = HOLD_ROW_PAIR_PROMPT;
    /* TRL, explicit prompt: texts, messages, and one message each. */
    pair("{'prompt':'q','chosen':'x','rejected':'y'}", PROMPT, 1, ASKED_X, ASKED_Y);
    pair("{'prompt':[" U("q") "],'chosen':[" A("x") "],'rejected':[" A("y") "]}", PROMPT, 1,
         ASKED_X, ASKED_Y);
    pair("{'prompt':'q','chosen':" A("x") ",'rejected':" A("y") "}", PROMPT, 1, ASKED_X, ASKED_Y);
    /* TRL, implicit prompt. */
    pair("{'chosen':" ASKED_X ",'rejected':" ASKED_Y "}", HOLD_ROW_PAIR_WHOLE, 1, ASKED_X, ASKED_Y);
    /* UltraFeedback, binarised: the prompt again in both, and messages beside them. */
    pair("{'prompt':'q','prompt_id':'1','chosen':" ASKED_X ",'rejected':" ASKED_Y
         ",'messages':" ASKED_X ",'score_chosen':8.5,'score_rejected':2}",
         PROMPT, 1, ASKED_X, ASKED_Y);
    pair("{'instruction':'q','chosen_response':'x','rejected_response':'y'}", PROMPT, 1, ASKED_X,
         ASKED_Y);
    /* Orca pairs: a system text, which may be empty; LLaMA-Factory's two. */
    pair("{'system':'s','question':'q','chosen':'x','rejected':'y'}", PROMPT, 2,
         "[" S("s") "," U("q") "," A("x") "]", "[" S("s") "," U("q") "," A("y") "]");
    pair("{'system':'','question':'q','chosen':'x','rejected':'y'}", PROMPT, 1, ASKED_X, ASKED_Y);
    pair("{'system':'s','prompt':'q','chosen':" ASKED_X ",'rejected':" ASKED_Y "}", PROMPT, 2,
         "[" S("s") "," U("q") "," A("x") "]", "[" S("s") "," U("q") "," A("y") "]");
    pair("{'instruction':'i','input':'j','chosen':'x','rejected':'y'}", PROMPT, 1,
         LIST_2(U("i\\n\\nj"), A("x")), LIST_2(U("i\\n\\nj"), A("y")));
    pair("{'conversations':[{'from':'human','value':'q'}],'chosen':{'from':'gpt','value':'x'},"
         "'rejected':{'from':'gpt','value':'y'}}",
         PROMPT, 1, ASKED_X, ASKED_Y);
    pair("{'chosen':[{'from':'human','value':'q'},{'from':'gpt','value':'x'}],"
         "'rejected':[{'from':'human','value':'q'},{'from':'gpt','value':'y'}]}",
         HOLD_ROW_PAIR_WHOLE, 1, ASKED_X, ASKED_Y);
    /* Messages that ask, and messages that are another copy of a whole conversation. */
    pair("{'messages':[" U("q") "],'chosen':" A("x") ",'rejected':" A("y") "}", PROMPT, 1, ASKED_X,
         ASKED_Y);
    pair("{'messages':[" U("q") "],'chosen':'x','rejected':'y'}", PROMPT, 1, ASKED_X, ASKED_Y);
    pair("{'messages':" ASKED_X ",'chosen':" ASKED_X ",'rejected':" ASKED_Y "}",
         HOLD_ROW_PAIR_WHOLE, 1, ASKED_X, ASKED_Y);
    /* OpenAI: the names of the guide and of the schema. */
    pair("{'input':{'messages':[" U("q") "],'tools':[],'parallel_tool_calls':true},"
                                         "'preferred_output':[" A(
                                             "x") "],'non_preferred_output':[" A("y") "]}",
         HOLD_ROW_PAIR_OPENAI, 1, ASKED_X, ASKED_Y);
    pair("{'input':{'messages':[" U("q") "]},'preferred_completion':[" A(
             "x") "],"
                  "'non_preferred_completion':[" A("y") "]}",
         HOLD_ROW_PAIR_OPENAI, 1, ASKED_X, ASKED_Y);
}

static void transcripts(void **state) {
    (void)state;
    const enum hold_row_format T = HOLD_ROW_PAIR_TRANSCRIPT;
    pair("{'chosen':'\\n\\nHuman: q\\n\\nAssistant: x','rejected':'\\n\\nHuman: q\\n\\nAssistant: "
         "y'}",
         T, 1, ASKED_X, ASKED_Y);
    pair("{'prompt':'\\n\\nHuman: q\\n\\nAssistant:','chosen':' x','rejected':' y'}", T, 1, ASKED_X,
         ASKED_Y);
    /* Paragraphs and the words inside a line are text. */
    pair("{'chosen':'\\n\\nHuman: a\\n\\nb Human: c\\nAssistant: d\\n\\nAssistant: x\\n\\nHuman: e"
         "\\n\\nAssistant: f','rejected':'\\n\\nHuman: a\\n\\nb Human: c\\nAssistant: d\\n\\n"
         "Assistant: y '}",
         T, 1, "[" U("a\\n\\nb Human: c\\nAssistant: d") "," A("x") "," U("e") "," A("f") "]",
         LIST_2(U("a\\n\\nb Human: c\\nAssistant: d"), A("y")));
    /* An answer that is not there is none; an empty turn in between is one. */
    pair("{'chosen':'\\n\\nHuman: q\\n\\nAssistant:','rejected':'\\n\\nHuman:\\n\\nAssistant: y'}",
         T, 0, "[" U("q") "]", LIST_2(U(""), A("y")));
}

static void texts(void **state) {
    (void)state;
    struct hold_rows rows = {0};
    struct hold_error err = {0};
    assert_int_equal(add(&rows, "{'chosen':'blue','rejected':'green'}", NULL, &err), HOLD_OK);
    assert_int_equal(rows.row[0].format, HOLD_ROW_PAIR_WHOLE);
    assert_null(rows.row[0].messages);
    struct hold_row one = hold_row_side(&rows.row[0], HOLD_SIDE_CHOSEN);
    assert_string_equal(one.text, "blue");
    assert_null(one.rejected_text);
    one = hold_row_side(&rows.row[0], HOLD_SIDE_REJECTED);
    assert_string_equal(one.text, "green");
    hold_rows_release(&rows);
}

static void refused_one(const char *text, const char *rule, const char *expected) {
    struct hold_rows rows = {.path = hold_strdup("p.jsonl")};
    struct hold_issues issues = {0};
    struct hold_error err = {0};
    assert_int_equal(add(&rows, text, &issues, &err), HOLD_OK);
    assert_int_equal(rows.n, 0);
    assert_int_equal(issues.n, 1);
    assert_string_equal(issues.item[0].rule, rule);
    if (!strstr(issues.item[0].text, expected))
        fail_msg("found \"%s\", expected \"%s\"", issues.item[0].text, expected);
    hold_issues_release(&issues);
    hold_rows_release(&rows);
}

static void errors(void **state) {
    (void)state;
    refused_one("{'prompt':'q','chosen':'x'}", "missing_key",
                "p.jsonl:7: error: rejected: missing (a row with chosen needs it)");
    refused_one("{'prompt':'q','rejected':'x'}", "missing_key", "chosen: missing");
    refused_one("{'prompt':'q','chosen':3,'rejected':'y'}", "wrong_type",
                "chosen: is a number, expected text");
    refused_one("{'prompt':'q','chosen':'x','rejected':[]}", "no_messages",
                "rejected: is an empty list");
    refused_one("{'prompt':'q','chosen':" ASKED_X ",'rejected':" LIST_2(U("r"), A("y")) "}",
                "other_prompt", "rejected: begins with another message than the prompt's");
    refused_one("{'input':{},'preferred_output':[" A("x") "],'non_preferred_output':[" A("y") "]}",
                "wrong_type", "input.messages: is missing, expected a list of messages");
    refused_one("{'prompt':'q','chosen':[{'role':'assistent','content':'x'}],'rejected':'y'}",
                "unknown_role", "chosen[0].role: \"assistent\" is not a role");
    refused_one("{'instruction':'q','completions':[{'response':'x','overall_score':8}]}",
                "scored_completions", "several scored answers are not read (found 1)");
    refused_one("{'prompt':'q','completions':[{'response':'x','score':8},{'response':'y'}]}",
                "scored_completions", "several scored answers are not read (found 2)");
}

#define PAIR "{'id':'n','prompt':'q','chosen':'x','rejected':'y','score_chosen':8}"

/* One side is a row of messages that keeps the other keys; so its ids are those of the side. */
static void sides(void **state) {
    (void)state;
    static const char *const EXPECTED[] = {"{'messages':" ASKED_X ",'id':'n','score_chosen':8}",
                                           "{'messages':" ASKED_Y ",'id':'n','score_chosen':8}"};
    for (int k = 0; k < 2; k++) {
        struct hold_rows rows = {.path = hold_strdup("p.jsonl")};
        struct hold_error err = {0};
        int64_t left_out = -1;
        add(&rows, PAIR, NULL, &err);
        add(&rows, "{'messages':" ASKED_X "}", NULL, &err);
        assert_int_equal(hold_rows_take_side(&rows, k ? HOLD_SIDE_REJECTED : HOLD_SIDE_CHOSEN,
                                             &left_out, NULL, &err),
                         HOLD_OK);
        assert_int_equal(left_out, 0);
        assert_int_equal(rows.n, 2);
        assert_int_equal(rows.row[0].format, HOLD_ROW_MESSAGES);
        assert_int_equal(rows.row[0].side, HOLD_SIDE_ONLY);
        assert_int_equal(rows.row[0].line, 7);
        same(rows.row[0].data, EXPECTED[k]);
        same(rows.row[1].messages, ASKED_X);
        hold_rows_release(&rows);
    }
}

static void without_a_side(void **state) {
    (void)state;
    struct hold_rows rows = {.path = hold_strdup("p.jsonl")};
    struct hold_issues issues = {0};
    struct hold_error err = {0};
    int64_t left_out;
    add(&rows, "{'messages':" ASKED_X "}", NULL, &err);
    assert_int_equal(hold_rows_take_side(&rows, HOLD_SIDE_ONLY, &left_out, NULL, &err), HOLD_OK);
    add(&rows, PAIR, NULL, &err);
    assert_int_equal(hold_rows_take_side(&rows, HOLD_SIDE_ONLY, &left_out, NULL, &err), HOLD_EDATA);
    assert_string_equal(err.text,
                        "p.jsonl:7: error: a row of preferences (prompt, chosen, rejected), of "
                        "which one answer is taken: --preference chosen or rejected (`preference` "
                        "of a set in a recipe)");
    assert_int_equal(hold_rows_take_side(&rows, HOLD_SIDE_ONLY, &left_out, &issues, &err), HOLD_OK);
    assert_int_equal(issues.n_errors, 1);
    assert_string_equal(issues.item[0].rule, "preference_row");
    hold_issues_release(&issues);
    /* Nor does a renderer train on one that nobody asked about. */
    struct hold_renderer r = {0};
    struct hold_row_tokens tokens;
    assert_int_equal(hold_render_row(&r, &rows.row[1], "p.jsonl:7", &tokens, &err), HOLD_EDATA);
    assert_non_null(strstr(err.text, "p.jsonl:7: error: a row of preferences"));
    hold_rows_release(&rows);
}

/* KTO: one answer a row, judged. A label that is no true or false is what scores need. */
static void judged(void **state) {
    (void)state;
    struct hold_rows rows = {.path = hold_strdup("p.jsonl")};
    struct hold_error err = {0};
    int64_t left_out;
    add(&rows, "{'prompt':'q','completion':'x','label':true}", NULL, &err);
    add(&rows, "{'prompt':'q','completion':'y','label':false}", NULL, &err);
    add(&rows, "{'prompt':'q','completion':'z','label':'good'}", NULL, &err);
    assert_int_equal(rows.row[0].side, HOLD_SIDE_CHOSEN);
    assert_int_equal(rows.row[1].side, HOLD_SIDE_REJECTED);
    assert_int_equal(rows.row[2].format, HOLD_ROW_PROMPT_COMPLETION);
    assert_int_equal(hold_rows_take_side(&rows, HOLD_SIDE_ONLY, &left_out, NULL, &err), HOLD_EDATA);
    assert_int_equal(hold_rows_take_side(&rows, HOLD_SIDE_CHOSEN, &left_out, NULL, &err), HOLD_OK);
    assert_int_equal(left_out, 1);
    assert_int_equal(rows.n, 2);
    same(rows.row[0].messages, ASKED_X);
    hold_rows_release(&rows);
    rows.path = hold_strdup("p.jsonl");
    add(&rows, "{'prompt':'q','completion':'y','label':false}", NULL, &err);
    assert_int_equal(hold_rows_take_side(&rows, HOLD_SIDE_CHOSEN, &left_out, NULL, &err),
                     HOLD_EDATA);
    hold_rows_release(&rows);
}

/* The layout is named once; both sides are looked at. */
static void checks(void **state) {
    (void)state;
    static const char *const RULES[] = {"preference_rows", "same_answers", "no_assistant_text"};
    struct hold_rows rows = {.path = hold_strdup("p.jsonl")};
    struct hold_issues issues = {0};
    struct hold_error err = {0};
    add(&rows, PAIR, NULL, &err);
    add(&rows, "{'prompt':'r','chosen':'x','rejected':'x'}", NULL, &err);
    add(&rows, "{'prompt':'s','chosen':'x','rejected':' '}", NULL, &err);
    assert_int_equal(hold_check_rows(NULL, &rows, &issues, &err), HOLD_OK);
    assert_int_equal(issues.n, 3);
    for (int i = 0; i < 3; i++)
        assert_string_equal(issues.item[i].rule, RULES[i]);
    assert_non_null(strstr(issues.item[2].text, "no assistant text (rejected)"));
    hold_issues_release(&issues);
    hold_rows_release(&rows);
}

/* A long text of nothing but marks is read in linear time. */
static void transcript_linear(void **state) {
    (void)state;
    enum { TURNS = 200000 };
    struct hold_str text = HOLD_STR_INIT;
    struct hold_rows rows = {0};
    struct hold_error err = {0};
    for (int i = 0; i < TURNS; i++)
        hold_str_add(&text, i % 2 ? "\n\nAssistant: a" : "\n\nHuman: q");
    json_t *data =
        json_pack("{s:s, s:s}", "chosen", hold_str_text(&text), "rejected", hold_str_text(&text));
    assert_int_equal(hold_rows_add(&rows, data, 1, NULL, &err), HOLD_OK);
    assert_int_equal(json_array_size(rows.row[0].messages), TURNS);
    json_decref(data);
    hold_str_release(&text);
    hold_rows_release(&rows);
}

static void no_memory(void **state) {
    (void)state;
    int status = HOLD_ENOMEMORY;
    for (int64_t at = 1; status; at++) {
        struct hold_rows rows = {0};
        struct hold_error err = {0};
        int64_t left_out;
        assert_true(at < 100);
        hold_mem_fail_at(at);
        status =
            add(&rows, "{'instruction':'q','input':'i','chosen':'x','rejected':'y'}", NULL, &err);
        if (!status)
            status = hold_rows_take_side(&rows, HOLD_SIDE_CHOSEN, &left_out, NULL, &err);
        hold_mem_fail_at(0);
        assert_true(status == HOLD_OK || status == HOLD_ENOMEMORY);
        hold_rows_release(&rows);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layouts),
        cmocka_unit_test(transcripts),
        cmocka_unit_test(texts),
        cmocka_unit_test(errors),
        cmocka_unit_test(sides),
        cmocka_unit_test(without_a_side),
        cmocka_unit_test(judged),
        cmocka_unit_test(checks),
        cmocka_unit_test(transcript_linear),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
