/* test_data_read.c: row files as bytes: JSON Lines, JSON arrays, CSV, whole and damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/rng.h"
#include "data_files.h"

/* The rows must read; `lines` and `texts` are what each row should be, ended by line 0. */
static void good(const char *name, const char *bytes, const long *lines, const char *const *texts) {
    struct hold_rows rows;
    struct hold_error err = {0};
    if (read_bytes(name, bytes, strlen(bytes), &rows, NULL, &err))
        fail_msg("%s", err.text);
    int64_t n = 0;
    while (lines[n])
        n++;
    assert_int_equal(rows.n, n);
    for (int64_t i = 0; i < n; i++) {
        assert_int_equal(rows.row[i].line, lines[i]);
        assert_string_equal(hold_row_user_text(&rows.row[i]), texts[i]);
    }
    hold_rows_release(&rows);
}

/* The first bad row ends the call with `place` and `text` in its message; as issues there are
 * n_issues, and n_rows rows are read all the same. */
static void wrong_bytes(const char *name, const void *bytes, size_t n, const char *place,
                        const char *text, int64_t n_issues, int64_t n_rows) {
    struct hold_rows rows;
    struct hold_issues issues = {0};
    struct hold_error err = {0};
    char start[128];
    assert_int_equal(read_bytes(name, bytes, n, &rows, NULL, &err), HOLD_EDATA);
    assert_null(rows.row);
    snprintf(start, sizeof(start), "%s/%s:%s: error: ", folder, name, place);
    if (strncmp(err.text, start, strlen(start)) || !strstr(err.text, text))
        fail_msg("found \"%s\", expected \"%s...%s\"", err.text, start, text);
    if (read_bytes(name, bytes, n, &rows, &issues, &err))
        fail_msg("%s", err.text);
    assert_string_equal(issues.item[0].text, issues.n ? issues.item[0].text : "");
    assert_int_equal(strncmp(issues.item[0].text, start, strlen(start)), 0);
    assert_int_equal(issues.n, n_issues);
    assert_int_equal(rows.n, n_rows);
    hold_issues_release(&issues);
    hold_rows_release(&rows);
}

static void wrong(const char *name, const char *bytes, const char *place, const char *text,
                  int64_t n_issues, int64_t n_rows) {
    wrong_bytes(name, bytes, strlen(bytes), place, text, n_issues, n_rows);
}

#define A "{\"text\":\"a\"}"
#define B "{\"text\":\"b\"}"

static void lines_good(void **state) {
    (void)state;
    static const char *const AB[] = {"a", "b"};
    good("a.jsonl", A "\n" B "\n", (long[]){1, 2, 0}, AB);
    good("a.jsonl", A "\n" B, (long[]){1, 2, 0}, AB);
    good("a.jsonl", A "\r\n" B "\r\n", (long[]){1, 2, 0}, AB);
    good("a.jsonl", "\xEF\xBB\xBF" A "\n\n \t\r\n" B "\n\n", (long[]){1, 4, 0}, AB);
    good("a.ndjson", A "\n" B, (long[]){1, 2, 0}, AB);
    good("a.json", A "\n" B, (long[]){1, 2, 0}, AB);
    good("a.txt", "  " A "\n" B, (long[]){1, 2, 0}, AB);
    good("a.jsonl", "{\"text\":\"\\ud83e\\udd16\"}", (long[]){1, 0},
         (const char *[]){"\xF0\x9F\xA4\x96"});
}

static void lines_wrong(void **state) {
    (void)state;
    wrong("b.jsonl", A "\n{\"text\":\"b\",}\n" B, "2:13", "string or '}' expected", 1, 2);
    wrong("b.jsonl", A "\n{\"text\":\"b\"\n" B, "2:11", "expected", 1, 2);
    wrong("b.jsonl", "{\"text\":\"\xC3\xA9\xC3\xA9\",x}\n", "1:14", "expected", 1, 0);
    wrong("b.jsonl", A " x\n" B, "1:14", "text after the end of the JSON value", 1, 1);
    wrong("b.jsonl", A B "\n", "1:13", "text after the end of the JSON value", 1, 0);
    wrong("b.jsonl", "{\"text\":\"\\ud800\"}\n" B, "1:16", "invalid Unicode", 1, 1);
    wrong("b.jsonl", "{\"text\":\"\\u0000\"}\n" B, "1:16", "\\u0000 inside a string", 1, 1);
    wrong("b.jsonl", "{\"text\":\"a\",\"text\":\"b\"}\n" B, "1:18", "duplicate object key", 1, 1);
    wrong("b.jsonl", "{\"text\":\"a\",\"x\":1e999}\n" B, "1:21", "real number overflow", 1, 1);
    wrong("b.jsonl", "{\"text\":\"a\",\"x\":NaN}\n" B, "1:19", "invalid token", 1, 1);
    wrong("b.jsonl", "[" A "," B "]\n" A, "1", "the row is a list, expected an object", 1, 1);
    wrong("b.jsonl", "hello\n", "1:5", "invalid token", 1, 0);
    wrong("b.jsonl", A "\n\nnull\n{\"x\":1}\n" B, "3", "the row is null, expected an object", 2, 2);
    wrong("b.jsonl", "", "1", "the file has no rows", 1, 0);
    wrong("b.jsonl", "\n \n", "1", "the file has no rows", 1, 0);
    wrong("b.jsonl", "\xEF\xBB\xBF", "1", "the file has no rows", 1, 0);
    wrong("b.json", "{\n  \"text\": \"a\"\n}\n", "1:1", "expected", 3, 0);
}

static void bytes_wrong(void **state) {
    (void)state;
    wrong("b.jsonl", A "\n{\"text\":\"\xC3\xA9\xFF\"}\n" B, "2:11",
          "byte 0xff at offset 24 of the file is not UTF-8", 1, 2);
    wrong("b.jsonl", A "\n{\"text\":\"\xED\xA0\x80\"}\n", "2:10",
          "byte 0xed at offset 22 of the file is not UTF-8", 1, 1);
    wrong("b.json", "[" A ",\n" B "\xC0]", "2:13", "byte 0xc0 at offset 27", 1, 0);
    wrong("b.csv", "text\nb\n\xE9t\xE9\n", "3:1", "byte 0xe9 at offset 7", 1, 0);
    static const char NUL[] = A "\n{\"te\0xt\":\"a\"}\n" B;
    wrong_bytes("b.jsonl", NUL, sizeof(NUL) - 1, "2:5", "NUL byte at offset 17 of the file", 1, 2);
    static const char UTF16[] = "\xFF\xFE{\0\"\0t\0";
    wrong_bytes("b.jsonl", UTF16, sizeof(UTF16) - 1, "1:1", "the file is UTF-16, expected UTF-8", 1,
                0);
}

static void arrays(void **state) {
    (void)state;
    static const char *const AB[] = {"a", "b"};
    good("a.json", "[" A "," B "]", (long[]){1, 1, 0}, AB);
    good("a.json", "\xEF\xBB\xBF [\n " A ",\r\n {\n\"text\":\n\"b\"}\n]\n\n", (long[]){2, 3, 0},
         AB);
    wrong("b.json", "[" A "\n," B ",]\n", "2:15", "unexpected token near ']'", 1, 2);
    wrong("b.json", "[" A ",\n {\"text\":}," B "]", "2:10", "unexpected token", 1, 1);
    wrong("b.json", "[" A ",\n " B, "2:14", "the file ends inside the list of rows", 1, 2);
    wrong("b.json", "[" A ",", "1:15", "the file ends inside the list of rows", 1, 1);
    wrong("b.json", "[", "1:2", "the file ends inside the list of rows", 1, 0);
    wrong("b.json", "[" A " " B "]", "1:15", "expected \",\" or \"]\"", 1, 1);
    wrong("b.json", "[" A "]\n x", "2:2", "text after the end of the list of rows", 1, 1);
    wrong("b.json", "[" A ",\n5,\n{\"x\":1},\n" B "]", "2", "the row is a number", 2, 2);
    wrong("b.json", "[" A ",\n{\"a\":1,\"a\":2}]", "2:10", "duplicate object key", 1, 1);
    wrong("b.json", "[]", "1", "the file has no rows", 1, 0);
}

static void csv_good(void **state) {
    (void)state;
    static const char *const AB[] = {"a", "b"};
    good("a.csv", "text\na\nb\n", (long[]){2, 3, 0}, AB);
    good("a.CSV", "\xEF\xBB\xBF\"text\",id\r\na,1\r\n\r\n\"b\",2", (long[]){2, 4, 0}, AB);
    good("a.csv", "id,prompt,completion\n1,\"a, \"\"b\"\"\r\n c\",x\n2,  d  ,y\n",
         (long[]){2, 4, 0}, (const char *[]){"a, \"b\"\r\n c", "  d  "});
    good("a.csv", "instruction,input,output\ni,,o\ni,x,o\n", (long[]){2, 3, 0},
         (const char *[]){"i", "i\n\nx"});
    good("a.csv", "text,x\n,\n\"\",\n", (long[]){2, 3, 0}, (const char *[]){"", ""});
    struct hold_rows rows;
    struct hold_error err = {0};
    assert_int_equal(read_bytes("a.csv", "text,n\na,007\n", 13, &rows, NULL, &err), HOLD_OK);
    assert_string_equal(json_string_value(json_object_get(rows.row[0].data, "n")), "007");
    hold_rows_release(&rows);
}

/* TSV: what stands between tabs is the cell, quotes and all. */
static void tabs(void **state) {
    (void)state;
    good("a.tsv", "text\tn\na \"b\"\t1\r\n\"\"\t2\n , \t3", (long[]){2, 3, 4, 0},
         (const char *const[]){"a \"b\"", "\"\"", " , "});
    good("a.TSV", "prompt\na,b\n\n\"c\n", (long[]){2, 4, 0}, (const char *const[]){"a,b", "\"c"});
    wrong("b.tsv", "text\tn\na\n", "2", "the row has 1 cells, the header has 2", 1, 0);
    wrong("b.tsv", "text\ttext\na\tb\n", "1", "column 2 has the name of an earlier column", 1, 0);
    wrong("b.tsv", "sentence\tlabel\na\t1\n", "2", "found the keys \"sentence\", \"label\"", 1, 0);
}

static void csv_wrong(void **state) {
    (void)state;
    wrong("b.csv", "text,x\na,1\nb\nc,3,4\nd,5\n", "3", "the row has 1 cells, the header has 2", 2,
          2);
    wrong("b.csv", "text,x\na,b\"c\nd,5\n", "2:4", "a quote inside an unquoted cell", 1, 1);
    wrong("b.csv", "text,x\na,\"b\"c\nd,5\n", "2:6", "text after a closing quote", 1, 1);
    wrong("b.csv", "text,x\nd,5\na,\"b\nc,7\n", "3", "not closed before the file ends", 1, 1);
    wrong("b.csv", "text,text\na,b\n", "1", "column 2 has the name of an earlier column, \"text\"",
          1, 0);
    wrong("b.csv", "text,,x\na,b,c\n", "1", "column 2 has no name", 1, 0);
    wrong("b.csv", "te\"xt\na\n", "1:3", "a quote inside", 1, 0);
    wrong("b.csv", "foo,bar\na,b\n", "2", "found the keys \"foo\", \"bar\"", 1, 0);
    wrong("b.csv", "text\na\rb\nc\n", "2", "a carriage return", 1, 1);
    wrong("b.csv", "messages\n[]\n", "2", "messages: is text, expected a list", 1, 0);
    wrong("b.csv", "text\n", "1", "the file has no rows", 1, 0);
    wrong("b.csv", "", "1", "the file has no rows", 1, 0);
}

/* Depth, width and length beyond the limits end in a message, soon. */
static void limits(void **state) {
    (void)state;
    enum { MANY = 1000000, LIMIT = 64 << 20 };
    struct hold_str text = HOLD_STR_INIT;
    clock_t start = clock();
    for (int i = 0; i < MANY; i++)
        hold_str_add_char(&text, '[');
    hold_str_add(&text, "\n" B);
    wrong("c.jsonl", text.data, "1:2049", "JSON nested deeper than 2048 levels", 1, 1);
    wrong("c.json", text.data, "1:2050", "JSON nested deeper than 2048 levels", 1, 0);
    hold_str_clear(&text);
    hold_str_add(&text, "text");
    for (int i = 0; i < MANY; i++)
        hold_str_add_char(&text, ',');
    wrong("c.csv", text.data, "1", "the row has 1000001 cells, the limit is 1024", 1, 0);
    hold_str_clear(&text);
    hold_str_add(&text, A "\n{\"text\":\"");
    assert_true(hold_str_reserve(&text, LIMIT + 100));
    memset(text.data + text.len, 'x', LIMIT);
    text.len += LIMIT;
    hold_str_add(&text, "\"}\n" B);
    wrong("c.jsonl", text.data, "2", "line longer than 64 MiB", 1, 2);
    hold_str_clear(&text);
    hold_str_add(&text, "text\na\n\"");
    memset(text.data + text.len, '\n', LIMIT);
    text.len += LIMIT;
    hold_str_add(&text, "\"\nb\n");
    wrong("c.csv", text.data, "3", "row longer than 64 MiB", 1, 1);
    hold_str_release(&text);
    assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 60.0);
}

static void no_file(void **state) {
    (void)state;
    struct hold_rows rows;
    struct hold_error err = {0};
    struct hold_str path = HOLD_STR_INIT;
    hold_path_join(&path, folder, "missing.jsonl");
    assert_int_equal(hold_rows_read(&rows, hold_str_text(&path), NULL, &err), HOLD_ENOTFOUND);
    assert_non_null(strstr(err.text, "missing.jsonl"));
    assert_int_not_equal(hold_rows_read(&rows, folder, NULL, &err), HOLD_OK);
    hold_str_release(&path);
}

/* Standard input: what it is shows in its first character. */
static void standard_input(void **state) {
    (void)state;
    static const char *const FORMS[] = {A "\n" B "\n", "[" A "," B "]", "text\na\nb\n"};
    for (size_t i = 0; i < 3; i++) {
        struct hold_str path = HOLD_STR_INIT;
        struct hold_rows rows;
        struct hold_error err = {0};
        put_file(&path, "stdin", FORMS[i], strlen(FORMS[i]));
        assert_non_null(freopen(hold_str_text(&path), "r", stdin));
        if (hold_rows_read(&rows, "-", NULL, &err))
            fail_msg("%s", err.text);
        assert_int_equal(rows.n, 2);
        assert_string_equal(rows.path, "<stdin>");
        assert_string_equal(hold_row_user_text(&rows.row[1]), "b");
        hold_rows_release(&rows);
        hold_str_release(&path);
    }
}

/* ---- damaged files ---- */

static const char *const SEEDS[][2] = {
    {"f.jsonl", "{\"messages\":[{\"role\":\"user\",\"content\":\"\xC3\xA9 \\u00e9\"},{\"role\":"
                "\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"x\"}],\"weight\":0.5}]}\n"
                "{\"instruction\":\"i\",\"input\":\"\",\"output\":\"o\",\"history\":[[\"a\",\"b\"]]"
                "}\r\n\n" A "\n"},
    {"f.json", "[" A ",\n{\"prompt\":[{\"role\":\"user\",\"content\":\"q\"}],\"completion\":\"c\"}"
               ", {\"prompt\":\"p\",\"x\":[1e3,null,-0.5]}\n]\n"},
    {"f.tsv", "id\tprompt\tcompletion\r\n1\ta \"b\tx\n2\t\t\n"},
    {"f.csv", "id,prompt,completion\r\n1,\"a, \"\"b\"\"\n c\",x\n2,  d  ,\n\n3,e,\"\"\n"},
};

/* Whatever the bytes: an error or rows, every issue one line of valid UTF-8, no crash. */
static void survive(const char *name, const char *bytes, size_t n) {
    struct hold_rows rows;
    struct hold_issues issues = {0};
    struct hold_error err = {0};
    int strict = read_bytes(name, bytes, n, &rows, NULL, &err);
    if (strict)
        assert_true(err.text[0] && !strchr(err.text, '\n'));
    else
        assert_true(rows.n > 0);
    hold_rows_release(&rows);
    assert_int_equal(read_bytes(name, bytes, n, &rows, &issues, &err), HOLD_OK);
    assert_int_equal(strict == HOLD_OK, issues.n_errors == 0);
    for (int64_t i = 0; i < issues.n; i++) {
        const char *text = issues.item[i].text;
        assert_int_equal(hold_utf8_check(text, strlen(text)), -1);
        assert_null(strchr(text, '\n'));
        assert_true(issues.item[i].line > 0);
    }
    hold_issues_release(&issues);
    hold_rows_release(&rows);
}

static void truncated(void **state) {
    (void)state;
    for (size_t s = 0; s < 3; s++)
        for (size_t n = 0; n <= strlen(SEEDS[s][1]); n++)
            survive(SEEDS[s][0], SEEDS[s][1], n);
}

static void mutated(void **state) {
    (void)state;
    static const char SIGNS[] = "\"\\{}[],:\n\r\0 \xEF\xBB\xBF\xFF\xC3u0nulltruesystem-1e9";
    for (uint64_t seed = 0; seed < 1500; seed++) {
        struct hold_rng rng;
        struct hold_str text = HOLD_STR_INIT;
        const char *const *from = SEEDS[seed % 3];
        hold_rng_init(&rng, seed, "mutated", 0, 0);
        hold_str_add(&text, from[1]);
        uint64_t changes = 1 + hold_rng_below(&rng, 6);
        for (uint64_t c = 0; c < changes && text.len > 1; c++) {
            size_t at = hold_rng_below(&rng, text.len);
            char sign = SIGNS[hold_rng_below(&rng, sizeof(SIGNS) - 1)];
            if (hold_rng_below(&rng, 3)) {
                text.data[at] = hold_rng_below(&rng, 2) ? sign : (char)hold_rng_u32(&rng);
            } else {
                size_t len = hold_rng_below(&rng, text.len - at);
                memmove(text.data + at, text.data + at + len, text.len - at - len);
                hold_str_cut(&text, text.len - len);
            }
        }
        survive(SEEDS[seed % 3][0], text.data, text.len);
        survive(SEEDS[(seed + 1) % 3][0], text.data, text.len);
        hold_str_release(&text);
    }
}

static void random_bytes(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 600; seed++) {
        struct hold_rng rng;
        char bytes[256];
        hold_rng_init(&rng, seed, "random_bytes", 0, 0);
        size_t n = hold_rng_below(&rng, sizeof(bytes));
        for (size_t i = 0; i < n; i++)
            bytes[i] = (char)(seed % 2 ? hold_rng_u32(&rng) : hold_rng_below(&rng, 128));
        survive(SEEDS[seed % 3][0], bytes, n);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_good),   cmocka_unit_test(lines_wrong),
        cmocka_unit_test(bytes_wrong),  cmocka_unit_test(arrays),
        cmocka_unit_test(csv_good),     cmocka_unit_test(csv_wrong),
        cmocka_unit_test(tabs),         cmocka_unit_test(limits),
        cmocka_unit_test(no_file),      cmocka_unit_test(standard_input),
        cmocka_unit_test(truncated),    cmocka_unit_test(mutated),
        cmocka_unit_test(random_bytes),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
