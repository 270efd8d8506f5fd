/* str.c: growing strings, locale-free numbers, small helpers over text. */
#include "base/str.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { FIRST_CAP = 64, NEAREST_MAX = 128, REAL_TEXT = 64 };

/* ---- growing strings ---- */

/* Nobody may open or remove what the start of a path names. */
static bool mark(struct hold_str *s) {
    hold_str_clear(s);
    s->out_of_memory = true;
    return false;
}

bool hold_str_reserve(struct hold_str *s, size_t extra) {
    if (s->out_of_memory)
        return false;
    size_t need;
    if (!hold_add_size(s->len, extra, &need) || !hold_add_size(need, 1, &need))
        return mark(s);
    if (need <= s->cap)
        return true;
    size_t cap = s->cap < FIRST_CAP ? FIRST_CAP : s->cap;
    while (cap < need)
        if (!hold_mul_size(cap, 2, &cap))
            cap = need;
    char *data = hold_realloc(s->data, cap);
    if (!data)
        return mark(s);
    s->data = data;
    s->cap = cap;
    s->data[s->len] = '\0';
    return true;
}

void hold_str_add_bytes(struct hold_str *s, const void *bytes, size_t n) {
    if (!hold_str_reserve(s, n))
        return;
    if (n)
        memcpy(s->data + s->len, bytes, n);
    s->len += n;
    s->data[s->len] = '\0';
}

void hold_str_add(struct hold_str *s, const char *text) {
    hold_str_add_bytes(s, text, strlen(text));
}

void hold_str_add_char(struct hold_str *s, char c) {
    hold_str_add_bytes(s, &c, 1);
}

void hold_str_vaddf(struct hold_str *s, const char *format, va_list args) {
    va_list again;
    va_copy(again, args);
    int n = hold_vformat(NULL, 0, format, args);
    if (n >= 0 && hold_str_reserve(s, (size_t)n)) {
        hold_vformat(s->data + s->len, (size_t)n + 1, format, again);
        s->len += (size_t)n;
    }
    va_end(again);
}

void hold_str_addf(struct hold_str *s, const char *format, ...) {
    va_list args;
    va_start(args, format);
    hold_str_vaddf(s, format, args);
    va_end(args);
}

void hold_str_cut(struct hold_str *s, size_t len) {
    if (len >= s->len)
        return;
    s->len = len;
    s->data[len] = '\0';
}

void hold_str_clear(struct hold_str *s) {
    s->len = 0;
    s->out_of_memory = false;
    if (s->data)
        s->data[0] = '\0';
}

void hold_str_release(struct hold_str *s) {
    hold_free(s->data);
    *s = (struct hold_str)HOLD_STR_INIT;
}

const char *hold_str_text(const struct hold_str *s) {
    return s->data ? s->data : "";
}

char *hold_str_take(struct hold_str *s) {
    char *text = NULL;
    if (hold_str_reserve(s, 0)) {
        text = s->data;
        s->data = NULL;
    }
    hold_str_release(s);
    return text;
}

int hold_str_check(const struct hold_str *s, struct hold_error *err) {
    if (!s->out_of_memory)
        return HOLD_OK;
    return hold_fail(err, HOLD_ENOMEMORY, "not enough memory for a text of more than %zu bytes",
                     s->len);
}

/* ---- text and numbers without a locale ---- */

/* glibc hands out its built-in "C" locale here: nothing is allocated and nothing can fail. */
static locale_t c_locale(void) {
    return newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

int hold_vformat(char *out, size_t cap, const char *format, va_list args) {
    locale_t old = uselocale(c_locale());
    int n = vsnprintf(out, cap, format, args);
    uselocale(old);
    if (n < 0 && cap > 0)
        out[0] = '\0';
    return n;
}

static int format_real(char out[REAL_TEXT], int digits, double value) {
    locale_t old = uselocale(c_locale());
    int n = snprintf(out, REAL_TEXT, "%.*e", digits - 1, value);
    uselocale(old);
    return n;
}

/* Decimal digits (no trailing zero, no point) of |value| > 0 and the exponent of the first one, by
 * the fewest digits from 15 up that read back; 17 always do (IEEE 754). */
static int shortest_digits(double value, char digits[REAL_TEXT]) {
    char text[REAL_TEXT];
    for (int n = 15; n <= 17; n++) {
        format_real(text, n, value);
        if (strtod_l(text, NULL, c_locale()) >= value && strtod_l(text, NULL, c_locale()) <= value)
            break;
    }
    char *e = strchr(text, 'e');
    int exponent = (int)strtol(e + 1, NULL, 10);
    size_t len = 0;
    for (const char *p = text; p < e; p++)
        if (*p != '.')
            digits[len++] = *p;
    while (len > 1 && digits[len - 1] == '0')
        len--;
    digits[len] = '\0';
    return exponent;
}

void hold_str_add_real(struct hold_str *s, double value) {
    if (isnan(value)) {
        hold_str_add(s, "nan");
        return;
    }
    if (signbit(value))
        hold_str_add_char(s, '-');
    value = fabs(value);
    if (isinf(value)) {
        hold_str_add(s, "inf");
        return;
    }
    char digits[REAL_TEXT] = "0";
    int exponent = value > 0 ? shortest_digits(value, digits) : 0;
    int len = (int)strlen(digits);
    if (exponent < -3 || exponent > 15) {
        hold_str_add_char(s, digits[0]);
        if (len > 1)
            hold_str_addf(s, ".%s", digits + 1);
        hold_str_addf(s, "e%d", exponent);
    } else if (exponent < 0) {
        hold_str_addf(s, "0.%.*s%s", -exponent - 1, "00", digits);
    } else if (len <= exponent + 1) {
        hold_str_addf(s, "%s%.*s", digits, exponent + 1 - len, "000000000000000");
    } else {
        hold_str_addf(s, "%.*s.%s", exponent + 1, digits, digits + exponent + 1);
    }
}

static const char *skip_digits(const char *p) {
    while (*p >= '0' && *p <= '9')
        p++;
    return p;
}

/* [+-] digits [. digits] [e [+-] digits], with a digit before or after the point. */
static bool is_decimal(const char *p) {
    if (*p == '+' || *p == '-')
        p++;
    const char *whole = p;
    p = skip_digits(p);
    long digits = p - whole;
    if (*p == '.') {
        const char *part = ++p;
        p = skip_digits(p);
        digits += p - part;
    }
    if (!digits)
        return false;
    if (*p == 'e' || *p == 'E') {
        p++;
        if (*p == '+' || *p == '-')
            p++;
        const char *power = p;
        p = skip_digits(p);
        if (p == power)
            return false;
    }
    return !*p;
}

bool hold_parse_real(const char *text, double *out) {
    if (!is_decimal(text))
        return false;
    double value = strtod_l(text, NULL, c_locale());
    if (isinf(value))
        return false;
    *out = value;
    return true;
}

bool hold_real_to_int(double value, int64_t *out) {
    const double exact = 9007199254740992.0; /* 2^53 */
    if (!(value >= -exact && value <= exact) || value < trunc(value) || value > trunc(value))
        return false;
    *out = (int64_t)value;
    return true;
}

bool hold_parse_int(const char *text, int64_t *out) {
    const char *p = *text == '+' || *text == '-' ? text + 1 : text;
    const char *end = skip_digits(p);
    if (end > p && !*end) {
        errno = 0;
        long long value = strtoll(text, NULL, 10);
        if (errno)
            return false;
        *out = value;
        return true;
    }
    double real;
    return hold_parse_real(text, &real) && hold_real_to_int(real, out);
}

/* ---- small helpers ---- */

bool hold_starts(const char *text, const char *prefix) {
    /* strncmp may look at the whole text where sanitizers check strings strictly. */
    while (*prefix != '\0' && *text == *prefix) {
        text++;
        prefix++;
    }
    return *prefix == '\0';
}

bool hold_ends(const char *text, const char *suffix) {
    size_t n = strlen(text), m = strlen(suffix);
    return n >= m && memcmp(text + n - m, suffix, m) == 0;
}

/* Levenshtein distance of two strings of at most NEAREST_MAX bytes, one row at a time. */
static size_t distance(const char *a, const char *b) {
    size_t row[NEAREST_MAX + 1], m = strlen(b);
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; *a; a++, i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = diagonal + (*a != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[m];
}

const char *hold_nearest(const char *word, const char *const *names, size_t n) {
    size_t len = strlen(word);
    if (len > NEAREST_MAX)
        return NULL;
    const char *best = NULL;
    size_t limit = len / 3 + 1;
    for (size_t i = 0; i < n; i++) {
        size_t name_len = strlen(names[i]);
        if (name_len > NEAREST_MAX)
            continue;
        size_t d = distance(word, names[i]);
        /* A name of which not one letter is kept is no help, however short it is. */
        if (d > limit || d >= (len > name_len ? len : name_len))
            continue;
        if (d == 0)
            return names[i];
        best = names[i];
        limit = d - 1;
    }
    return best;
}

/* Table 3-7 of Unicode 15. */
size_t hold_utf8_part(const void *bytes, size_t n, bool *whole) {
    const unsigned char *p = bytes, c = p[0];
    *whole = c < 0x80;
    if (c < 0xC2 || c > 0xF4)
        return 1;
    size_t len = c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4, i = 1;
    unsigned char low = 0x80, high = 0xBF;
    if (c == 0xE0)
        low = 0xA0; /* shorter forms exist below */
    else if (c == 0xED)
        high = 0x9F; /* surrogates are above */
    else if (c == 0xF0)
        low = 0x90;
    else if (c == 0xF4)
        high = 0x8F; /* 10FFFF is the last */
    while (i < len && i < n && p[i] >= low && p[i] <= high) {
        low = 0x80;
        high = 0xBF;
        i++;
    }
    *whole = i == len;
    return i;
}

/* Length of the valid UTF-8 character at p (n bytes are there), or 0. */
static size_t utf8_char(const unsigned char *p, size_t n) {
    bool whole = false;
    size_t len = hold_utf8_part(p, n, &whole);
    return whole ? len : 0;
}

long hold_utf8_check(const void *bytes, size_t n) {
    const unsigned char *p = bytes;
    for (size_t i = 0; i < n;) {
        size_t len = utf8_char(p + i, n - i);
        if (!len)
            return (long)i;
        i += len;
    }
    return -1;
}

void hold_visible(char *out, size_t cap, const char *text) {
    static const char HEX[] = "0123456789abcdef";
    const unsigned char *p = (const unsigned char *)text;
    size_t left = strlen(text), len = 0;
    while (left) {
        char piece[4];
        size_t taken = utf8_char(p, left), given = taken;
        /* C0, DEL, and C1 (C2 80 to C2 9F), which some terminals obey too. */
        bool control = *p < 0x20 || *p == 0x7F || (*p == 0xC2 && taken == 2 && p[1] < 0xA0);
        if (taken && !control) {
            memcpy(piece, p, taken);
        } else if (*p == '\n' || *p == '\t' || *p == '\r') {
            piece[0] = '\\';
            piece[1] = *p == '\n' ? 'n' : *p == '\t' ? 't' : 'r';
            given = 2;
        } else {
            unsigned char byte = taken == 2 ? p[1] : *p;
            const char hex[4] = {'\\', 'x', HEX[byte >> 4], HEX[byte & 15]};
            memcpy(piece, hex, given = 4);
            taken = taken ? taken : 1;
        }
        if (given > cap - 1 - len)
            break;
        memcpy(out + len, piece, given);
        len += given;
        p += taken;
        left -= taken;
    }
    out[len] = '\0';
}
