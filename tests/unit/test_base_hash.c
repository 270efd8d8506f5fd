/* test_base_hash.c: SHA-256 and FNV-1a against published vectors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above it. */
#include <cmocka.h>

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"

/* FIPS 180-2, appendix B, and the empty message. */
static const struct {
    const char *text, *hex;
} VECTORS[] = {
    {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
};
static const char MILLION_A[] = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

static void sha256_gives_the_known_answers(void **state) {
    (void)state;
    char hex[HOLD_HASH_HEX];
    for (size_t i = 0; i < sizeof(VECTORS) / sizeof(VECTORS[0]); i++) {
        hold_hash_bytes(VECTORS[i].text, strlen(VECTORS[i].text), hex);
        assert_string_equal(hex, VECTORS[i].hex);
    }
}

static void pieces_hash_like_the_whole(void **state) {
    (void)state;
    char piece[997], hex[HOLD_HASH_HEX];
    memset(piece, 'a', sizeof(piece));
    struct hold_hash h;
    hold_hash_init(&h);
    for (size_t left = 1000000; left;) {
        size_t n = left < sizeof(piece) ? left : sizeof(piece);
        hold_hash_add(&h, piece, n);
        hold_hash_add(&h, NULL, 0);
        left -= n;
    }
    hold_hash_end(&h, hex);
    assert_string_equal(hex, MILLION_A);
}

static void files_hash_like_their_bytes(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_str text = HOLD_STR_INIT;
    char hex[HOLD_HASH_HEX];
    for (int i = 0; i < 1000000; i++)
        hold_str_add_char(&text, 'a');
    assert_int_equal(hold_file_write_atomic("test_base_hash.data", text.data, text.len, &err), 0);
    assert_int_equal(hold_hash_file("test_base_hash.data", hex, &err), HOLD_OK);
    assert_string_equal(hex, MILLION_A);
    hold_str_release(&text);
    unlink("test_base_hash.data");
}

static void what_is_no_file_is_refused(void **state) {
    (void)state;
    struct hold_error err = {0};
    char hex[HOLD_HASH_HEX];
    assert_int_equal(hold_hash_file("test_base_hash.none", hex, &err), HOLD_ENOTFOUND);
    assert_string_equal(err.text, "test_base_hash.none: no such file or directory");
    assert_int_equal(hold_hash_file(".", hex, &err), HOLD_EUSAGE);
    assert_int_equal(mkfifo("test_base_hash.pipe", 0600), 0);
    assert_int_equal(hold_hash_file("test_base_hash.pipe", hex, &err), HOLD_EUSAGE);
    unlink("test_base_hash.pipe");
}

/* From the authors' page (Fowler, Noll, Vo), 64-bit FNV-1a. */
static void fnv_gives_the_known_answers(void **state) {
    (void)state;
    assert_true(hold_fnv("", 0) == 0xcbf29ce484222325u);
    assert_true(hold_fnv("a", 1) == 0xaf63dc4c8601ec8cu);
    assert_true(hold_fnv("foobar", 6) == 0x85944171f73967e8u);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha256_gives_the_known_answers),
        cmocka_unit_test(pieces_hash_like_the_whole),
        cmocka_unit_test(files_hash_like_their_bytes),
        cmocka_unit_test(what_is_no_file_is_refused),
        cmocka_unit_test(fnv_gives_the_known_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
