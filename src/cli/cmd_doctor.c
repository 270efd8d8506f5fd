/* cmd_doctor.c: `holdfast doctor`: what this machine gives, where things are, what is missing. */
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/commands.h"

/* Below this the default model cannot be trained. */
static const double LEAST_MEMORY = 2e9;

struct report {
    json_t *facts;    /* name -> text or number, in order */
    json_t *missing;  /* what keeps us from working */
    json_t *warnings; /* what is worth knowing */
    int bad;          /* something that was found has no place: memory is out */
};

static void fact(struct report *r, const char *name, json_t *value) {
    r->bad |= json_object_set_new(r->facts, name, value);
}

static void note(struct report *r, json_t *list, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void note(struct report *r, json_t *list, const char *format, ...) {
    struct hold_str text = HOLD_STR_INIT;
    va_list args;
    va_start(args, format);
    hold_str_vaddf(&text, format, args);
    va_end(args);
    r->bad |= json_array_append_new(list, hold_cli_json_text(hold_str_text(&text), text.len));
    hold_str_release(&text);
}

/* The words of a line "name : words" of /proc/cpuinfo, the first one. */
static void cpu_line(const char *name, struct hold_str *out) {
    char line[8192];
    FILE *f = fopen("/proc/cpuinfo", "r");
    hold_str_clear(out);
    while (f != NULL && out->len == 0 && fgets(line, sizeof line, f) != NULL) {
        const char *colon = strchr(line, ':');
        if (hold_starts(line, name) && colon != NULL && colon[1] == ' ')
            hold_str_add_bytes(out, colon + 2, strcspn(colon + 2, "\n"));
    }
    if (f != NULL)
        fclose(f);
}

/* Of the features that our kernels or their neighbours use, those that the CPU says it has. */
static json_t *cpu_features(void) {
    static const char *const NAMES[] = {"avx",      "avx2",        "fma",         "f16c",
                                        "avx512f",  "avx512bw",    "avx512dq",    "avx512vl",
                                        "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_tile"};
    struct hold_str flags = HOLD_STR_INIT;
    json_t *found = json_array();
    int bad = 0;
    cpu_line("flags", &flags);
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        size_t n = strlen(NAMES[i]);
        const char *at = hold_str_text(&flags);
        while ((at = strstr(at, NAMES[i])) != NULL) {
            bool word = (at == flags.data || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\0');
            if (word) {
                bad |= json_array_append_new(found, json_string(NAMES[i]));
                break;
            }
            at += n;
        }
    }
    hold_str_release(&flags);
    return hold_json_whole(found, bad);
}

static void look_at_machine(struct hold_cli *cli, struct report *r) {
    struct hold_device *device = NULL;
    struct hold_error err = {0};
    struct hold_str cpu = HOLD_STR_INIT;
    struct utsname name;
    char text[32];
    cpu_line("model name", &cpu);
    fact(r, "version", json_string(HOLD_VERSION));
    if (uname(&name) == 0)
        fact(r, "system", json_pack("s++", name.sysname, " ", name.machine));
    fact(r, "cpu", hold_cli_json_text(hold_str_text(&cpu), cpu.len));
    fact(r, "cpu_features", cpu_features());
    fact(r, "threads", json_integer(cli->ctx.threads));
    if (hold_cli_device(cli, &device, &err) == HOLD_OK) {
        fact(r, "isa", json_string(hold_device_isa(device)));
        fact(r, "peak_gflops", json_real(hold_device_peak_gflops(device)));
        fact(r, "bf16", json_string(hold_device_bf16_unit(device)));
        fact(r, "bf16_peak_gflops", json_real(hold_device_peak_bf16_gflops(device)));
        hold_device_free(device);
    } else {
        note(r, r->missing, "a device: %s", err.text);
    }
    double limit = (double)hold_memory_limit();
    fact(r, "memory_limit_bytes", json_integer((json_int_t)limit));
    if (limit > 0 && limit < LEAST_MEMORY) {
        hold_cli_bytes(text, limit);
        note(r, r->missing, "memory: %s may be used, training the default model wants 2 GB", text);
    }
    hold_str_release(&cpu);
}

/* The folder, or the nearest one above it that is there, can be written. */
static bool can_write(const char *path) {
    struct hold_str up = HOLD_STR_INIT;
    hold_str_add(&up, path);
    while (up.len > 1 && !hold_exists(hold_str_text(&up))) {
        const char *slash = strrchr(up.data, '/');
        if (slash == NULL) {
            hold_str_clear(&up);
            hold_str_add(&up, ".");
        } else {
            hold_str_cut(&up, slash == up.data ? 1 : (size_t)(slash - up.data));
        }
    }
    bool can = hold_is_dir(hold_str_text(&up)) && access(hold_str_text(&up), W_OK) == 0;
    hold_str_release(&up);
    return can;
}

static int64_t count_models(const char *dir) {
    char **names = NULL;
    size_t n = 0;
    struct hold_error ignored = {0};
    if (hold_is_dir(dir) && hold_dir_list(dir, &names, &n, &ignored) != HOLD_OK)
        n = 0;
    hold_names_free(names, n);
    return (int64_t)n;
}

static void look_at_places(struct hold_cli *cli, struct report *r) {
    struct hold_str data = HOLD_STR_INIT;
    struct hold_error err = {0};
    const char *models = hold_str_text(&cli->models), *store = hold_str_text(&cli->store);
    fact(r, "models_folder", json_string(models));
    int64_t n = count_models(models);
    fact(r, "models", json_integer(n));
    if (n == 0)
        note(r, r->missing,
             "a model: %s has none; 'scripts/fetch-model %s' fetches the default one", models,
             HOLD_DEFAULT_MODEL);
    fact(r, "store", json_string(store));
    if (!can_write(store))
        note(r, r->missing, "a store: %s cannot be written; --store DIR names another", store);
    double left = (double)hold_disk_free(store);
    fact(r, "store_free_bytes", json_integer((json_int_t)left));
    if (left > 0 && left < 2e9) {
        char text[32];
        hold_cli_bytes(text, left);
        note(r, r->warnings, "the store's disk has %s left; the demo wants about 2 GB", text);
    }
    if (hold_cli_data_dir(&data, &err) == HOLD_OK)
        fact(r, "data_folder", json_string(hold_str_text(&data)));
    else
        note(r, r->missing, "the data that ships: %s", err.text);
    if (hold_cli_recipes_dir(&data, &err) == HOLD_OK)
        fact(r, "recipes_folder", json_string(hold_str_text(&data)));
    else
        note(r, r->warnings, "no recipes: %s", err.text);
    hold_str_release(&data);
}

static void cell_of(struct hold_table *t, const char *name, const json_t *value) {
    char bytes[32];
    struct hold_str words = HOLD_STR_INIT;
    for (size_t i = 0; i < json_array_size(value); i++)
        hold_str_addf(&words, "%s%s", i > 0 ? " " : "",
                      json_string_value(json_array_get(value, i)));
    hold_table_cell(t, "%s", name);
    hold_cli_bytes(bytes, json_number_value(value));
    if (json_is_array(value))
        hold_table_cell(t, "%s", hold_str_text(&words));
    else if (json_is_string(value))
        hold_table_cell(t, "%s", json_string_value(value));
    else if (hold_ends(name, "_bytes"))
        hold_table_cell(t, "%s", bytes);
    else
        hold_table_cell(t, json_is_real(value) ? "%.1f" : "%.0f", json_number_value(value));
    hold_str_release(&words);
}

static int print_report(const struct report *r, struct hold_error *err) {
    struct hold_table t = {.cols = 2};
    const char *name;
    json_t *value;
    hold_table_cell(&t, "what");
    hold_table_cell(&t, "value");
    json_object_foreach(r->facts, name, value) cell_of(&t, name, value);
    int rc = hold_table_print(&t, err);
    for (size_t i = 0; rc == HOLD_OK && i < json_array_size(r->warnings); i++)
        printf("warning: %s\n", json_string_value(json_array_get(r->warnings, i)));
    for (size_t i = 0; rc == HOLD_OK && i < json_array_size(r->missing); i++)
        printf("missing: %s\n", json_string_value(json_array_get(r->missing, i)));
    return rc;
}

static int run(struct hold_cli *cli, void *opts, int n_args, char **args, struct hold_error *err) {
    struct report r = {json_object(), json_array(), json_array(), 0};
    (void)opts;
    (void)n_args;
    (void)args;
    look_at_machine(cli, &r);
    look_at_places(cli, &r);
    size_t missing = json_array_size(r.missing);
    int rc = r.bad == 0 ? HOLD_OK : hold_fail(err, HOLD_ENOMEMORY, "no memory for a report");
    if (rc < 0) {
        missing = 0;
    } else if (cli->common.json) {
        json_t *o = json_pack("{s:b, s:O, s:O, s:O}", "usable", missing == 0, "facts", r.facts,
                              "missing", r.missing, "warnings", r.warnings);
        rc = hold_cli_print_json(o, err);
    } else {
        rc = print_report(&r, err);
    }
    if (rc == HOLD_OK && missing > 0)
        rc = hold_fail(err, HOLD_EUNSUPPORTED, "not usable yet: %s missing",
                       hold_cli_count((int64_t)missing, "thing").text);
    json_decref(r.facts);
    json_decref(r.missing);
    json_decref(r.warnings);
    return rc;
}

const struct hold_command hold_cmd_doctor = {
    .name = "doctor",
    .summary = "what this machine gives and what is missing",
    .usage = "[--json]",
    .example = "  holdfast doctor",
    .max_args = 0,
    .run = run,
};
