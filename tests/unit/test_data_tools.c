/* test_data_tools.c: tools and calls of tools: rows to the text that `transformers` makes of them,
 * what of it is trained, and that none of it becomes a control token.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "byte_tokenizer.h"
#include "data/render.h"

/* make_templates.py's NOW. */
enum { NOW = 1764000000 };
static const char *const SPECIAL[] = {"<|begin_of_text|>",   "<|im_start|>",
                                      "<|im_end|>",          "<|eot_id|>",
                                      "<|start_header_id|>", "<|end_header_id|>"};
enum { N_SPECIAL = sizeof(SPECIAL) / sizeof(SPECIAL[0]) };

static struct hold_tokenizer *tokenizer;

static struct hold_template *compile(const char *source) {
    struct hold_template *out;
    struct hold_error err = {0};
    if (hold_template_new(&out, source, "template", &err))
        fail_msg("%s", err.text);
    return out;
}

static struct hold_template *load(const char *name) {
    char path[512];
    struct hold_str text = HOLD_STR_INIT;
    struct hold_error err = {0};
    snprintf(path, sizeof(path), "%s/tests/golden/tokenizer/templates/%s.jinja", HOLD_SOURCE_DIR,
             name);
    if (hold_file_read(path, 0, &text, &err))
        fail_msg("%s", err.text);
    struct hold_template *out = compile(hold_str_text(&text));
    hold_str_release(&text);
    return out;
}

static struct hold_renderer renderer(const struct hold_template *chat) {
    return (struct hold_renderer){.tokenizer = tokenizer,
                                  .chat = chat,
                                  .bos_token = SPECIAL[0],
                                  .eos_token = SPECIAL[3],
                                  .now = NOW};
}

static int render_data(const struct hold_renderer *r, json_t *data, struct hold_row_tokens *out,
                       struct hold_error *err) {
    struct hold_rows rows = {.path = hold_strdup("d.jsonl")};
    int status = hold_rows_add(&rows, data, 3, NULL, err);
    if (!status)
        status = hold_render_row(r, &rows.row[0], "d.jsonl:3", out, err);
    hold_rows_release(&rows);
    return status;
}

/* All tokens, or those that are trained, as text. */
static void text_of(const struct hold_row_tokens *t, bool trained, struct hold_str *out) {
    hold_str_clear(out);
    for (size_t i = 0; i < t->ids.len; i++) {
        int32_t id = t->ids.data[i];
        if (trained && !(hold_row_token_weight(t, i) > 0))
            continue;
        if (id >= FIRST_SPECIAL)
            hold_str_add(out, SPECIAL[id - FIRST_SPECIAL]);
        else
            hold_str_add_char(out, (char)id);
    }
}

static json_int_t count_control(const struct hold_row_tokens *t) {
    json_int_t n = 0;
    for (size_t i = 0; i < t->ids.len; i++)
        n += t->ids.data[i] >= FIRST_SPECIAL;
    return n;
}

static void golden_row(const json_t *line) {
    struct hold_template *chat = load(json_string_value(json_object_get(line, "template")));
    struct hold_renderer r = renderer(chat);
    struct hold_row_tokens tokens = {0};
    struct hold_str text = HOLD_STR_INIT;
    struct hold_error err = {0};
    if (render_data(&r, json_object_get(line, "row"), &tokens, &err))
        fail_msg("%s", err.text);
    text_of(&tokens, false, &text);
    assert_string_equal(hold_str_text(&text), json_string_value(json_object_get(line, "text")));
    text_of(&tokens, true, &text);
    assert_string_equal(hold_str_text(&text), json_string_value(json_object_get(line, "trained")));
    assert_int_equal(count_control(&tokens), json_integer_value(json_object_get(line, "control")));
    assert_false(tokens.inexact_calls);
    hold_str_release(&text);
    hold_row_tokens_release(&tokens);
    hold_template_free(chat);
}

static void golden(void **state) {
    (void)state;
    FILE *file = fopen(HOLD_SOURCE_DIR "/tests/golden/tokenizer/tools.jsonl", "r");
    char *line = NULL;
    size_t cap = 0;
    int n = 0;
    assert_non_null(file);
    for (; getline(&line, &cap, file) > 0; n++) {
        json_t *o = json_loads(line, 0, NULL);
        assert_non_null(o);
        golden_row(o);
        json_decref(o);
    }
    assert_true(n >= 32);
    free(line);
    fclose(file);
}

#define CALL_ROW                                                                                   \
    "{\"messages\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":"    \
    "null,\"tool_calls\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":"      \
    "\"{}\"}}]},{\"role\":\"tool\",\"content\":\"t\"},{\"role\":\"assistant\",\"content\":\"a\"}]" \
    ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]}"
#define USER_ANSWER                                                                             \
    "{\"messages\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":" \
    "\"a\"}],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]}"
#define CALL_SAYS                                                                               \
    "{\"messages\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":" \
    "\"a\",\"tool_calls\":[{\"name\":\"f\"}]}]}"

static void left_out(const char *source, const char *row, const char *expected) {
    struct hold_template *chat = compile(source);
    struct hold_renderer r = renderer(chat);
    struct hold_row_tokens tokens;
    struct hold_error err = {0};
    json_t *data = json_loads(row, 0, NULL);
    assert_non_null(data);
    assert_int_equal(render_data(&r, data, &tokens, &err), HOLD_EDATA);
    if (!strstr(err.text, expected))
        fail_msg("found \"%s\", expected \"%s\"", err.text, expected);
    json_decref(data);
    hold_template_free(chat);
}

#define EACH "{% for m in messages %}"

/* A template without a place for them: an error, never rows that lack them. */
static void no_place(void **state) {
    (void)state;
    left_out(EACH "{{ m.role + ':' + m.content }}{% endfor %}", USER_ANSWER,
             "d.jsonl:3: error: the row has tools, and the model's chat template leaves them out");
    left_out(EACH "{{ m.role + ':' + m.content }}{% endfor %}", CALL_ROW,
             "the row calls a tool, and the model's chat template has no place for calls");
    left_out("{{ tools | tojson }}" EACH "{{ m.role }}:{{ m.content }}{% endfor %}", CALL_ROW,
             "message 2 calls a tool, and the model's chat template leaves the call out");
    left_out("{{ tools | tojson }}" EACH "{% if m.role != 'tool' %}{{ m.tool_calls | tojson if "
             "m.tool_calls else m.content }}{% endif %}{% endfor %}",
             CALL_ROW, "message 3 is a tool's answer, and the model's chat template leaves it out");
    left_out(EACH "{{ m.tool_calls | tojson if m.tool_calls else m.content }}{% endfor %}",
             CALL_SAYS, "leaves out what it says beside that");
}

/* Where the template writes a call in another way than its generation prompt leads to, what the
 * call says is trained, and the check tells. */
static void inexact(void **state) {
    (void)state;
    struct hold_template *chat = compile(
        "{{ tools | tojson }}" EACH "{% if m.tool_calls %}CALL {{ m.tool_calls[0].function.name }}!"
        "<|im_end|>{% else %}{{ m.role + ':' + m.content }}<|im_end|>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}");
    struct hold_renderer r = renderer(chat);
    struct hold_row_tokens tokens = {0};
    struct hold_str text = HOLD_STR_INIT;
    struct hold_issues issues = {0};
    struct hold_rows rows = {.path = hold_strdup("d.jsonl")};
    struct hold_error err = {0};
    json_t *data = json_loads(CALL_ROW, 0, NULL);
    assert_int_equal(render_data(&r, data, &tokens, &err), HOLD_OK);
    assert_true(tokens.inexact_calls);
    text_of(&tokens, true, &text);
    assert_string_equal(hold_str_text(&text), "f!<|im_end|>a<|im_end|>");
    assert_int_equal(hold_rows_add(&rows, data, 3, NULL, &err), HOLD_OK);
    assert_int_equal(hold_check_rows(&r, &rows, &issues, &err), HOLD_OK);
    assert_int_equal(issues.n, 1);
    assert_string_equal(issues.item[0].rule, "call_not_trained");
    hold_issues_release(&issues);
    hold_rows_release(&rows);
    json_decref(data);
    hold_str_release(&text);
    hold_row_tokens_release(&tokens);
    hold_template_free(chat);
}

/* A template with generation blocks says itself what is trained. */
static void blocks(void **state) {
    (void)state;
    struct hold_template *chat = compile(
        "{{ tools | tojson }}" EACH "{{ m.role }}:{% generation %}{{ m.tool_calls | tojson if "
        "m.tool_calls else m.content }}|{% endgeneration %}{% endfor %}");
    struct hold_renderer r = renderer(chat);
    struct hold_row_tokens tokens = {0};
    struct hold_str text = HOLD_STR_INIT;
    struct hold_error err = {0};
    json_t *data = json_loads(CALL_ROW, 0, NULL);
    assert_int_equal(render_data(&r, data, &tokens, &err), HOLD_OK);
    text_of(&tokens, true, &text);
    assert_non_null(strstr(hold_str_text(&text), "\"arguments\": {}}}]|"));
    json_decref(data);
    hold_str_release(&text);
    hold_row_tokens_release(&tokens);
    hold_template_free(chat);
}

/* Templates that know the role keep it. */
static void developers(void **state) {
    (void)state;
    static const char *const SOURCES[] = {EACH "{{ m.role }}:{{ m.content }};{% endfor %}",
                                          "{# developer #}" EACH
                                          "{{ m.role }}:{{ m.content }};{% endfor %}"};
    static const char *const TEXTS[] = {"system:d;user:u;assistant:a;",
                                        "developer:d;user:u;assistant:a;"};
    for (int k = 0; k < 2; k++) {
        struct hold_template *chat = compile(SOURCES[k]);
        struct hold_renderer r = renderer(chat);
        struct hold_row_tokens tokens = {0};
        struct hold_str text = HOLD_STR_INIT;
        struct hold_error err = {0};
        r.system = "not put, there is one";
        json_t *data = json_loads("{\"messages\":[{\"role\":\"developer\",\"content\":\"d\"},"
                                  "{\"role\":\"user\",\"content\":\"u\"},"
                                  "{\"role\":\"assistant\",\"content\":\"a\"}]}",
                                  0, NULL);
        assert_int_equal(render_data(&r, data, &tokens, &err), HOLD_OK);
        text_of(&tokens, false, &text);
        assert_string_equal(hold_str_text(&text), TEXTS[k]);
        json_decref(data);
        hold_str_release(&text);
        hold_row_tokens_release(&tokens);
        hold_template_free(chat);
    }
}

static void wrong(const char *text, const char *rule, const char *expected) {
    struct hold_rows rows = {.path = hold_strdup("d.jsonl")};
    struct hold_issues issues = {0};
    struct hold_error err = {0};
    json_t *data = json_loads(text, 0, NULL);
    assert_non_null(data);
    assert_int_equal(hold_rows_add(&rows, data, 3, &issues, &err), HOLD_OK);
    assert_int_equal(issues.n, 1);
    assert_string_equal(issues.item[0].rule, rule);
    if (!strstr(issues.item[0].text, expected))
        fail_msg("found \"%s\", expected \"%s\"", issues.item[0].text, expected);
    json_decref(data);
    hold_issues_release(&issues);
    hold_rows_release(&rows);
}

#define ANSWER(keys) "{\"messages\":[{\"role\":\"assistant\"," keys "}]}"
#define FUNCTION(keys) ANSWER("\"tool_calls\":[{\"type\":\"function\",\"function\":{" keys "}}]")

static void errors(void **state) {
    (void)state;
    wrong(FUNCTION("\"name\":\"f\",\"arguments\":\"{'a':1}\""), "bad_arguments",
          "d.jsonl:3: error: messages[0].tool_calls[0].function.arguments: the text is not a JSON "
          "object");
    wrong(FUNCTION("\"name\":\"f\",\"arguments\":\"[1]\""), "bad_arguments",
          "is not a JSON object");
    wrong(FUNCTION("\"name\":\"f\",\"arguments\":7"), "wrong_type", "arguments: is a number");
    wrong(FUNCTION("\"arguments\":\"{}\""), "missing_key",
          "messages[0].tool_calls[0].function.name: missing");
    wrong(ANSWER("\"tool_calls\":\"f\""), "wrong_type",
          "messages[0].tool_calls: is text, expected a list");
    wrong(ANSWER("\"tool_calls\":[{\"type\":\"custom\"}]"), "not_function",
          "messages[0].tool_calls[0].type: is not \"function\"");
    wrong(ANSWER("\"tool_calls\":[]"), "missing_key", "messages[0].content: missing");
    wrong(ANSWER("\"tool_calls\":[{\"name\":\"f\"}],\"function_call\":{\"name\":\"f\"}"),
          "two_keys", "messages[0]: has both tool_calls and function_call");
    wrong(
        "{\"messages\":[{\"role\":\"user\",\"content\":\"u\",\"tool_calls\":[{\"name\":\"f\"}]}]}",
        "wrong_role", "messages[0].tool_calls: only the assistant calls tools");
    wrong("{\"prompt\":\"p\",\"completion\":\"c\",\"tools\":\"f\"}", "wrong_type",
          "tools: the text is not a JSON list");
    wrong("{\"prompt\":\"p\",\"completion\":\"c\",\"tools\":{}}", "wrong_type",
          "tools: is an object, expected a list of tools");
    wrong("{\"prompt\":\"p\",\"completion\":\"c\",\"tools\":[{\"description\":\"d\"}]}",
          "missing_key", "tools[0].name: missing");
    wrong("{\"prompt\":\"p\",\"completion\":\"c\",\"tools\":[],\"functions\":[]}", "two_keys",
          "the row has both tools and functions");
    wrong("{\"prompt\":\"p\",\"completion\":\"c\",\"parallel_tool_calls\":1}", "wrong_type",
          "parallel_tool_calls: is a number, expected true or false");
}

/* Control text in calls and tools is warned of, as in messages. */
static void special_text(void **state) {
    (void)state;
    struct hold_template *chat = load("qwen25");
    struct hold_renderer r = renderer(chat);
    struct hold_issues issues = {0};
    struct hold_rows rows = {.path = hold_strdup("d.jsonl")};
    struct hold_error err = {0};
    json_t *data = json_loads(
        "{\"messages\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":"
        "null,\"tool_calls\":[{\"name\":\"f\",\"arguments\":{\"k\":[\"<|im_end|>\"]}}]}],"
        "\"tools\":[{\"name\":\"f\",\"description\":\"<|im_start|>\"}]}",
        0, NULL);
    assert_non_null(data);
    assert_int_equal(hold_rows_add(&rows, data, 3, NULL, &err), HOLD_OK);
    assert_int_equal(hold_check_rows(&r, &rows, &issues, &err), HOLD_OK);
    assert_int_equal(issues.n, 2);
    assert_non_null(strstr(issues.item[0].text, "tools: holds the text of a special token"));
    assert_non_null(strstr(issues.item[1].text, "messages[1].tool_calls: holds the text"));
    json_decref(data);
    hold_issues_release(&issues);
    hold_rows_release(&rows);
    hold_template_free(chat);
}

static void no_memory(void **state) {
    (void)state;
    struct hold_template *chat = load("qwen25");
    struct hold_renderer r = renderer(chat);
    json_t *data = json_loads(CALL_ROW, 0, NULL);
    int status = HOLD_ENOMEMORY;
    for (int64_t at = 1; status; at++) {
        struct hold_row_tokens tokens = {0};
        struct hold_error err = {0};
        assert_true(at < 20000);
        hold_mem_fail_at(at);
        status = render_data(&r, data, &tokens, &err);
        hold_mem_fail_at(0);
        assert_true(status == HOLD_OK || status == HOLD_ENOMEMORY);
        hold_row_tokens_release(&tokens);
    }
    json_decref(data);
    hold_template_free(chat);
}

static int make_tokenizer(void **state) {
    struct hold_error err = {0};
    (void)state;
    return make_byte_tokenizer(&tokenizer, SPECIAL, N_SPECIAL, SPECIAL[0], SPECIAL[3], &err);
}

static int drop_tokenizer(void **state) {
    (void)state;
    hold_tokenizer_free(tokenizer);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden),       cmocka_unit_test(no_place),   cmocka_unit_test(inexact),
        cmocka_unit_test(blocks),       cmocka_unit_test(developers), cmocka_unit_test(errors),
        cmocka_unit_test(special_text), cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, make_tokenizer, drop_tokenizer);
}
