/* pretok_scan.c: linear scanners for the pre-tokenizer patterns of known model families. */
#include <string.h>

#include "tokenizer/pretok.h"
#include "tokenizer/unicode.h"

/* Class of the character at `at` and, in *next, where it ends. */
static inline enum hold_class peek(const unsigned char *text, size_t at, size_t *next) {
    *next = at;
    return hold_unicode_class(hold_unicode_next(text, next));
}

/* End of the run of characters of class `want` from `at`, at most `max` of them (0: no bound). */
static size_t run(const unsigned char *text, size_t at, size_t n, enum hold_class want,
                  size_t max) {
    size_t next = at;
    for (size_t count = 0; at < n && (max == 0 || count < max); count++) {
        if (peek(text, at, &next) != want) {
            break;
        }
        at = next;
    }
    return at;
}

/* \s+(?!\S)|\s+ at a space: all of the run at the end of the text, else all but its last
 * character, unless that is the only one. */
static size_t spaces(const unsigned char *text, size_t at, size_t n) {
    size_t last = at, end = at, next = at;
    while (end < n && peek(text, end, &next) == HOLD_CLASS_SPACE) {
        last = end;
        end = next;
    }
    return end == n || last == at ? end : last;
}

/* Length of 's 't 're 've 'm 'll 'd behind the apostrophe at `at`, or 0. With `fold` letters of
 * either case, and the long s as Unicode folds it. */
static size_t contraction(const unsigned char *text, size_t at, size_t n, bool fold) {
    size_t left = n - at - 1;
    if (left == 0) {
        return 0;
    }
    const unsigned char *p = text + at + 1;
    if (fold && left >= 2 && p[0] == 0xC5 && p[1] == 0xBF) {
        return 2;
    }
    unsigned char first = p[0], second = left >= 2 ? p[1] : 0;
    if (fold) {
        first = first >= 'A' && first <= 'Z' ? (unsigned char)(first | 0x20) : first;
        second = second >= 'A' && second <= 'Z' ? (unsigned char)(second | 0x20) : second;
    }
    if (first == 's' || first == 't' || first == 'm' || first == 'd') {
        return 1;
    }
    if ((first == 'r' && second == 'e') || (first == 'v' && second == 'e') ||
        (first == 'l' && second == 'l')) {
        return 2;
    }
    return 0;
}

size_t hold_scan_gpt2(const unsigned char *text, size_t at, size_t n) {
    if (text[at] == '\'') {
        size_t tail = contraction(text, at, n, false);
        if (tail > 0) {
            return at + 1 + tail;
        }
    }
    size_t next = at;
    enum hold_class here = peek(text, at, &next);
    if (text[at] == ' ' && next < n) {
        size_t after = next;
        enum hold_class then = peek(text, next, &after);
        if (then != HOLD_CLASS_SPACE) {
            return run(text, after, n, then, 0);
        }
    }
    return here == HOLD_CLASS_SPACE ? spaces(text, at, n) : run(text, next, n, here, 0);
}

static size_t newlines(const unsigned char *text, size_t at, size_t n) {
    while (at < n && (text[at] == '\n' || text[at] == '\r')) {
        at++;
    }
    return at;
}

/* \s*[\r\n]+ at a space: up to the last line end of the run of spaces; 0 when it has none. */
static size_t line_end(const unsigned char *text, size_t at, size_t n) {
    size_t found = 0, next = at;
    while (at < n && peek(text, at, &next) == HOLD_CLASS_SPACE) {
        if (text[at] == '\n' || text[at] == '\r') {
            found = next;
        }
        at = next;
    }
    return found;
}

/* The common form of Llama 3 and Qwen 2, which differ in how many digits make a piece. */
static size_t scan_lines(const unsigned char *text, size_t at, size_t n, size_t digits) {
    if (text[at] == '\'') {
        size_t tail = contraction(text, at, n, true);
        if (tail > 0) {
            return at + 1 + tail;
        }
    }
    size_t next = at, after = at;
    enum hold_class here = peek(text, at, &next);
    if (here == HOLD_CLASS_LETTER) {
        return run(text, next, n, HOLD_CLASS_LETTER, 0);
    }
    if (here == HOLD_CLASS_NUMBER) {
        return run(text, at, n, HOLD_CLASS_NUMBER, digits);
    }
    enum hold_class then = next < n ? peek(text, next, &after) : HOLD_CLASS_SPACE;
    if (then == HOLD_CLASS_LETTER && text[at] != '\n' && text[at] != '\r') {
        return run(text, after, n, HOLD_CLASS_LETTER, 0);
    }
    if (here == HOLD_CLASS_OTHER) {
        return newlines(text, run(text, next, n, HOLD_CLASS_OTHER, 0), n);
    }
    if (text[at] == ' ' && then == HOLD_CLASS_OTHER) {
        return newlines(text, run(text, after, n, HOLD_CLASS_OTHER, 0), n);
    }
    size_t line = line_end(text, at, n);
    return line > 0 ? line : spaces(text, at, n);
}

size_t hold_scan_llama(const unsigned char *text, size_t at, size_t n) {
    return scan_lines(text, at, n, 3);
}

size_t hold_scan_qwen(const unsigned char *text, size_t at, size_t n) {
    return scan_lines(text, at, n, 1);
}

#define LINES_HEAD "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define LINES_TAIL "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

const struct hold_scanner *hold_scanner_find(const char *pattern) {
    static const struct hold_scanner SCANNERS[] = {
        {"gpt2",
         "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
         hold_scan_gpt2},
        {"gpt2", "'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
         hold_scan_gpt2},
        {"llama", LINES_HEAD "\\p{N}{1,3}" LINES_TAIL, hold_scan_llama},
        {"qwen", LINES_HEAD "\\p{N}" LINES_TAIL, hold_scan_qwen},
    };
    for (size_t i = 0; i < sizeof SCANNERS / sizeof SCANNERS[0]; i++) {
        if (strcmp(SCANNERS[i].pattern, pattern) == 0) {
            return &SCANNERS[i];
        }
    }
    return NULL;
}
