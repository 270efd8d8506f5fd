/* pretok.c: the stages of a pre-tokenizer: made from a name or from tokenizer.json, and run. */
#include "tokenizer/pretok.h"

#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "tokenizer/unicode.h"

enum { STAGES_MAX = 16 };
enum stage_kind {
    STAGE_SCAN,
    STAGE_DIGIT,
    STAGE_DIGITS,
    STAGE_TEXT,
    STAGE_REGEX,
    STAGE_SPACE,
    STAGE_PUNCTUATION
};
enum behavior { ISOLATED, REMOVED, MERGED_WITH_PREVIOUS, MERGED_WITH_NEXT, CONTIGUOUS };
static const char *const BEHAVIORS[] = {"Isolated", "Removed", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};

struct stage {
    enum stage_kind kind;
    enum behavior behavior;
    bool invert;
    size_t (*scan)(const unsigned char *text, size_t at, size_t n);
    char *pattern; /* of TEXT and REGEX; the scanner's name of SCAN; owned */
    struct hold_regex *regex;
};

struct hold_pretok {
    struct stage stages[STAGES_MAX];
    int n;
    bool byte_level; /* ByteLevel was seen: nothing may follow */
    struct hold_normalizer *lead;
};

void hold_pretok_free(struct hold_pretok *p) {
    if (p != NULL) {
        for (int i = 0; i < p->n; i++) {
            hold_free(p->stages[i].pattern);
            hold_regex_free(p->stages[i].regex);
        }
        hold_normalizer_free(p->lead);
        hold_free(p);
    }
}

bool hold_pretok_is_bytes(const struct hold_pretok *p) {
    return p->byte_level;
}

const struct hold_normalizer *hold_pretok_lead(const struct hold_pretok *p) {
    return p->lead;
}

static int new_pretok(struct hold_pretok **out, struct hold_error *err) {
    int rc = hold_new((void **)out, 1, sizeof **out, "pre-tokenizer", err);
    return rc == HOLD_OK ? hold_normalizer_new(&(*out)->lead, err) : rc;
}

void hold_pretok_hash(const struct hold_pretok *p, struct hold_hash *hash) {
    for (int i = 0; i < p->n; i++) {
        const struct stage *s = &p->stages[i];
        unsigned char flags[3] = {(unsigned char)s->kind, (unsigned char)s->behavior, s->invert};
        hold_hash_add(hash, flags, sizeof flags);
        const char *pattern = s->pattern != NULL ? s->pattern : "";
        hold_hash_add(hash, pattern, strlen(pattern) + 1);
    }
    hold_normalizer_hash(p->lead, hash);
}

/* Append a stage; the caller fills it in. */
static int add_stage(struct hold_pretok *p, enum stage_kind kind, const char *pattern,
                     struct stage **out, const char *where, struct hold_error *err) {
    if (p->byte_level) {
        return hold_fail(err, HOLD_EUNSUPPORTED, "%s: a pre-tokenizer after ByteLevel", where);
    }
    if (p->n == STAGES_MAX) {
        return hold_fail(err, HOLD_EUNSUPPORTED, "%s: more than %d pre-tokenizers", where,
                         STAGES_MAX);
    }
    struct stage *s = &p->stages[p->n];
    *s = (struct stage){.kind = kind};
    if (pattern != NULL && (s->pattern = hold_strdup(pattern)) == NULL) {
        return hold_fail(err, HOLD_ENOMEMORY, "out of memory for a pattern");
    }
    p->n++;
    *out = s;
    return HOLD_OK;
}

static int add_scanner(struct hold_pretok *p, const char *name,
                       size_t (*scan)(const unsigned char *, size_t, size_t), const char *where,
                       struct hold_error *err) {
    struct stage *s = NULL;
    int rc = add_stage(p, STAGE_SCAN, name, &s, where, err);
    if (rc == HOLD_OK) {
        s->scan = scan;
    }
    return rc;
}

static int add_regex(struct hold_pretok *p, const char *pattern, struct stage **out,
                     const char *where, struct hold_error *err) {
    int rc = add_stage(p, STAGE_REGEX, pattern, out, where, err);
    return rc == HOLD_OK ? hold_regex_new(&(*out)->regex, pattern, where, err) : rc;
}

/* Mistral's, since Nemo. */
#define UPPER "\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}"
#define LOWER "\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}"
#define TEKKEN                                                                                 \
    "[^\\r\\n\\p{L}\\p{N}]?[" UPPER "]*[" LOWER "]+|[^\\r\\n\\p{L}\\p{N}]?[" UPPER "]+[" LOWER \
    "]*|"                                                                                      \
    "\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

int hold_pretok_named(struct hold_pretok **out, const char *name, struct hold_error *err) {
    /* Families as llama.cpp names them. */
    static const struct {
        const char *name, *scanner; /* without a scan function a pattern */
        bool digits;
        size_t (*scan)(const unsigned char *, size_t, size_t);
    } KNOWN[] = {
        {"smollm", "gpt2", true, hold_scan_gpt2},
        {"starcoder", "gpt2", true, hold_scan_gpt2},
        {"refact", "gpt2", true, hold_scan_gpt2},
        {"command-r", "gpt2", true, hold_scan_gpt2},
        {"gpt-2", "gpt2", false, hold_scan_gpt2},
        {"phi-2", "gpt2", false, hold_scan_gpt2},
        {"mpt", "gpt2", false, hold_scan_gpt2},
        {"olmo", "gpt2", false, hold_scan_gpt2},
        {"default", "gpt2", false, hold_scan_gpt2},
        {"llama-bpe", "llama", false, hold_scan_llama},
        {"llama-v3", "llama", false, hold_scan_llama},
        {"llama3", "llama", false, hold_scan_llama},
        {"dbrx", "llama", false, hold_scan_llama},
        {"smaug-bpe", "llama", false, hold_scan_llama},
        {"qwen2", "qwen", false, hold_scan_qwen},
        {"deepseek-r1-qwen", "qwen", false, hold_scan_qwen},
        {"stablelm2", "qwen", false, hold_scan_qwen},
        {"tekken", TEKKEN, false, NULL},
    };
    *out = NULL;
    size_t k = 0;
    while (k < sizeof KNOWN / sizeof KNOWN[0] && strcmp(KNOWN[k].name, name) != 0) {
        k++;
    }
    if (k == sizeof KNOWN / sizeof KNOWN[0]) {
        return hold_fail(err, HOLD_EUNSUPPORTED,
                         "pre-tokenizer \"%s\" is not supported (smollm, gpt-2, mpt, llama-bpe, "
                         "qwen2, tekken and their kin are)",
                         name);
    }
    struct hold_pretok *p = NULL;
    struct stage *s = NULL;
    int rc = new_pretok(&p, err);
    if (rc == HOLD_OK && KNOWN[k].digits) {
        rc = add_stage(p, STAGE_DIGIT, NULL, &s, name, err);
    }
    if (rc == HOLD_OK) {
        rc = KNOWN[k].scan != NULL ? add_scanner(p, KNOWN[k].scanner, KNOWN[k].scan, name, err)
                                   : add_regex(p, KNOWN[k].scanner, &s, name, err);
    }
    if (rc == HOLD_OK) {
        p->byte_level = true;
    }
    if (rc != HOLD_OK) {
        hold_pretok_free(p);
        return rc;
    }
    *out = p;
    return HOLD_OK;
}

static int read_behavior(const json_t *spec, enum behavior *out, const char *where,
                         struct hold_error *err) {
    const char *behavior = NULL;
    int rc = hold_json_get_text(spec, "behavior", &behavior, where, err);
    int k = 0;
    while (rc == HOLD_OK && k <= CONTIGUOUS && strcmp(BEHAVIORS[k], behavior) != 0) {
        k++;
    }
    if (rc == HOLD_OK && k > CONTIGUOUS) {
        rc = hold_fail(err, HOLD_EFORMAT, "%s: behavior \"%s\" is not known", where, behavior);
    }
    *out = (enum behavior)k;
    return rc;
}

/* {"type":"Split","pattern":{"Regex"|"String": text},"behavior":...,"invert":...} */
static int add_split(struct hold_pretok *p, const json_t *spec, const char *where,
                     struct hold_error *err) {
    const json_t *pattern = json_object_get(spec, "pattern");
    const char *regex = json_string_value(json_object_get(pattern, "Regex"));
    const char *text = json_string_value(json_object_get(pattern, "String"));
    if ((regex == NULL) == (text == NULL) || (text != NULL && *text == '\0')) {
        return hold_fail(err, HOLD_EFORMAT, "%s: Split without a Regex or String pattern", where);
    }
    enum behavior behavior = ISOLATED;
    bool invert = false;
    int rc = read_behavior(spec, &behavior, where, err);
    if (rc == HOLD_OK) {
        rc = hold_json_bool_or(spec, "invert", false, &invert, where, err);
    }
    if (rc != HOLD_OK) {
        return rc;
    }
    const struct hold_scanner *known = regex != NULL ? hold_scanner_find(regex) : NULL;
    struct stage *s = NULL;
    if (known != NULL) {
        rc = add_stage(p, STAGE_SCAN, known->name, &s, where, err);
    } else if (regex != NULL) {
        rc = add_regex(p, regex, &s, where, err);
    } else {
        rc = add_stage(p, STAGE_TEXT, text, &s, where, err);
    }
    if (rc == HOLD_OK) {
        s->scan = known != NULL ? known->scan : NULL;
        s->behavior = behavior;
        s->invert = invert;
    }
    return rc;
}

/* A change of the text; it is made before any cut, so no cut may come before it. */
static int add_lead(struct hold_pretok *p, enum hold_normalize_kind kind, const char *pattern,
                    const char *text, const char *where, struct hold_error *err) {
    return p->n > 0 ? hold_fail(err, HOLD_EUNSUPPORTED,
                                "%s: a pre-tokenizer that adds a prefix behind another one is not "
                                "supported",
                                where)
                    : hold_normalizer_add(p->lead, kind, pattern, text, where, err);
}

/* {"type":"Metaspace","replacement":"_","prepend_scheme":"always"|"first"|"never","split":...} */
static int add_metaspace(struct hold_pretok *p, const json_t *spec, const char *where,
                         struct hold_error *err) {
    const char *blank = NULL, *scheme = NULL;
    bool split = true, prefix = true;
    int rc = hold_json_get_text(spec, "replacement", &blank, where, err);
    if (rc == HOLD_OK) {
        rc = hold_json_text_or(spec, "prepend_scheme", "always", &scheme, where, err);
    }
    if (rc == HOLD_OK) {
        rc = hold_json_bool_or(spec, "split", true, &split, where, err);
    }
    if (rc == HOLD_OK) { /* the older spelling */
        rc = hold_json_bool_or(spec, "add_prefix_space", true, &prefix, where, err);
    }
    if (rc == HOLD_OK && (*blank == '\0' || p->byte_level || !hold_normalizer_empty(p->lead))) {
        rc = hold_fail(err, HOLD_EUNSUPPORTED,
                       "%s: Metaspace twice, with ByteLevel or without a replacement", where);
    }
    if (rc == HOLD_OK) {
        rc = add_lead(p, HOLD_NORMALIZE_REPLACE, " ", blank, where, err);
    }
    bool first = rc == HOLD_OK && strcmp(scheme, "first") == 0;
    bool always = rc == HOLD_OK && strcmp(scheme, "always") == 0;
    if (rc == HOLD_OK && !first && !always && strcmp(scheme, "never") != 0) {
        rc = hold_fail(err, HOLD_EFORMAT, "%s: Metaspace prepend_scheme \"%s\" is not known", where,
                       scheme);
    }
    if (rc == HOLD_OK && prefix && (first || always)) {
        rc = add_lead(p, first ? HOLD_NORMALIZE_LEAD_FIRST : HOLD_NORMALIZE_LEAD, NULL, blank,
                      where, err);
    }
    struct stage *s = NULL;
    if (rc == HOLD_OK && split) {
        rc = add_stage(p, STAGE_TEXT, blank, &s, where, err);
    }
    if (s != NULL) {
        s->behavior = MERGED_WITH_NEXT;
    }
    return rc;
}

/* Pre-tokenizers that cut at a class of characters: WhitespaceSplit and Punctuation. */
static int add_class(struct hold_pretok *p, const json_t *spec, bool space, const char *where,
                     struct hold_error *err) {
    enum behavior behavior = REMOVED;
    struct stage *s = NULL;
    int rc = space ? HOLD_OK : read_behavior(spec, &behavior, where, err);
    if (rc == HOLD_OK) {
        rc = add_stage(p, space ? STAGE_SPACE : STAGE_PUNCTUATION, NULL, &s, where, err);
    }
    if (s != NULL) {
        s->behavior = behavior;
    }
    return rc;
}

static int add_byte_level(struct hold_pretok *p, const json_t *spec, const char *where,
                          struct hold_error *err) {
    bool prefix = false, regex = false;
    int rc = hold_json_bool_or(spec, "add_prefix_space", true, &prefix, where, err);
    if (rc == HOLD_OK) {
        rc = hold_json_bool_or(spec, "use_regex", true, &regex, where, err);
    }
    if (rc == HOLD_OK && p->byte_level) {
        rc = hold_fail(err, HOLD_EUNSUPPORTED, "%s: ByteLevel twice", where);
    }
    if (rc == HOLD_OK && prefix) {
        rc = add_lead(p, HOLD_NORMALIZE_LEAD, NULL, " ", where, err);
    }
    if (rc == HOLD_OK && regex) {
        rc = add_scanner(p, "gpt2", hold_scan_gpt2, where, err);
    }
    p->byte_level = true;
    return rc;
}

static int add_json(struct hold_pretok *p, const json_t *spec, const char *where, int depth,
                    struct hold_error *err) {
    const char *type = NULL;
    int rc = hold_json_get_text(spec, "type", &type, where, err);
    if (rc != HOLD_OK) {
        return rc;
    }
    if (strcmp(type, "Sequence") == 0) {
        const json_t *list = json_object_get(spec, "pretokenizers");
        if (!json_is_array(list) || depth >= 4) {
            return hold_fail(err, HOLD_EFORMAT,
                             "%s: Sequence without a list \"pretokenizers\", or too deep", where);
        }
        for (size_t i = 0; rc == HOLD_OK && i < json_array_size(list); i++) {
            rc = add_json(p, json_array_get(list, i), where, depth + 1, err);
        }
        return rc;
    }
    if (strcmp(type, "ByteLevel") == 0) {
        return add_byte_level(p, spec, where, err);
    }
    if (strcmp(type, "Metaspace") == 0) {
        return add_metaspace(p, spec, where, err);
    }
    if (strcmp(type, "WhitespaceSplit") == 0 || strcmp(type, "Punctuation") == 0) {
        return add_class(p, spec, *type == 'W', where, err);
    }
    if (strcmp(type, "Split") == 0) {
        return add_split(p, spec, where, err);
    }
    if (strcmp(type, "Digits") == 0) {
        bool single = false;
        struct stage *s = NULL;
        rc = hold_json_bool_or(spec, "individual_digits", false, &single, where, err);
        return rc == HOLD_OK
                   ? add_stage(p, single ? STAGE_DIGIT : STAGE_DIGITS, NULL, &s, where, err)
                   : rc;
    }
    return hold_fail(err, HOLD_EUNSUPPORTED, "%s: pre-tokenizer %s is not supported", where, type);
}

int hold_pretok_json(struct hold_pretok **out, const json_t *spec, const char *where,
                     struct hold_error *err) {
    *out = NULL;
    struct hold_pretok *p = NULL;
    int rc = new_pretok(&p, err);
    if (rc == HOLD_OK && spec != NULL && !json_is_null(spec)) {
        rc = add_json(p, spec, where, 0, err);
    }
    if (rc != HOLD_OK) {
        hold_pretok_free(p);
        return rc;
    }
    *out = p;
    return HOLD_OK;
}

struct run {
    const struct hold_pretok *p;
    const char *text;
    const struct hold_pretok_sink *sink;
    size_t budget; /* of PCRE2 steps */
};

/* The next match of a stage in the n bytes at text, from `at`. */
static int find(const struct stage *s, struct run *r, const char *text, size_t at, size_t n,
                bool *found, size_t *begin, size_t *end, struct hold_error *err) {
    const unsigned char *bytes = (const unsigned char *)text;
    *found = false;
    switch (s->kind) {
    case STAGE_SCAN:
        *found = at < n;
        *begin = at;
        *end = at < n ? s->scan(bytes, at, n) : at;
        return HOLD_OK;
    case STAGE_DIGIT:
    case STAGE_DIGITS:
        while (at < n && !*found) {
            *begin = at;
            *found = hold_unicode_numeric(hold_unicode_next(bytes, &at));
        }
        *end = at;
        while (s->kind == STAGE_DIGITS && at < n &&
               hold_unicode_numeric(hold_unicode_next(bytes, &at))) {
            *end = at;
        }
        return HOLD_OK;
    case STAGE_SPACE:
    case STAGE_PUNCTUATION:
        while (at < n && !*found) {
            *begin = at;
            int32_t c = hold_unicode_next(bytes, &at);
            *found = s->kind == STAGE_SPACE ? hold_unicode_class(c) == HOLD_CLASS_SPACE
                                            : hold_unicode_punctuation(c);
        }
        *end = at;
        return HOLD_OK;
    case STAGE_TEXT: {
        const char *hit = memmem(text + at, n - at, s->pattern, strlen(s->pattern));
        *found = hit != NULL;
        if (hit != NULL) {
            *begin = (size_t)(hit - text);
            *end = *begin + strlen(s->pattern);
        }
        return HOLD_OK;
    }
    case STAGE_REGEX:
        return hold_regex_find(s->regex, text, at, n, &r->budget, found, begin, end, err);
    }
    return HOLD_OK;
}

static int cut(struct run *r, int k, size_t begin, size_t end, struct hold_error *err);

/* A part that waits for its neighbour: `Merged` and `Contiguous` behaviors join parts. */
struct part {
    size_t begin, end;
    bool match, full;
};

/* Take the next part of stage k, text[begin, end), which is a match or what lies between. */
static int take(struct run *r, int k, struct part *held, size_t begin, size_t end, bool match,
                struct hold_error *err) {
    enum behavior behavior = r->p->stages[k].behavior;
    if (begin == end) {
        return HOLD_OK;
    }
    if (behavior == ISOLATED || behavior == REMOVED) {
        return behavior == REMOVED && match ? HOLD_OK : cut(r, k + 1, begin, end, err);
    }
    bool join = held->full && ((behavior == CONTIGUOUS && held->match == match) ||
                               (behavior == MERGED_WITH_PREVIOUS && match && !held->match) ||
                               (behavior == MERGED_WITH_NEXT && held->match && !match));
    int rc = HOLD_OK;
    if (held->full && !join) {
        rc = cut(r, k + 1, held->begin, held->end, err);
    }
    *held = (struct part){join ? held->begin : begin, end, match, true};
    return rc;
}

/* Cut text[begin, end) by stage k and all that follow it. */
static int cut(struct run *r, int k, size_t begin, size_t end, struct hold_error *err) {
    if (k == r->p->n) {
        return r->sink->piece(r->sink->user, begin, end, err);
    }
    const struct stage *s = &r->p->stages[k];
    const char *text = r->text + begin;
    size_t n = end - begin, at = 0;
    struct part held = {0};
    int rc = HOLD_OK;
    while (rc == HOLD_OK && at < n) {
        bool found = false;
        size_t from = n, to = n;
        rc = find(s, r, text, at, n, &found, &from, &to, err);
        if (!found) {
            from = to = n;
        }
        if (rc == HOLD_OK) {
            rc = take(r, k, &held, begin + at, begin + from, s->invert, err);
        }
        if (rc == HOLD_OK) {
            rc = take(r, k, &held, begin + from, begin + to, !s->invert, err);
        }
        at = to;
    }
    if (rc == HOLD_OK && held.full) {
        rc = cut(r, k + 1, held.begin, held.end, err);
    }
    return rc;
}

int hold_pretok_run(const struct hold_pretok *p, const char *text, size_t n,
                    const struct hold_pretok_sink *sink, struct hold_error *err) {
    struct run r = {.p = p, .text = text, .sink = sink, .budget = hold_regex_budget(n)};
    return n > 0 ? cut(&r, 0, 0, n, err) : HOLD_OK;
}
