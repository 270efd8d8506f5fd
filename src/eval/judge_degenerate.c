/* judge_degenerate.c: answers that answer nothing: loops, salad, echoes, labels of another task. */
#include <string.h>

#include "base/mem.h"
#include "eval/judge_parts.h"

enum { MAX_PERIOD = 32, LONG_LINE = 5, LABEL_SLACK = 6, SHORT_ANSWER = 5 };

/* Labels of the tasks that small models are most often tuned on. */
static const char *const common_labels[] = {
    "positive",      "negative",     "neutral",   "world",      "sports",
    "business",      "sci tech",     "science",   "technology", "entailment",
    "contradiction", "spam",         "ham",       "not spam",   "very positive",
    "very negative", "joy",          "sadness",   "anger",      "fear",
    "surprise",      "toxic",        "not toxic", "equivalent", "not equivalent",
    "acceptable",    "unacceptable", "objective", "subjective", NULL,
};

static const char *word_at(const struct hold_judge_text *t, size_t i) {
    return t->word[i].text;
}

static bool same(const struct hold_judge_text *t, size_t i, size_t j) {
    return strcmp(word_at(t, i), word_at(t, j)) == 0;
}

static bool prompt_has(const struct hold_judge_text *prompt, const char *class_name) {
    for (size_t i = 0; i < prompt->n_words; i++)
        if (hold_judge_in_class(word_at(prompt, i), class_name))
            return true;
    return false;
}

static bool prompt_says(const struct hold_judge_text *prompt, const char *const *patterns) {
    const struct hold_judge_span span = {prompt, NULL, 0, prompt->n_words};
    return hold_judge_match_any(&span, patterns);
}

/* A stretch in which word i equals word i - period: at least three rounds, and either half of the
 * text or, at its end, four rounds of it.  A long line needs only two if there is nothing else. */
static bool words_loop(const struct hold_judge_text *t, size_t start) {
    size_t n = t->n_words - start;
    for (size_t period = 1; period <= MAX_PERIOD && period * 2 <= n; period++) {
        size_t run = 0;
        for (size_t i = start + period; i < t->n_words; i++) {
            run = same(t, i, i - period) ? run + 1 : 0;
            size_t stretch = run + period, rounds = stretch / period;
            bool ends = i + 1 == t->n_words;
            if (rounds >= 2 && period >= LONG_LINE && stretch * 10 >= n * 9)
                return true;
            if (rounds < 3 || (period == 1 && rounds < 4))
                continue;
            if (stretch * 2 >= n || (ends && rounds >= 4) || (rounds >= 8 && stretch >= 12))
                return true;
        }
    }
    return false;
}

/* Long texts that turn in circles with small changes: most word triples occurred before. */
static bool triples_repeat(const struct hold_judge_text *t, size_t start) {
    enum { SLOTS = 4096 };
    size_t n = t->n_words - start, repeated = 0;
    if (n < 30)
        return false;
    uint32_t *seen = hold_calloc(SLOTS, sizeof(*seen));
    if (!seen)
        return false;
    for (size_t i = start; i + 2 < t->n_words; i++) {
        uint32_t h = 2166136261u;
        for (size_t k = i; k < i + 3; k++) {
            for (const char *p = word_at(t, k); *p; p++)
                h = (h ^ (unsigned char)*p) * 16777619u;
            h = (h ^ ' ') * 16777619u;
        }
        h |= 1;
        repeated += seen[(h >> 4) % SLOTS] == h;
        seen[(h >> 4) % SLOTS] = h;
    }
    hold_free(seen);
    return repeated * 10 > (n - 2) * 6;
}

/* "hahahahahaha": one long word with a short period. */
static bool letters_loop(const struct hold_judge_text *t, size_t start) {
    size_t looped = 0, all = 0;
    for (size_t i = start; i < t->n_words; i++) {
        const char *w = word_at(t, i);
        size_t n = strlen(w);
        all += n;
        for (size_t period = 1; period <= 8 && n >= 12 && period * 3 <= n; period++)
            if (memcmp(w, w + period, n - period) == 0) {
                looped += n;
                break;
            }
    }
    return looped * 2 >= all && looped > 0;
}

static bool is_loop(const struct hold_judge_text *t, size_t start) {
    return (t->longest_run >= 12 && t->longest_run * 2 >= t->letters + t->digits + t->symbols) ||
           words_loop(t, start) || letters_loop(t, start) || triples_repeat(t, start);
}

/* --- salad --- */

static bool is_vowel(char c) {
    return memchr("aeiouy", c, 6) != NULL;
}

/* A word nobody can say: no vowel, or too many consonants or letters in a row. */
static bool unsayable(const char *w) {
    size_t n = strlen(w), vowels = 0, run = 0, longest = 0;
    for (size_t i = 0; i < n; i++) {
        if (w[i] < 'a' || w[i] > 'z')
            return false;
        run = is_vowel(w[i]) ? 0 : run + 1;
        vowels += is_vowel(w[i]);
        longest = run > longest ? run : longest;
    }
    return n >= 4 && (vowels == 0 || longest >= 5 || n > 30);
}

static bool is_ascii_word(const char *w) {
    for (; *w; w++)
        if ((unsigned char)*w >= 0x80)
            return false;
    return true;
}

/* Function words in an order no sentence has: "the of", "in to which", "by at". */
static bool disordered(const struct hold_judge_text *t, size_t start) {
    size_t bad = 0, n = t->n_words - start;
    for (size_t i = start; i + 1 < t->n_words; i++) {
        if (t->word[i + 1].flags & (HOLD_WORD_COMMA | HOLD_WORD_QUOTED))
            continue;
        const char *a = word_at(t, i), *b = word_at(t, i + 1);
        bad += (hold_judge_in_class(a, "determiner") && hold_judge_in_class(b, "no_noun")) ||
               (hold_judge_in_class(a, "preposition") && hold_judge_in_class(b, "not_object"));
    }
    return bad >= 3 && bad * 9 >= n;
}

/* Endings of words standing alone: pieces of a broken tokenizer. */
static bool fragments(const struct hold_judge_text *t, size_t start) {
    size_t found = 0;
    for (size_t i = start; i < t->n_words; i++)
        found += hold_judge_in_class(word_at(t, i), "fragment");
    return found >= 3 && found * 8 >= t->n_words - start;
}

static bool is_salad(const struct hold_judge_text *prompt, const struct hold_judge_text *t,
                     size_t start) {
    static const char *const numbers[] = {"number*|count*|digit*|sequence*|sum|add|prime*|code|"
                                          "binary|calculate|phone|date*|table|pi|squares|even|odd",
                                          NULL};
    static const char *const symbolic[] = {
        "code|script|program|template*|html|symbol*|emoji*|ascii|"
        "function|python|regex|formula|equation|morse|app",
        NULL};
    size_t n = t->n_words - start, function = 0, odd = 0, plain = 0, figures = 0, words = 0;
    for (size_t i = start; i < t->n_words; i++) {
        const char *w = word_at(t, i);
        if (t->word[i].flags & HOLD_WORD_NUMBER) {
            figures++;
            continue;
        }
        words++;
        function += hold_judge_in_class(w, "function");
        odd += unsayable(w);
        plain += is_ascii_word(w);
    }
    size_t visible = t->letters + t->digits + t->symbols;
    if (t->broken >= 4 && t->broken * 5 >= visible)
        return true;
    bool symbols_fit = prompt_says(prompt, symbolic);
    if (t->debris >= 2 && t->debris * 6 >= n && !symbols_fit)
        return true;
    if (visible >= 12 && t->letters * 10 < visible * 3 && t->digits < t->symbols && !symbols_fit)
        return true;
    if (figures >= 6 && words == 0 && !prompt_says(prompt, numbers))
        return true;
    if (words >= 2 && odd * 2 >= words)
        return true;
    if (words == 1 && n == 1 && odd == 1 && strlen(word_at(t, start)) >= 7)
        return true;
    bool english = plain * 10 >= words * 9;
    if (words >= 8 && english && !t->code_like && function * 16 < words &&
        t->separators * 5 < words && !symbols_fit)
        return true;
    return english && (disordered(t, start) || fragments(t, start));
}

/* --- echo --- */

static bool is_role(const char *w) {
    static const char *const roles[] = {"user",        "assistant", "human", "prompt", "question",
                                        "instruction", "system",    "q",     "input",  NULL};
    for (size_t i = 0; roles[i]; i++)
        if (strcmp(w, roles[i]) == 0)
            return true;
    return false;
}

/* Words of the prompt found at `at`, as far as they go. */
static size_t echo_length(const struct hold_judge_text *prompt, const struct hold_judge_text *t,
                          size_t at) {
    size_t n = 0;
    while (n < prompt->n_words && at + n < t->n_words &&
           strcmp(word_at(prompt, n), word_at(t, at + n)) == 0)
        n++;
    return n;
}

size_t hold_judge_echo(const struct hold_judge_text *prompt, const struct hold_judge_text *answer) {
    size_t at = 0, echoed = 0;
    if (prompt->n_words < 3)
        return 0;
    for (;;) {
        size_t from = at;
        while (at < answer->n_words && is_role(word_at(answer, at)))
            at++;
        size_t n = echo_length(prompt, answer, at);
        bool whole = n == prompt->n_words;
        bool cut =
            at + n == answer->n_words && (echoed > 0 ? n > 0 : n >= 4 && n * 2 >= prompt->n_words);
        if (!whole && !cut)
            return echoed > 0 && at == answer->n_words ? at : (echoed > 0 ? from : 0);
        at += n;
        echoed = at;
    }
}

static bool is_echo(const struct hold_judge_text *prompt, const struct hold_judge_text *answer,
                    size_t start) {
    static const char *const repeat[] = {"repeat|say|copy|echo|translate|quote|type|read|rewrite|"
                                         "correct|proofread|print|spell",
                                         NULL};
    return start > 0 && start == answer->n_words && !prompt_says(prompt, repeat);
}

/* --- labels --- */

/* Does the label, split at blanks and underscores, stand at word i?  Its number of words, or 0. */
static size_t label_here(const struct hold_judge_text *t, size_t i, const char *label) {
    size_t n = 0;
    while (*label) {
        size_t m = strcspn(label, " _-/.&'?!(),");
        if (m > 0) {
            if (i + n >= t->n_words)
                return 0;
            const char *w = word_at(t, i + n);
            if (strlen(w) != m)
                return 0;
            for (size_t k = 0; k < m; k++)
                if (((unsigned char)label[k] | (label[k] >= 'A' && label[k] <= 'Z' ? 32 : 0)) !=
                    (unsigned char)w[k])
                    return 0;
            n++;
        }
        label += m;
        label += *label != 0;
    }
    return n;
}

static size_t longest_label(const struct hold_judge_context *c, const struct hold_judge_text *t,
                            size_t i) {
    size_t best = 0, n;
    for (size_t k = 0; c && k < c->n_labels; k++)
        if ((n = label_here(t, i, c->labels[k])) > best)
            best = n;
    for (size_t k = 0; common_labels[k]; k++)
        if ((n = label_here(t, i, common_labels[k])) > best)
            best = n;
    return best;
}

/* Nothing but labels, apart from words such as "topic" and the words of a frame around them. */
static bool is_label(const struct hold_judge_context *context, const struct hold_judge_text *prompt,
                     const struct hold_judge_text *t, size_t start) {
    size_t n = t->n_words - start, labelled = 0, longest = 0, frame = 0;
    if (prompt_has(prompt, "task_word"))
        return false;
    for (size_t i = start; i < t->n_words;) {
        size_t m = longest_label(context, t, i);
        if (m > 0) {
            labelled += m;
            longest = m > longest ? m : longest;
            i += m;
            continue;
        }
        frame +=
            hold_judge_in_class(word_at(t, i), "bearer") || (t->word[i].flags & HOLD_WORD_NUMBER);
        i++;
    }
    if (labelled == 0)
        return false;
    size_t rest = n - labelled;
    return rest == frame || (longest >= 2 && rest <= LABEL_SLACK && rest < labelled * 2);
}

/* "B", "(B)", "Answer: B", "The answer is B." where no choice was offered. */
static bool is_choice(const struct hold_judge_text *prompt, const struct hold_judge_text *t,
                      size_t start) {
    static const char *const offers[] = {"which|letter|grade|vitamin|option*|choose|blood|choice*|"
                                         "note|key|multiple",
                                         "a _9 b _9 c", NULL};
    size_t letters = 0;
    for (size_t i = start; i < t->n_words; i++) {
        const char *w = word_at(t, i);
        if (i + 1 == t->n_words && w[0] >= 'a' && w[0] <= 'f' && w[1] == 0)
            letters++;
        else if (!hold_judge_in_class(w, "bearer"))
            return false;
    }
    return letters == 1 && !prompt_says(prompt, offers);
}

/* A worked sum where the prompt has no number to work on. */
static bool is_sum(const struct hold_judge_text *prompt, const struct hold_judge_text *t,
                   size_t start) {
    static const char *const results[] = {"final answer is $", "final answer", NULL};
    static const char *const sums[] = {"many|much|sum|percent*|number*|add|calculate|math*|"
                                       "arithmetic|equation*|times|plus|total|cost*|budget*|"
                                       "multiply|divide|average|problem|example|price",
                                       NULL};
    size_t figures = 0;
    for (size_t i = start; i < t->n_words; i++)
        figures += (t->word[i].flags & HOLD_WORD_NUMBER) != 0;
    const struct hold_judge_span span = {t, NULL, start, t->n_words};
    size_t n = t->n_words - start;
    bool worked = hold_judge_match_any(&span, results) || (t->equations > 0 && figures * 4 >= n);
    return worked && figures >= 1 && prompt->digits == 0 && !prompt_says(prompt, sums);
}

/* One to five words without a verb or a full stop, sharing nothing with a prompt that asks for
 * something to be written or explained. */
static bool is_stray(const struct hold_judge_text *prompt, const struct hold_judge_text *t,
                     size_t start) {
    size_t n = t->n_words - start;
    bool how = prompt->n_words > 2 && strcmp(word_at(prompt, 0), "how") == 0 &&
               hold_judge_in_class(word_at(prompt, 1), "yesno");
    bool wants_text = prompt->n_words > 4 && hold_judge_in_class(word_at(prompt, 0), "ask_long");
    if (n < 2 || n > SHORT_ANSWER || t->terminated || t->separators > 0 || !(how || wants_text))
        return false;
    for (size_t i = start; i < t->n_words; i++) {
        const char *w = word_at(t, i);
        if (hold_judge_in_class(w, "affirm") || hold_judge_in_class(w, "direct") ||
            hold_judge_in_class(w, "yesno") || strcmp(w, "i") == 0 || strcmp(w, "cannot") == 0 ||
            strcmp(w, "not") == 0 || !is_ascii_word(w) || (t->word[i].flags & HOLD_WORD_NUMBER))
            return false;
        for (size_t k = 0; k < prompt->n_words; k++)
            if (!hold_judge_in_class(w, "function") && hold_judge_same_stem(w, word_at(prompt, k)))
                return false;
    }
    return t->n_segments == 1 && !(t->segment[0].flags & (HOLD_SEG_STAND_IN | HOLD_SEG_LIST)) &&
           !t->code_like;
}

const char *hold_judge_degenerate(const struct hold_judge_context *context,
                                  const struct hold_judge_text *prompt,
                                  const struct hold_judge_text *answer, size_t start) {
    if (is_echo(prompt, answer, start))
        return "echo";
    if (is_loop(answer, start))
        return "loop";
    if (answer->n_words == 0)
        return "symbols";
    if (is_label(context, prompt, answer, start))
        return "label_outside_task";
    if (is_choice(prompt, answer, start))
        return "choice_outside_task";
    if (is_sum(prompt, answer, start))
        return "sum_outside_task";
    if (is_salad(prompt, answer, start))
        return "salad";
    if (is_stray(prompt, answer, start))
        return "stray_words";
    return NULL;
}
