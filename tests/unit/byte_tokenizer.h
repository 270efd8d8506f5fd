/* byte_tokenizer.h: a tokenizer of one id a byte, and special tokens from id 256 on, so that the
 * tokens of tests can be read.
 */
#ifndef TEST_BYTE_TOKENIZER_H
#define TEST_BYTE_TOKENIZER_H

#include <jansson.h>

#include "tokenizer/tokenizer.h"

enum { FIRST_SPECIAL = 256 };

/* The alphabet of byte-level BPE: printable Latin-1 bytes are themselves, the others follow U+0100
 * in order. */
static void byte_piece(int byte, char out[3]) {
    int code = byte, next = 256;
    for (int b = 0; b <= byte; b++) {
        bool plain = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        code = plain ? b : next++;
    }
    if (code < 128) {
        out[0] = (char)code;
        out[1] = '\0';
    } else {
        out[0] = (char)(0xC0 | code >> 6);
        out[1] = (char)(0x80 | (code & 63));
        out[2] = '\0';
    }
}

/* `special`: n texts; bos and eos are two of them. */
static int make_byte_tokenizer(struct hold_tokenizer **out, const char *const *special, int n,
                               const char *bos, const char *eos, struct hold_error *err) {
    json_t *vocab = json_object(), *added = json_array();
    for (int b = 0; b < 256; b++) {
        char piece[3];
        byte_piece(b, piece);
        json_object_set_new(vocab, piece, json_integer(b));
    }
    for (int i = 0; i < n; i++) {
        json_object_set_new(vocab, special[i], json_integer(FIRST_SPECIAL + i));
        json_array_append_new(added, json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:b}", "id",
                                               FIRST_SPECIAL + i, "content", special[i], "special",
                                               1, "normalized", 0, "single_word", 0, "lstrip", 0,
                                               "rstrip", 0));
    }
    json_t *tokenizer =
        json_pack("{s:s, s:o, s:n, s:{s:s, s:b, s:b, s:b}, s:{s:s}, s:{s:s, s:o, s:[]}}", "version",
                  "1.0", "added_tokens", added, "normalizer", "pre_tokenizer", "type", "ByteLevel",
                  "add_prefix_space", 0, "trim_offsets", 1, "use_regex", 1, "decoder", "type",
                  "ByteLevel", "model", "type", "BPE", "vocab", vocab, "merges");
    json_t *config = json_pack("{s:s, s:s}", "bos_token", bos, "eos_token", eos);
    int status = hold_tokenizer_from_json(out, tokenizer, config, "tokenizer.json", err);
    json_decref(tokenizer);
    json_decref(config);
    return status;
}

#endif
