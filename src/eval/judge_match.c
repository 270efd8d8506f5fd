/* judge_match.c: the small pattern language of the judge's tables, matched on words. */
#include <string.h>

#include "eval/judge_parts.h"
#include "eval/judge_words.h"

/* Gaps and optional elements branch; tables keep both few, so this bound is never met by them. */
enum { MAX_ELEMENTS = 24 };

static bool word_is(const char *word, const char *form, size_t n) {
    if (n > 0 && form[n - 1] == '*')
        return strncmp(word, form, n - 1) == 0;
    return strncmp(word, form, n) == 0 && word[n] == 0;
}

static bool word_in_forms(const char *word, const char *forms) {
    while (*forms) {
        size_t m = strcspn(forms, " ");
        if (word_is(word, forms, m))
            return true;
        forms += m + (forms[m] == ' ');
    }
    return false;
}

static bool in_class(const char *word, const char *name, size_t n) {
    for (size_t i = 0; hold_judge_classes[i].name; i++)
        if (strlen(hold_judge_classes[i].name) == n &&
            memcmp(hold_judge_classes[i].name, name, n) == 0)
            return word_in_forms(word, hold_judge_classes[i].words);
    return false;
}

bool hold_judge_in_class(const char *word, const char *name) {
    return in_class(word, name, strlen(name));
}

bool hold_judge_same_stem(const char *a, const char *b) {
    size_t n = 0, m = strlen(a), k = strlen(b);
    while (a[n] && a[n] == b[n])
        n++;
    size_t shorter = m < k ? m : k, longer = m < k ? k : m;
    if (n == shorter && longer - n <= 3)
        return n >= 3 || longer == n;
    return n >= 4 && n + 2 >= shorter && longer - n <= 4;
}

static bool is_asked(const struct hold_judge_text *prompt, const char *word) {
    if (!prompt || hold_judge_in_class(word, "function"))
        return false;
    for (size_t i = 0; i < prompt->n_words; i++)
        if (hold_judge_same_stem(prompt->word[i].text, word))
            return true;
    return false;
}

static bool form_is(const struct hold_judge_span *s, const char *word, const char *form, size_t n) {
    if (form[0] != '@')
        return word_is(word, form, n);
    if (n == 6 && memcmp(form, "@asked", 6) == 0)
        return is_asked(s->prompt, word);
    return in_class(word, form + 1, n - 1);
}

static bool element_is(const struct hold_judge_span *s, size_t at, const char *element, size_t n) {
    const char *end = element + n;
    while (element < end) {
        const char *bar = memchr(element, '|', (size_t)(end - element));
        size_t m = (size_t)((bar ? bar : end) - element);
        if (form_is(s, s->text->word[at].text, element, m))
            return true;
        if (!bar)
            return false;
        element = bar + 1;
    }
    return false;
}

static bool match_here(const struct hold_judge_span *s, size_t at, const char *p, int depth) {
    while (*p == ' ')
        p++;
    if (*p == 0)
        return true;
    if (depth > MAX_ELEMENTS)
        return false;
    size_t n = strcspn(p, " ");
    if (p[n - 1] == '$' && at == s->end)
        return true;
    if (*p == '$')
        return false;
    if (*p == ',')
        return at < s->end && (s->text->word[at].flags & HOLD_WORD_COMMA) &&
               match_here(s, at, p + n, depth + 1);
    if (*p == '_') {
        for (size_t skip = 0; skip <= (size_t)(p[1] - '0') && at + skip <= s->end; skip++)
            if (match_here(s, at + skip, p + n, depth + 1))
                return true;
        return false;
    }
    if (*p == '?') {
        if (at < s->end && element_is(s, at, p + 1, n - 1) &&
            match_here(s, at + 1, p + n, depth + 1))
            return true;
        return match_here(s, at, p + n, depth + 1);
    }
    return at < s->end && element_is(s, at, p, n) && match_here(s, at + 1, p + n, depth + 1);
}

bool hold_judge_match(const struct hold_judge_span *s, const char *pattern) {
    if (pattern[0] == '^') {
        size_t at = s->first;
        if (match_here(s, at, pattern + 1, 0))
            return true;
        while (at < s->end && hold_judge_in_class(s->text->word[at].text, "opener"))
            if (match_here(s, ++at, pattern + 1, 0))
                return true;
        return false;
    }
    for (size_t at = s->first; at < s->end; at++)
        if (match_here(s, at, pattern, 0))
            return true;
    return false;
}

bool hold_judge_match_any(const struct hold_judge_span *s, const char *const *patterns) {
    for (size_t i = 0; patterns[i]; i++)
        if (hold_judge_match(s, patterns[i]))
            return true;
    return false;
}
