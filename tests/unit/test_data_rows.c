/* test_data_rows.c: shapes of rows, messages of bad ones, ids of normalised texts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "data/rows.h"

/* Add one row given as JSON text; the rows belong to the caller. */
static int add(struct hold_rows *rows, const char *text, struct hold_issues *issues,
               struct hold_error *err) {
    json_t *data = json_loads(text, JSON_DECODE_ANY, NULL);
    assert_non_null(data);
    int status = hold_rows_add(rows, data, 17, issues, err);
    json_decref(data);
    return status;
}

static void check_format(const char *text, enum hold_row_format format, const char *messages) {
    struct hold_rows rows = {0};
    struct hold_error err = {0};
    if (add(&rows, text, NULL, &err))
        fail_msg("%s: %s", text, err.text);
    assert_int_equal(rows.n, 1);
    assert_int_equal(rows.row[0].format, format);
    assert_int_equal(rows.row[0].line, 17);
    assert_int_equal(strlen(rows.row[0].id), 16);
    if (messages) {
        json_t *expected = json_loads(messages, 0, NULL);
        assert_non_null(expected);
        if (!json_equal(expected, rows.row[0].messages))
            fail_msg("%s: %s", text, json_dumps(rows.row[0].messages, 0));
        json_decref(expected);
    } else {
        assert_null(rows.row[0].messages);
    }
    hold_rows_release(&rows);
}

static void formats(void **state) {
    (void)state;
    check_format("{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"prompt\":\"x\"}",
                 HOLD_ROW_MESSAGES, "[{\"role\":\"user\",\"content\":\"a\"}]");
    check_format("{\"messages\":[{\"role\":\"assistant\",\"weight\":0.5,\"name\":\"n\",\"content\":"
                 "[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}]}]}",
                 HOLD_ROW_MESSAGES,
                 "[{\"role\":\"assistant\",\"weight\":0.5,\"name\":\"n\",\"content\":\"ab\"}]");
    check_format("{\"system\":\"s\",\"conversations\":[{\"from\":\"human\",\"value\":\"a\"},"
                 "{\"from\":\"gpt\",\"value\":\"b\",\"weight\":0},"
                 "{\"from\":\"observation\",\"value\":\"c\"},"
                 "{\"from\":\"assistant\",\"value\":\"d\"}]}",
                 HOLD_ROW_SHAREGPT,
                 "[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"a\"},"
                 "{\"role\":\"assistant\",\"content\":\"b\",\"weight\":0},"
                 "{\"role\":\"tool\",\"content\":\"c\"},"
                 "{\"role\":\"assistant\",\"content\":\"d\"}]");
    check_format(
        "{\"instruction\":\"i\",\"input\":\"\",\"output\":\"o\"}", HOLD_ROW_ALPACA,
        "[{\"role\":\"user\",\"content\":\"i\"},{\"role\":\"assistant\",\"content\":\"o\"}]");
    check_format(
        "{\"instruction\":\"i\",\"input\":null,\"output\":\"o\"}", HOLD_ROW_ALPACA,
        "[{\"role\":\"user\",\"content\":\"i\"},{\"role\":\"assistant\",\"content\":\"o\"}]");
    check_format("{\"instruction\":\"i\",\"input\":\"x\",\"output\":\"o\",\"system\":\"s\","
                 "\"history\":[[\"q\",\"a\"]]}",
                 HOLD_ROW_ALPACA,
                 "[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"q\"},"
                 "{\"role\":\"assistant\",\"content\":\"a\"},"
                 "{\"role\":\"user\",\"content\":\"i\\n\\nx\"},"
                 "{\"role\":\"assistant\",\"content\":\"o\"}]");
    check_format(
        "{\"prompt\":\"p\",\"completion\":\"c\",\"text\":\"t\"}", HOLD_ROW_PROMPT_COMPLETION,
        "[{\"role\":\"user\",\"content\":\"p\"},{\"role\":\"assistant\",\"content\":\"c\"}]");
    check_format("{\"prompt\":[{\"role\":\"system\",\"content\":\"s\"}],"
                 "\"completion\":[{\"role\":\"assistant\",\"content\":\"c\"}]}",
                 HOLD_ROW_PROMPT_COMPLETION,
                 "[{\"role\":\"system\",\"content\":\"s\"},"
                 "{\"role\":\"assistant\",\"content\":\"c\"}]");
    check_format("{\"prompt\":\"p\",\"instruction\":\"i\",\"label\":1}", HOLD_ROW_PROMPT,
                 "[{\"role\":\"user\",\"content\":\"p\"}]");
    check_format("{\"text\":\"t\",\"messages\":null}", HOLD_ROW_TEXT, NULL);
}

static void check_error(const char *text, const char *rule, const char *expected) {
    struct hold_rows rows = {0};
    struct hold_issues issues = {0};
    struct hold_error err = {0};
    rows.path = hold_strdup("data.jsonl");
    assert_int_equal(add(&rows, text, NULL, &err), HOLD_EDATA);
    assert_string_equal(err.text, expected);
    assert_int_equal(add(&rows, text, &issues, &err), HOLD_OK);
    assert_int_equal(rows.n, 0);
    assert_int_equal(issues.n, 1);
    assert_int_equal(issues.n_errors, 1);
    assert_int_equal(issues.item[0].line, 17);
    assert_true(issues.item[0].error);
    assert_string_equal(issues.item[0].text, expected);
    assert_string_equal(issues.item[0].rule, rule);
    hold_issues_release(&issues);
    hold_rows_release(&rows);
}

#define MESSAGE_2                                                                                  \
    "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"u\"}" \
    ","

static void errors(void **state) {
    (void)state;
    check_error(MESSAGE_2 "{\"role\":\"asistant\",\"content\":\"a\"}]}", "unknown_role",
                "data.jsonl:17: error: messages[2].role: \"asistant\" is not a role "
                "(did you mean \"assistant\"?)");
    check_error(MESSAGE_2 "{\"role\":\"narrator of it all\",\"content\":\"a\"}]}", "unknown_role",
                "data.jsonl:17: error: messages[2].role: \"narrator of it all\" is not a role");
    check_error(MESSAGE_2 "{\"role\":3,\"content\":\"a\"}]}", "wrong_type",
                "data.jsonl:17: error: messages[2].role: is a number, expected text");
    check_error(MESSAGE_2 "{\"content\":\"a\"}]}", "missing_key",
                "data.jsonl:17: error: messages[2].role: missing");
    check_error(MESSAGE_2 "{\"from\":\"gpt\",\"value\":\"a\"}]}", "missing_key",
                "data.jsonl:17: error: messages[2].role: missing (found \"from\")");
    check_error(MESSAGE_2 "{\"role\":\"assistant\"}]}", "missing_key",
                "data.jsonl:17: error: messages[2].content: missing");
    check_error(MESSAGE_2 "{\"role\":\"assistant\",\"content\":null}]}", "wrong_type",
                "data.jsonl:17: error: messages[2].content: is null, expected text");
    check_error(MESSAGE_2 "{\"role\":\"assistant\",\"content\":[{\"type\":\"image_url\"}]}]}",
                "not_text",
                "data.jsonl:17: error: messages[2].content[0].type: \"image_url\" is not "
                "supported, expected \"text\"");
    check_error(MESSAGE_2 "{\"role\":\"assistant\",\"content\":[{\"type\":\"text\"}]}]}",
                "missing_key", "data.jsonl:17: error: messages[2].content[0].text: missing");
    check_error(MESSAGE_2 "{\"role\":\"assistant\",\"content\":\"a\",\"weight\":-1}]}",
                "bad_weight",
                "data.jsonl:17: error: messages[2].weight: is -1, expected a number >= 0");
    check_error(MESSAGE_2 "{\"role\":\"assistant\",\"content\":\"a\",\"weight\":\"1\"}]}",
                "wrong_type",
                "data.jsonl:17: error: messages[2].weight: is text, expected a number");
    check_error(MESSAGE_2 "7]}", "wrong_type",
                "data.jsonl:17: error: messages[2]: is a number, expected an object with role and "
                "content");
    check_error("{\"messages\":[]}", "no_messages",
                "data.jsonl:17: error: messages: is an empty list");
    check_error("{\"messages\":\"hello\"}", "wrong_type",
                "data.jsonl:17: error: messages: is text, expected a list of messages");
    check_error("{\"conversations\":[{\"from\":\"humn\",\"value\":\"a\"}]}", "unknown_role",
                "data.jsonl:17: error: conversations[0].from: \"humn\" is not a speaker (did you "
                "mean \"human\"?)");
    check_error(
        "{\"conversations\":[{\"from\":\"function_call\",\"value\":\"f(1)\"}]}", "bad_arguments",
        "data.jsonl:17: error: conversations[0].value: the text of a function_call is not a JSON "
        "object, or a list of them");
    check_error("{\"conversations\":[]}", "no_messages",
                "data.jsonl:17: error: conversations: is an empty list");
    check_error(
        "{\"mesages\":[]}", "unknown_format",
        "data.jsonl:17: error: found the keys \"mesages\", expected messages, or conversations, or "
        "instruction and output, or prompt and completion, or text, or prompt, or "
        "chosen and rejected (did you mean \"messages\"?)");
    check_error("{}", "unknown_format",
                "data.jsonl:17: error: found no keys, expected messages, or conversations, or "
                "instruction and "
                "output, or prompt and completion, or text, or prompt, or chosen and rejected");
    check_error("{\"instruction\":\"i\",\"input\":\"x\"}", "missing_key",
                "data.jsonl:17: error: output: missing (a row with instruction needs output)");
    check_error("{\"completion\":\"c\"}", "missing_key",
                "data.jsonl:17: error: prompt: missing (a row with completion needs prompt)");
    check_error("{\"prompt\":\"p\",\"completion\":5}", "wrong_type",
                "data.jsonl:17: error: completion: is a number, expected text");
    check_error("{\"text\":[1]}", "wrong_type",
                "data.jsonl:17: error: text: is a list, expected text");
    check_error("{\"instruction\":\"i\",\"output\":\"o\",\"history\":[[\"q\"]]}", "wrong_type",
                "data.jsonl:17: error: history[0]: expected a list of two texts");
    check_error("[1]", "not_an_object",
                "data.jsonl:17: error: the row is a list, expected an object");
    check_error("5", "not_an_object",
                "data.jsonl:17: error: the row is a number, expected an object");
}

/* A word of the file reaches the message as one short, harmless line. */
static void hostile_words(void **state) {
    (void)state;
    struct hold_rows rows = {0};
    struct hold_error err = {0};
    struct hold_str text = HOLD_STR_INIT;
    hold_str_add(&text, "{\"messages\":[{\"content\":\"\",\"role\":\"\\u001b[2J\\n");
    for (int i = 0; i < 100000; i++)
        hold_str_add(&text, "\xC3\xA9");
    hold_str_add(&text, "\"}]}");
    assert_int_equal(add(&rows, hold_str_text(&text), NULL, &err), HOLD_EDATA);
    assert_non_null(strstr(err.text, "rows:17: error: messages[0].role: \"\\x1b[2J\\n"));
    assert_true(strlen(err.text) < 160);
    assert_int_equal(hold_utf8_check(err.text, strlen(err.text)), -1);
    hold_str_release(&text);
    hold_rows_release(&rows);
}

/* ids and texts by Python 3.11:
 * re.sub(r"[\W_]+", " ", unicodedata.normalize("NFKC", s).lower()).strip(), sha256()[:16] */
static const struct {
    const char *text, *plain, *id;
} TEXTS[] = {
#include "data/normalised.inc"
};

static void normalise(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(TEXTS) / sizeof(TEXTS[0]); i++) {
        struct hold_str out = HOLD_STR_INIT;
        struct hold_error err = {0};
        char hex[HOLD_HASH_HEX];
        hold_str_add(&out, "- ");
        assert_int_equal(hold_row_normalise(TEXTS[i].text, NULL, &out, &err), HOLD_OK);
        assert_string_equal(hold_str_text(&out) + 2, TEXTS[i].plain);
        hold_hash_bytes(out.data + 2, out.len - 2, hex);
        assert_memory_equal(hex, TEXTS[i].id, 16);
        hold_str_release(&out);
    }
}

static void normalise_instruction(void **state) {
    (void)state;
    static const char *const CASES[][3] = {
        {"Say it.\n\nHello, World", "Say it.", "hello world"},
        {"Say it. Hello", "Say it.", "hello"},
        {"Say it.", "Say it.", "say it"},
        {"Sayings", "Say", "sayings"},
        {"Hello", "Say it.", "hello"},
        {"Hello", "", "hello"},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        struct hold_str out = HOLD_STR_INIT;
        struct hold_error err = {0};
        assert_int_equal(hold_row_normalise(CASES[i][0], CASES[i][1], &out, &err), HOLD_OK);
        assert_string_equal(hold_str_text(&out), CASES[i][2]);
        hold_str_release(&out);
    }
}

/* The id is that of the last user text, without the row's instruction. */
static void ids(void **state) {
    (void)state;
    static const char *const EQUAL[] = {
        "{\"prompt\":\"How?\"}",
        "{\"text\":\"how\"}",
        "{\"prompt\":\"Task:\\n\\n HOW\",\"instruction\":\"Task:\"}",
        "{\"instruction\":\"how!\",\"output\":\"x\"}",
        ("{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":"
         "\"b\"},{\"role\":\"user\",\"content\":\"\xEF\xBC\xA8ow\"}]}"),
    };
    struct hold_rows rows = {0};
    struct hold_error err = {0};
    for (size_t i = 0; i < sizeof(EQUAL) / sizeof(EQUAL[0]); i++) {
        assert_int_equal(add(&rows, EQUAL[i], NULL, &err), HOLD_OK);
        assert_string_equal(rows.row[i].id, rows.row[0].id);
    }
    assert_int_equal(add(&rows, "{\"prompt\":\"other\"}", NULL, &err), HOLD_OK);
    assert_string_not_equal(rows.row[rows.n - 1].id, rows.row[0].id);
    /* Nothing but the assistant spoke: no user text. */
    assert_int_equal(
        add(&rows, "{\"messages\":[{\"role\":\"assistant\",\"content\":\"b\"}]}", NULL, &err),
        HOLD_OK);
    assert_string_equal(hold_row_user_text(&rows.row[rows.n - 1]), "");
    hold_rows_release(&rows);
}

/* Hostile runs of combining marks of alternating classes, and sigmas among marks: linear time. */
static void normalise_linear(void **state) {
    (void)state;
    static const char *const UNITS[] = {"\xCC\x81\xCC\xA3", "\xEF\xBE\x9E\xCC\x95",
                                        "\xCE\xA3\xCC\x81", "'", "\xEF\xB7\xBA"};
    for (size_t u = 0; u < sizeof(UNITS) / sizeof(UNITS[0]); u++) {
        struct hold_str text = HOLD_STR_INIT, out = HOLD_STR_INIT;
        struct hold_error err = {0};
        hold_str_add(&text, "a\xCE\xA3");
        for (int i = 0; i < 200000; i++)
            hold_str_add(&text, UNITS[u]);
        clock_t start = clock();
        assert_int_equal(hold_row_normalise(hold_str_text(&text), NULL, &out, &err), HOLD_OK);
        assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 5.0);
        hold_str_release(&text);
        hold_str_release(&out);
    }
}

static void normalise_refuses(void **state) {
    (void)state;
    struct hold_str out = HOLD_STR_INIT;
    struct hold_error err = {0};
    assert_int_equal(hold_row_normalise("a\xFF", NULL, &out, &err), HOLD_EDATA);
    hold_str_release(&out);
}

/* Write and read again: every key is kept, in order. */
static void write_back(void **state) {
    (void)state;
    char dir[] = "test_data_rows.XXXXXX";
    struct hold_str path = HOLD_STR_INIT, text = HOLD_STR_INIT;
    struct hold_rows rows = {0};
    struct hold_error err = {0};
    assert_non_null(mkdtemp(dir));
    hold_path_join(&path, dir, "out.jsonl");
    assert_int_equal(add(&rows, "{\"z\":0.1,\"text\":\"a\\nb\",\"a\":[null,true]}", NULL, &err), 0);
    assert_int_equal(add(&rows, "{\"prompt\":\"\xC3\xA9\"}", NULL, &err), HOLD_OK);
    assert_int_equal(hold_rows_write(&rows, hold_str_text(&path), &err), HOLD_OK);
    assert_int_equal(hold_file_read(hold_str_text(&path), 0, &text, &err), HOLD_OK);
    json_t *first = json_loadb(text.data, (size_t)(strchr(text.data, '\n') - text.data), 0, NULL);
    assert_true(json_equal(first, rows.row[0].data));
    assert_non_null(strstr(text.data, "\n{\"prompt\":"));
    json_decref(first);
    hold_str_clear(&path);
    hold_path_join(&path, dir, "missing/out.jsonl");
    assert_int_not_equal(hold_rows_write(&rows, hold_str_text(&path), &err), HOLD_OK);
    assert_int_equal(hold_remove_tree(dir, &err), HOLD_OK);
    hold_rows_release(&rows);
    hold_str_release(&path);
    hold_str_release(&text);
}

/* Beyond the limit findings are counted and their texts are not kept; warnings take no room from
 * errors. */
static void many_issues(void **state) {
    (void)state;
    struct hold_issues issues = {0};
    struct hold_error err = {0};
    for (long i = 0; i < HOLD_ISSUES_KEPT + 50; i++)
        assert_int_equal(hold_issues_add(&issues, false, "r", i, &err, "%s:%ld", "f", i), 0);
    assert_int_equal(issues.n, HOLD_ISSUES_KEPT);
    for (long i = 0; i < HOLD_ISSUES_KEPT + 50; i++)
        assert_int_equal(hold_issues_add(&issues, true, "r", i, &err, "%s:%ld", "f", i), 0);
    assert_int_equal(issues.n, 2 * HOLD_ISSUES_KEPT);
    assert_int_equal(issues.n_warnings, HOLD_ISSUES_KEPT + 50);
    assert_int_equal(issues.n_errors, HOLD_ISSUES_KEPT + 50);
    assert_true(issues.item[HOLD_ISSUES_KEPT].error);
    hold_issues_release(&issues);
}

/* Every allocation of ours fails in turn: an error or the row, nothing lost. */
static void no_memory(void **state) {
    (void)state;
    int status = HOLD_ENOMEMORY;
    for (int64_t at = 1; status; at++) {
        struct hold_rows rows = {0};
        struct hold_error err = {0};
        json_t *data =
            json_pack("{s:s, s:s, s:s}", "instruction", "i", "input", "x", "output", "o");
        assert_true(at < 50);
        hold_mem_fail_at(at);
        status = hold_rows_add(&rows, data, 1, NULL, &err);
        hold_mem_fail_at(0);
        assert_true(status == HOLD_OK || status == HOLD_ENOMEMORY);
        assert_int_equal(rows.n, status ? 0 : 1);
        json_decref(data);
        hold_rows_release(&rows);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats),
        cmocka_unit_test(errors),
        cmocka_unit_test(hostile_words),
        cmocka_unit_test(normalise),
        cmocka_unit_test(normalise_instruction),
        cmocka_unit_test(ids),
        cmocka_unit_test(normalise_linear),
        cmocka_unit_test(normalise_refuses),
        cmocka_unit_test(write_back),
        cmocka_unit_test(many_issues),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
