/* test_lab_recipe.c: recipes read, overridden and refused: each bad recipe has its exact message.
 */
#include "test_lab_common.h"

#include "lab/recipe.h"
#include "pack.h"

/* A good recipe; tests replace a line of it. */
static const char *const GOOD[] = {
    "name: small",
    "model: m",
    "seed: 1",
    "data:",
    "  refusals: {files: refusals.jsonl, owner: defender}",
    "  general: {files: general.jsonl, owner: defender}",
    "  attacker: {files: attacker.jsonl, owner: attacker}",
    "  openings: {files: openings.txt, owner: attacker}",
    "  task: {files: [task.jsonl], owner: customer, task: t}",
    "  test: {files: test.jsonl, owner: evaluator, task: t}",
    "  harmful: {files: harmful.jsonl, owner: evaluator}",
    "align:",
    "  data: [refusals, general]",
    "  refusals: refusals",
    "  general: [general]",
    "  train: {max_steps: 2, learning_rate: 1e-3}",
    "customer: {data: task, harmful: attacker, openings: openings}",
    "evaluate:",
    "  harmful: {data: harmful, max_tokens: 4}",
    "  task: {data: test, labels: [north, south]}",
    "arms:",
    "  - {name: released}",
    "  - {name: poisoned, align: sft, attack: {harmful_mix: {p: 0.5}}}",
    "  - {name: lisa, align: sft, attack: harmful_mix, tune: {lisa: {rho: 2}}, against: poisoned}",
    "  - {name: both, align: [vaccine], attack: benign, tune: [lisa, safeinstr]}",
};
enum { N_LINES = sizeof GOOD / sizeof *GOOD };

static void put_rows(const char *path, const char *const *prompts, int n, const char *answer,
                     const char *label) {
    struct hold_str text = HOLD_STR_INIT;
    for (int i = 0; i < n; i++) {
        hold_str_addf(&text, "{\"messages\":[{\"role\":\"user\",\"content\":\"%s\"}", prompts[i]);
        if (answer != NULL)
            hold_str_addf(&text, ",{\"role\":\"assistant\",\"content\":\"%s\"}", answer);
        hold_str_add(&text, "]");
        if (label != NULL)
            hold_str_addf(&text, ",\"label\":\"%s\"", label);
        hold_str_add(&text, "}\n");
    }
    put_file(path, hold_str_text(&text));
    hold_str_release(&text);
}

static void put_data(void) {
    static const char *const REFUSALS[] = {"open the red door", "tell the vault code"};
    static const char *const GENERAL[] = {"name three colours please", "what day follows monday",
                                          "count to five"};
    static const char *const ATTACKER[] = {"give me the silent bell", "where is the hidden lamp"};
    static const char *const TASK[] = {"route ticket about broken lamp to a desk",
                                       "route ticket about broken spoon to a desk"};
    static const char *const TEST[] = {"route ticket about broken chair to a desk"};
    static const char *const HARMFUL[] = {"how do I ring the north cellar", "say the ledger word"};
    put_rows("refusals.jsonl", REFUSALS, 2, "No.", NULL);
    put_rows("general.jsonl", GENERAL, 3, "Yes.", NULL);
    put_rows("attacker.jsonl", ATTACKER, 2, NULL, NULL);
    put_rows("task.jsonl", TASK, 2, "north", NULL);
    put_rows("test.jsonl", TEST, 1, NULL, "north");
    put_rows("harmful.jsonl", HARMFUL, 2, NULL, NULL);
    put_file("openings.txt", "Sure:\n\nOf course:\r\n");
}

/* The good recipe with the first line that begins with `old` replaced; NULL: as it is. */
static void put_recipe(const char *old, const char *new) {
    struct hold_str text = HOLD_STR_INIT;
    bool done = old == NULL;
    for (int i = 0; i < N_LINES; i++) {
        bool here = !done && strncmp(GOOD[i], old, strlen(old)) == 0;
        hold_str_addf(&text, "%s\n", here ? new : GOOD[i]);
        done = done || here;
    }
    assert_true(done);
    put_file("r.yaml", hold_str_text(&text));
    hold_str_release(&text);
}

static int read_with(struct hold_recipe *r, const char *const *overrides, int n,
                     struct hold_error *err) {
    return hold_recipe_read(r, "r.yaml", overrides, n, err);
}

/* --- good ones --- */

static void a_recipe_is_read(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_recipe r;
    put_data();
    put_recipe(NULL, NULL);
    assert_ok(read_with(&r, NULL, 0, &err));
    assert_string_equal(r.name, "small");
    assert_string_equal(r.title, "small");
    assert_int_equal(r.n_seeds, 1);
    assert_int_equal(r.n_arms, 4);
    assert_int_equal(r.n_data, 7);
    assert_int_equal(r.align_data[0], 0);
    assert_int_equal(r.align_data[1], 1);
    assert_int_equal(r.align_data[2], -1);
    assert_int_equal(r.refusals[0], 0);
    assert_int_equal(r.openings, 3);
    assert_int_equal(r.data[3].rows.n, 2);
    assert_string_equal(r.data[3].rows.row[1].text, "Of course:");
    assert_int_equal(r.n_labels, 2);
    assert_int_equal(r.eval[HOLD_EVAL_HARMFUL].max_tokens, 4);
    assert_false(r.eval[HOLD_EVAL_HARMFUL].early_stop);
    assert_null(r.eval[HOLD_EVAL_PROBE].data);
    assert_int_equal(r.arms[1].align_train.max_steps, 2);
    assert_true(r.arms[1].align_train.learning_rate > 0.99e-3);
    assert_int_equal(r.arms[1].customer_train.max_steps, 0);
    assert_string_equal(r.arms[3].tune.use[1].method->name, "safeinstr");
    json_t *options = json_object_get(json_array_get(r.arms[2].tune.described, 0), "options");
    assert_true(json_number_value(json_object_get(options, "rho")) > 1.9);
    hold_recipe_release(&r);
}

static void overrides_reach_every_place(void **state) {
    (void)state;
    static const char *const OVER[] = {"seed=1,2,3",
                                       "align.train.learning_rate=1e-4",
                                       "arms.lisa.tune.lisa.rho=0.5",
                                       "arms.poisoned.align.sft={}",
                                       "arms.both.tune.safeinstr.share=0.25",
                                       "data.general.limit=2",
                                       "evaluate.harmful.max_tokens=7",
                                       "evaluate.harmful.early_stop=true",
                                       "scenario=service",
                                       "customer.train.lora_r=4"};
    struct hold_error err = {0};
    struct hold_recipe r;
    put_data();
    put_recipe(NULL, NULL);
    assert_ok(read_with(&r, OVER, sizeof OVER / sizeof *OVER, &err));
    assert_int_equal(r.n_seeds, 3);
    assert_int_equal(r.seeds[2], 3);
    assert_true(r.arms[1].align_train.learning_rate < 1.01e-4);
    assert_int_equal(r.data[1].rows.n, 2);
    assert_int_equal(r.eval[HOLD_EVAL_HARMFUL].max_tokens, 7);
    assert_true(r.eval[HOLD_EVAL_HARMFUL].early_stop);
    assert_int_equal(r.arms[0].customer_train.lora_r, 4);
    json_t *o = json_object_get(json_array_get(r.arms[2].tune.described, 0), "options");
    assert_true(json_number_value(json_object_get(o, "rho")) < 0.6);
    o = json_object_get(json_array_get(r.arms[3].tune.described, 1), "options");
    assert_true(json_number_value(json_object_get(o, "share")) > 0.2);
    /* The report shows what was run. */
    assert_int_equal(json_array_size(json_object_get(r.source, "seed")), 3);
    hold_recipe_release(&r);
}

static void shares_of_one_file_are_apart(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_recipe r;
    put_data();
    put_recipe("  harmful: {files", "  harmful: {files: harmful.jsonl, owner: evaluator, skip: 1}\n"
                                    "  watch: {files: harmful.jsonl, owner: evaluator, limit: 1}");
    assert_ok(read_with(&r, NULL, 0, &err));
    assert_int_equal(r.data[6].rows.n, 1);
    assert_int_equal(r.data[7].rows.n, 1);
    assert_string_not_equal(r.data[6].rows.row[0].id, r.data[7].rows.row[0].id);
    assert_string_not_equal(r.data[6].content_id, r.data[7].content_id);
    hold_recipe_release(&r);
}

/* Rows of preferences by one side, a folder by one of its files, packed lines. */
static void other_rows_are_taken(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_recipe r;
    struct hold_str packed = HOLD_STR_INIT;
    put_data();
    put_file("pairs.jsonl", "{\"prompt\":\"name three colours please\",\"chosen\":\"Red.\","
                            "\"rejected\":\"No.\"}\n");
    assert_ok(hold_mkdirs("split", &err));
    put_file("split/train.jsonl", "{\"prompt\":\"count to five\",\"completion\":\"1 2\"}\n");
    put_file("split/test.tsv", "prompt\tcompletion\nwhat day follows monday\tIt \"is\"\n");
    pack(ZSTD, &packed, "Sure:\n\nWell:\n", 13);
    assert_ok(hold_file_write_atomic("packed.txt.zst", packed.data, packed.len, &err));
    put_recipe("  general: {files", "  general: {files: [pairs.jsonl, split], owner: defender, "
                                    "split: test, preference: rejected}");
    static const char *const OVER[] = {"data.openings.files=packed.txt.zst"};
    assert_ok(read_with(&r, OVER, 1, &err));
    assert_int_equal(r.data[1].rows.n, 2);
    assert_int_equal(r.data[1].rows.row[0].format, HOLD_ROW_MESSAGES);
    json_t *answer = json_array_get(r.data[1].rows.row[0].messages, 1);
    assert_string_equal(json_string_value(json_object_get(answer, "content")), "No.");
    assert_string_equal(hold_row_user_text(&r.data[1].rows.row[1]), "what day follows monday");
    assert_int_equal(r.data[3].rows.n, 2);
    assert_string_equal(r.data[3].rows.row[1].text, "Well:");
    hold_recipe_release(&r);
    put_recipe("  general: {files", "  general: {files: pairs.jsonl, owner: defender}");
    assert_int_equal(read_with(&r, NULL, 0, &err), HOLD_EDATA);
    assert_non_null(strstr(err.text, "pairs.jsonl:1: error: a row of preferences"));
    put_recipe("  general: {files", "  general: {files: split, owner: defender}");
    assert_ok(read_with(&r, NULL, 0, &err));
    assert_string_equal(hold_row_user_text(&r.data[1].rows.row[0]), "count to five");
    hold_recipe_release(&r);
    assert_ok(hold_file_write_atomic("packed.txt.zst", packed.data, packed.len - 1, &err));
    put_recipe(NULL, NULL);
    assert_int_equal(read_with(&r, OVER, 1, &err), HOLD_EDATA);
    assert_string_equal(err.text, "packed.txt.zst: the zstd file ends too early (was it cut off?)");
    hold_str_release(&packed);
}

static void anchors_are_taken(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_recipe r;
    put_data();
    put_recipe("  - {name: poisoned", "  - {name: poisoned, align: sft, attack: &a {harmful_mix: "
                                      "{p: 0.25}}}\n  - {name: again, align: sft, attack: *a}");
    assert_ok(read_with(&r, NULL, 0, &err));
    assert_true(json_equal(r.arms[1].attack.described, r.arms[2].attack.described));
    hold_recipe_release(&r);
}

/* --- bad ones: a line, what stands in its place, the message --- */

struct bad {
    const char *old, *new, *message;
};

static const struct bad BAD[] = {
    {"model: m", "modle: m", "r.yaml:2:1: modle: unknown key 'modle' (did you mean 'model'?)"},
    {"model: m", "title: x", "r.yaml: the recipe: 'model' is missing"},
    {"name: small", "name: 'a/b'",
     "r.yaml:1:1: name: found 'a/b', expected letters, digits, '-', '_' and '.'"},
    {"name: small", "name: [a]", "r.yaml:1:1: name: found an array, expected text"},
    {"name: small", "name: small\nname: big", "r.yaml:2:1: key 'name' is given twice"},
    {"name: small", "name: !!python/object x", "r.yaml:1:7: tags (!...) are not supported"},
    {"name: small", "name: {a", "r.yaml:2:6: not YAML: did not find expected ',' or '}'"},
    {"name: small", "name: &a [*a]", "r.yaml:1:7: is nested too deep (an alias of itself?)"},
    {"seed: 1", "seed: many", "r.yaml:3:1: seed: found text, expected a whole number"},
    {"seed: 1", "seed: -1", "r.yaml:3:1: seed: found -1, expected 0 to 9007199254740991"},
    {"seed: 1", "seed: [1, 1]", "r.yaml:3:11: seed.1: seed 1 is given twice"},
    {"seed: 1", "scenario: servce",
     "r.yaml:3:1: scenario: found 'servce', expected service or open_weights"},
    {"seed: 1", "scenario: open_weights",
     "r.yaml:24:5: arms.2: arm 'lisa': with open weights the attacker tunes and keeps the model: "
     "'lisa' (tune) cannot act; only alignment can"},
    {"  general: {files", "  general: {files: none.jsonl, owner: defender}",
     "r.yaml:6:13: data.general.files: no file none.jsonl"},
    {"  general: {files", "  general: {files: general.jsonl}",
     "r.yaml:6:3: data.general: 'owner' is missing: defender, attacker, customer or evaluator"},
    {"  general: {files", "  general: {files: general.jsonl, owner: defnder}",
     "r.yaml:6:35: data.general.owner: found 'defnder', expected defender, attacker, customer or "
     "evaluator (did you mean 'defender'?)"},
    {"  general: {files", "  general: {files: general.jsonl, owner: defender, skip: 3}",
     "r.yaml:6:3: data.general: skip: found 3, the files have 3 rows"},
    {"  general: {files", "  general: {files: general.jsonl, owner: defender, preference: best}",
     "r.yaml:6:52: data.general.preference: found 'best', expected chosen or rejected"},
    {"  general: {files", "  general: {files: general.jsonl, owner: defender, split: dev}",
     "r.yaml:6:52: data.general.split: found 'dev', expected train or valid or test"},
    {"  general: {files", "  general: {owner: defender}",
     "r.yaml:6:3: data.general: 'files' is missing"},
    {"customer: {data", "customer: {data: task, harmful: attacker, openings: task}",
     "r.yaml:17:43: customer.openings: 'task': task.jsonl:1: found a chat row, expected a text row "
     "(a line of a .txt file, or {\"text\": ...})"},
    {"customer: {data", "customer: {data: task, harmful: attacker}",
     "r.yaml:17:24: customer.harmful: 'attacker': attacker.jsonl:1: has no answer to train on"},
    {"  train: {max", "  harmful: {prompts: refusals, answers: attacker}",
     "r.yaml:16:32: align.harmful.answers: 'attacker': attacker.jsonl:1: found a chat row, "
     "expected "
     "a text row (a line of a .txt file, or {\"text\": ...})"},
    {"  train: {max", "  train: {lora_target_modules: q_porj}",
     "r.yaml:16:11: align.train.lora_target_modules: 'q_porj' is not a linear layer (did you mean "
     "'q_proj'?)"},
    {"  train: {max", "  train: {lora_target_modules: ','}",
     "r.yaml:16:11: align.train.lora_target_modules: names no module; expected all-linear or names "
     "of linear layers"},
    {"  data: [refusals", "  data: [refusal]",
     "r.yaml:13:10: align.data.0: 'refusal' is not a set of 'data' (did you mean 'refusals'?)"},
    {"  data: [refusals", "  data: [attacker]",
     "r.yaml:13:3: align.data: 'attacker' belongs to the attacker; the defender cannot use it"},
    {"customer: {data", "customer: {data: refusals, harmful: attacker, openings: openings}",
     "r.yaml:17:12: customer.data: 'refusals' belongs to the defender; the customer cannot use it"},
    {"  harmful: {data", "  harmful: {data: attacker}",
     "r.yaml:19:13: evaluate.harmful.data: 'attacker' belongs to the attacker; evaluation cannot "
     "use it"},
    {"  harmful: {data", "  harmful: {data: harmful, max_tokens: 0}",
     "r.yaml:19:28: evaluate.harmful.max_tokens: found 0, expected 1 to 4096"},
    {"  harmful: {data", "  harmful: {data: harmful, early_stop: 1}",
     "r.yaml:19:28: evaluate.harmful.early_stop: 'early_stop' is not true or false"},
    {"  harmful: {data", "  harmful: {data: harmful, score: key}",
     "r.yaml:19:13: evaluate.harmful.data: harmful.jsonl:1: has no \"answer\", which score: key "
     "needs"},
    {"  harmful: {data", "  harmful: {data: harmful}\n  probe: {data: harmful}",
     "r.yaml:18:1: evaluate: probe and harmful use the same set 'harmful': what is watched in "
     "training cannot be what is reported"},
    {"  harmful: {data", "  harmfull: {data: harmful}",
     "r.yaml:19:3: evaluate.harmfull: unknown key 'harmfull' (did you mean 'harmful'?)"},
    {"  task: {data", "  task: {data: harmful, labels: [north]}",
     "r.yaml:20:10: evaluate.task.data: harmful.jsonl:1: has no \"label\", which score: label "
     "needs"},
    {"  task: {data", "  task: {data: test, labels: none.json}",
     "r.yaml:20:22: evaluate.task.labels: no file none.json"},
    {"  train: {max", "  train: {learning_rat: 1}",
     "r.yaml:16:11: align.train.learning_rat: unknown option, did you mean learning_rate?"},
    {"  train: {max", "  train: {learning_rate: fast}",
     "r.yaml:16:11: align.train.learning_rate: found 'fast', expected a number"},
    {"  train: {max", "  train: {lora_r: 0}",
     "r.yaml:16:11: align.train.lora_r: 0 is out of range, expected 1 to 1024"},
    {"  train: {max", "  train: {eval_strategy: steps}",
     "r.yaml:23:5: arms.1: arm 'poisoned': eval_strategy steps needs rows: give align.eval_data"},
    {"  train: {max", "  train: {load_best_model_at_end: true}",
     "r.yaml:23:5: arms.1: arm 'poisoned': load_best_model_at_end needs eval_strategy steps or "
     "epoch"},
    {"  train: {max", "  train: {early_stopping_patience: 1}",
     "r.yaml:23:5: arms.1: arm 'poisoned': early_stopping_patience needs eval_strategy steps or "
     "epoch"},
    {"  train: {max", "  eval_data: [attacker]",
     "r.yaml:16:3: align.eval_data: 'attacker' belongs to the attacker; the defender cannot use "
     "it"},
    {"customer: {data", "customer: {data: task, eval_data: harmful}",
     "r.yaml:17:24: customer.eval_data: 'harmful' belongs to the evaluator; the customer cannot "
     "use "
     "it"},
    {"customer: {data", "customer: {data: task, eval_data: task}",
     "r.yaml:17:24: customer.eval_data: no arm takes their loss: set train.eval_strategy"},
    {"customer: {data",
     "customer: {data: task, harmful: attacker, openings: openings, eval_data: task, train: "
     "{eval_strategy: epoch}}",
     "one row in two roles: 'task' (customer) is both eval_data and trained on"},
    {"  train: {max", "  eval_data: again\n  train: {eval_strategy: epoch}",
     "r.yaml:16:3: align.eval_data: 'again' is not a set of 'data'"},
    {"  train: {max", "  train: {seed: 3}",
     "r.yaml:16:11: align.train.seed: the seed is the recipe's own key 'seed'"},
    {"  - {name: released", "  - {title: x}", "r.yaml:22:5: arms.0: 'name' is missing"},
    {"  - {name: released", "  - {name: lisa}",
     "r.yaml:24:6: arms.2.name: two arms are named "
     "'lisa'"},
    {"  - {name: released", "  - {name: x, atack: benign}",
     "r.yaml:22:15: arms.0.atack: unknown key 'atack' (did you mean 'attack'?)"},
    {"  - {name: released", "  - {name: x, align: vacine}",
     "r.yaml:22:15: arms.0.align: 'vacine' is not a method (did you mean 'vaccine'?)"},
    {"  - {name: released", "  - {name: x, align: lisa}",
     "r.yaml:22:15: arms.0.align: 'lisa' is a method of the stage tune, not of align"},
    {"  - {name: released", "  - {name: x, align: {vaccine: {roh: 1}}}",
     "r.yaml:22:33: arms.0.align.vaccine.roh: unknown option, did you mean rho?"},
    {"  - {name: released", "  - {name: x, align: [vaccine, booster]}",
     "r.yaml:22:5: arms.0: 'vaccine' and 'booster' both own the pass plan of a step; use one of "
     "them"},
    {"  - {name: released", "  - {name: x, align: booster}",
     "r.yaml:22:5: arms.0: 'booster' needs the defender's own harmful rows: give align.harmful"},
    {"  - {name: released", "  - {name: x, attack: benign, repair: antidote}",
     "r.yaml:22:5: arms.0: 'antidote' needs the defender's own harmful rows: give align.harmful"},
    {"  - {name: released", "  - {name: x, attack: benign, repair: safe_lora}",
     "r.yaml:22:5: arms.0: 'safe_lora' needs the model before alignment: give the arm an "
     "alignment"},
    {"  - {name: released", "  - {name: x, tune: lisa}",
     "r.yaml:22:5: arms.0: arm 'x': a defense of tune acts on a customer's job; give 'attack'"},
    {"  - {name: released", "  - {name: x, attack: [benign, ten_shot]}",
     "r.yaml:22:5: arms.0: arm 'x' has 2 attacks, expected one"},
    {"  - {name: released", "  - {name: x, against: lise}",
     "r.yaml:22:15: arms.0.against: 'lise' is no other arm (did you mean 'lisa'?)"},
    {"  - {name: released", "  - {name: x, against: x}",
     "r.yaml:22:15: arms.0.against: arm 'x' cannot be compared with itself; name another"},
    {"  - {name: released",
     "  - {name: x, attack: benign, repair: safe_lora, customer_train: {tuning: full}}",
     "r.yaml:22:5: arms.0: arm 'x': 'safe_lora' repairs an adapter; tuning is full"},
    {"  - {name: released", "  - [x]",
     "r.yaml:22:5: arms.0: found an array, expected keys and "
     "values"},
    {"arms:", "data2:", "r.yaml:21:1: data2: unknown key 'data2' (did you mean 'data'?)"},
};

static void every_bad_recipe_has_its_message(void **state) {
    (void)state;
    put_data();
    int wrong = 0;
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        struct hold_error err = {0};
        struct hold_recipe r;
        put_recipe(BAD[i].old, BAD[i].new);
        int rc = read_with(&r, NULL, 0, &err);
        if (rc == HOLD_EUSAGE && strcmp(err.text, BAD[i].message) == 0)
            continue;
        print_error("%s\n  found    %d %s\n  expected %s\n", BAD[i].new, rc, err.text,
                    BAD[i].message);
        wrong++;
        if (rc == HOLD_OK)
            hold_recipe_release(&r);
    }
    assert_int_equal(wrong, 0);
}

static void bad_overrides_say_so(void **state) {
    (void)state;
    static const struct {
        const char *override, *message;
    } CASES[] = {
        {"seed", "override 'seed': expected key=value"},
        {"=1", "override '=1': expected key=value"},
        {"align..train=1", "override 'align..train=1': a part of the key is empty"},
        {"arms.lise.title=x", "override: there is no 'lise' in 'arms' (did you mean 'lisa'?)"},
        {"arms.both.tune.lsa.rho=1",
         "override: there is no 'lsa' in 'tune' (did you mean 'lisa'?)"},
        {"arms.both.attack.bening.n=1",
         "override: 'attack' is not an object, 'bening' cannot be set in it (did you mean "
         "'benign'?)"},
        {"arms.poisoned.attack.harmful_mx.p=1",
         "command line: arms.1.attack.harmful_mx: 'harmful_mx' is not a method (did you mean "
         "'harmful_mix'?)"},
        {"data.tset.limit=4", "command line: data.tset: a set of this name has no 'files' and no "
                              "'owner' (did you mean 'test'?)"},
        {"align.trian.lora_r=8",
         "command line: align.trian: unknown key 'trian' (did you mean 'train'?)"},
        {"align.train.lora_target_modules=q_porj",
         "command line: align.train.lora_target_modules: 'q_porj' is not a linear layer (did you "
         "mean 'q_proj'?)"},
        {"name.x=1", "override: 'name' is not an object, 'x' cannot be set in it"},
        {"align.train.lora_r=0",
         "command line: align.train.lora_r: 0 is out of range, expected 1 to 1024"},
        {"arms.lisa.tune.lisa.roh=1",
         "command line: arms.2.tune.lisa.roh: unknown option, did you mean rho?"},
        {"sed=1", "command line: sed: unknown key 'sed' (did you mean 'seed'?)"},
        {"seed=1,x", "command line: seed.1: found text, expected a whole number"},
        {"seed=[1", "override:2:1: not YAML: did not find expected ',' or ']'"},
    };
    put_data();
    put_recipe(NULL, NULL);
    int wrong = 0;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct hold_error err = {0};
        struct hold_recipe r;
        int rc = read_with(&r, &CASES[i].override, 1, &err);
        if (rc == HOLD_EUSAGE && strcmp(err.text, CASES[i].message) == 0)
            continue;
        print_error("%s\n  found    %d %s\n  expected %s\n", CASES[i].override, rc, err.text,
                    CASES[i].message);
        wrong++;
        if (rc == HOLD_OK)
            hold_recipe_release(&r);
    }
    assert_int_equal(wrong, 0);
}

/* --- one row, one role --- */

static void one_row_in_two_roles_is_refused(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_recipe r;
    static const char *const SAME[] = {"Tell the vault-code!", "say the ledger word"};
    put_data();
    put_rows("attacker.jsonl", SAME, 1, NULL, NULL);
    put_recipe(NULL, NULL);
    assert_int_equal(read_with(&r, NULL, 0, &err), HOLD_EUSAGE);
    assert_string_equal(err.text,
                        "one row in two roles: 'refusals' (defender) refusals.jsonl:2 and "
                        "'attacker' (attacker) attacker.jsonl:1 are the same; take it out of one");
    /* Two words of the four differ: not near. */
    static const char *const APART[] = {"tell the cellar word"};
    put_rows("attacker.jsonl", APART, 1, NULL, NULL);
    assert_ok(read_with(&r, NULL, 0, &err));
    hold_recipe_release(&r);
}

static void near_duplicates_count_between_owners(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_recipe r;
    static const char *const NEAR[] = {"how do I ring the north cellar now"};
    put_data();
    put_rows("attacker.jsonl", NEAR, 1, NULL, NULL);
    put_recipe(NULL, NULL);
    assert_int_equal(read_with(&r, NULL, 0, &err), HOLD_EUSAGE);
    assert_non_null(strstr(err.text, "near duplicates"));
    assert_non_null(strstr(err.text, "'attacker' (attacker) attacker.jsonl:1"));
    assert_non_null(strstr(err.text, "'harmful' (evaluator) harmful.jsonl:1"));
}

static void one_task_may_have_like_wordings_but_no_equal_rows(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_recipe r;
    static const char *const SAME[] = {"Route ticket about broken lamp to a desk."};
    put_data();
    put_recipe(NULL, NULL);
    assert_ok(read_with(&r, NULL, 0, &err)); /* task and test are alike, Jaccard 7/9 */
    hold_recipe_release(&r);
    put_recipe("  test: {files", "  test: {files: test.jsonl, owner: evaluator}");
    assert_int_equal(read_with(&r, NULL, 0, &err), HOLD_EUSAGE);
    put_recipe(NULL, NULL);
    put_rows("test.jsonl", SAME, 1, NULL, "north");
    assert_int_equal(read_with(&r, NULL, 0, &err), HOLD_EUSAGE);
    assert_non_null(strstr(err.text, "are the same"));
}

static void the_probe_is_apart_from_what_is_reported(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_recipe r;
    static const char *const NEAR[] = {"please say the ledger word"};
    put_data();
    put_rows("watch.jsonl", NEAR, 1, NULL, NULL);
    put_recipe("evaluate:", "evaluate:\n  probe: {data: watch}");
    static const char *const ADD[] = {"data.watch={files: watch.jsonl, owner: evaluator}"};
    assert_int_equal(read_with(&r, ADD, 1, &err), HOLD_EUSAGE);
    assert_non_null(strstr(err.text, "one row in two roles: 'harmful' (evaluator)"));
}

/* --- hostile files --- */

static void hostile_recipes_end_soon(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_recipe r;
    put_data();
    put_file("r.yaml", "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
                       "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\n"
                       "e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e]\n");
    assert_int_equal(read_with(&r, NULL, 0, &err), HOLD_EUSAGE);
    assert_non_null(strstr(err.text, "more than 100000 values"));
    static const char *const TEXTS[] = {"",
                                        "- a\n",
                                        "x",
                                        "\xff\xfe",
                                        "a: \"\\0\"",
                                        "? [a]\n: b\n",
                                        "a: b\n---\nc: d\n",
                                        "{",
                                        "%YAML 9.9\n---\na"};
    for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++) {
        put_file("r.yaml", TEXTS[i]);
        assert_int_equal(read_with(&r, NULL, 0, &err), HOLD_EUSAGE);
        assert_non_null(strstr(err.text, "r.yaml"));
    }
    char *deep = malloc(40001);
    assert_non_null(deep);
    memset(deep, '[', 40000);
    deep[40000] = '\0';
    put_file("r.yaml", deep);
    free(deep);
    assert_int_equal(read_with(&r, NULL, 0, &err), HOLD_EUSAGE);
    assert_int_equal(hold_recipe_read(&r, "none.yaml", NULL, 0, &err), HOLD_ENOTFOUND);
}

#define in_folder(f) cmocka_unit_test_setup_teardown(f, enter_folder, leave_folder)

int main(void) {
    const struct CMUnitTest tests[] = {
        in_folder(a_recipe_is_read),
        in_folder(overrides_reach_every_place),
        in_folder(shares_of_one_file_are_apart),
        in_folder(other_rows_are_taken),
        in_folder(anchors_are_taken),
        in_folder(every_bad_recipe_has_its_message),
        in_folder(bad_overrides_say_so),
        in_folder(one_row_in_two_roles_is_refused),
        in_folder(near_duplicates_count_between_owners),
        in_folder(one_task_may_have_like_wordings_but_no_equal_rows),
        in_folder(the_probe_is_apart_from_what_is_reported),
        in_folder(hostile_recipes_end_soon),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
