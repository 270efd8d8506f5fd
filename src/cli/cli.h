/* cli.h: what the commands share: the table of commands, options, places, models, output. */
#ifndef HOLD_CLI_CLI_H
#define HOLD_CLI_CLI_H

#include <stdbool.h>

#include "base/ctx.h"
#include "base/mem.h"
#include "base/option.h"
#include "base/status.h"
#include "base/str.h"
#include "data/render.h"
#include "data/rows.h"
#include "device/device.h"
#include "infer/generate.h"
#include "model/model.h"

/* Options of every command; precedence: defaults, environment HOLDFAST_*, flags. */
struct hold_common {
    bool help, json, quiet, verbose;
    int64_t threads;    /* 0: all cores we may use */
    const char *device; /* "cpu" */
    const char *dtype;  /* "auto", "f32", "bf16" */
    const char *isa;    /* "auto", "portable", "avx2", "avx512", "avx512_bf16", "amx" */
    const char *store;  /* empty: under the XDG data folder */
};
extern const struct hold_option hold_common_options[];

enum { HOLD_GIVEN_MOST = 128 };
struct hold_cli {
    const struct hold_command *command;
    struct hold_common common;
    struct hold_ctx ctx;
    struct hold_str home;   /* data folder: HOLDFAST_HOME or XDG */
    struct hold_str models; /* home/models */
    struct hold_str store;
    struct hold_arena arena; /* values of options that are lists */
    struct hold_given {      /* options on the command line, each once */
        const struct hold_option *row[HOLD_GIVEN_MOST];
        const char *value[HOLD_GIVEN_MOST];
        size_t n;
    } given;
    bool terminal; /* stderr is one: progress is drawn in place */
    double last_drawn, last_said;
    bool said; /* of the current work, where there is no terminal */
};

struct hold_command {
    const char *name, *summary;        /* "data check"; summary: lower case, no full stop */
    const char *usage;                 /* after the command's name */
    const char *example;               /* whole lines that work */
    const struct hold_option *options; /* of the command's own struct, or NULL */
    size_t size;                       /* of that struct */
    int min_args, max_args;            /* positional; max -1: any */
    int (*run)(struct hold_cli *cli, void *options, int n_args, char **args,
               struct hold_error *err);
    const struct hold_option *more; /* a second table over the same struct, or NULL */
    const char *many; /* " data max ": text options that may be given several times: the values
                         joined by newlines; or NULL */
};
extern const struct hold_command *const hold_commands[]; /* NULL-ended, sorted */

/* Rows that many option tables have, over a field `model` or `output` of type T. */
#define HOLD_DEFAULT_MODEL "smollm2-135m-instruct"
#define HOLD_CLI_MODEL(T)                                                                          \
    {                                                                                              \
        "model", "MODEL: a GGUF file, a Hugging Face folder, a name or a stage id", HOLD_OPT_TEXT, \
            offsetof(T, model) + HOLD_IS(T, model, const char *), 0, 0, 0, HOLD_DEFAULT_MODEL,     \
            NULL, 'm'                                                                              \
    }
#define HOLD_CLI_OUTPUT(T, help)                                                                  \
    {                                                                                             \
        "output", help, HOLD_OPT_TEXT, offsetof(T, output) + HOLD_IS(T, output, const char *), 0, \
            0, 0, "", NULL, 'o'                                                                   \
    }

/* --- args.c --- */
/* The environment and the arguments into cli->common and the command's `options`; positional
 * arguments are moved to the front of args and counted. */
int hold_cli_parse(struct hold_cli *cli, void *options, int n, char **args, int *n_left,
                   struct hold_error *err);
/* An option as it is typed: "--lora-r" of "lora_r". */
struct hold_flag {
    char text[128];
};
struct hold_flag hold_cli_flag(const char *name);
/* Whether the option, by its name with underscores, stands on the command line. */
bool hold_cli_is_given(const struct hold_cli *cli, const char *name);
/* Warns that an option does nothing beside (or without) others. */
void hold_cli_tell_idle(struct hold_cli *cli, const char *name, const char *beside);
/* Help text of a command, as --help prints it. */
void hold_cli_help(const struct hold_command *c, struct hold_str *out);

/* --- talk.c --- */
/* Callbacks of cli->ctx; their user is the struct hold_cli. */
void hold_cli_talk(void *user, enum hold_level level, const char *room, const char *line);
void hold_cli_progress(void *user, const char *what, int64_t done, int64_t total,
                       const char *status, double eta);
/* Erase the progress line before something else is printed to the terminal. */
void hold_cli_clear(struct hold_cli *cli);
/* Is `fd` a terminal on which colour is welcome (NO_COLOR, TERM)? */
bool hold_cli_colour(int fd);

/* --- main.c --- */
/* A signal that a command has answered (chat): the next one counts as the first again. */
void hold_cli_forget_signal(void);

/* --- bus.c --- */
void hold_cli_catch_bus(void); /* SIGBUS ends with a line that names the file, and exit code 1 */

/* --- places.c --- */
int hold_cli_places(struct hold_cli *cli, struct hold_error *err);
/* *out (cleared) = the folder of the data that ships: HOLDFAST_DATA, or found beside the program
 * (build tree or installed).  ENOTFOUND says where it was looked for. */
int hold_cli_data_dir(struct hold_str *out, struct hold_error *err);
/* The same for the recipes that ship: the folder beside that of the data. */
int hold_cli_recipes_dir(struct hold_str *out, struct hold_error *err);
/* *out (cleared) = a recipe's file: the word itself, or the file of a recipe that ships when the
 * word is a bare name and no such file. */
int hold_cli_recipe_path(struct hold_str *out, const char *word, struct hold_error *err);
/* Unix time for templates: SOURCE_DATE_EPOCH, or now. */
int64_t hold_cli_now(void);

/* --- common.c --- */
/* A device as the common options say. */
int hold_cli_device(struct hold_cli *cli, struct hold_device **out, struct hold_error *err);
/* Locate and load MODEL (a path, a name, or a stage's id), merge --adapter (NULL or empty: none).
 * Refuses, before it reads the weights, a model that would not fit into the memory that this
 * process may use. */
int hold_cli_model(struct hold_cli *cli, const char *model, const char *adapter,
                   struct hold_device *device, struct hold_model *out, struct hold_error *err);
/* The same for forward passes and low-rank training alone (hold_model_load_lean), where no adapter
 * must be merged. */
int hold_cli_model_lean(struct hold_cli *cli, const char *model, const char *adapter,
                        struct hold_device *device, struct hold_model *out, struct hold_error *err);
/* A device and, lean, a model on it; the caller releases both, also after a failure. */
int hold_cli_open(struct hold_cli *cli, const char *model, const char *adapter,
                  struct hold_device **device, struct hold_model *out, struct hold_error *err);
/* How the model's rows are rendered, with its inference profile. */
struct hold_renderer hold_cli_renderer(const struct hold_model *m, int64_t max_length);
/* MODEL's files and compiled chat template (NULL: it has none), without its weights. */
struct hold_text_side {
    struct hold_model_files files;
    struct hold_template *chat;
};
int hold_cli_text_side(struct hold_cli *cli, const char *model, struct hold_text_side *out,
                       struct hold_error *err);
void hold_cli_text_release(struct hold_text_side *t);
struct hold_renderer hold_cli_text_renderer(const struct hold_text_side *t, int64_t max_length);
/* "[1,2,3]", and back: EDATA for anything but an array of ids below `vocab`; appends. */
void hold_cli_add_ids(const struct hold_ids *ids, struct hold_str *out);
int hold_cli_take_ids(const json_t *value, int64_t vocab, const char *where, struct hold_ids *ids,
                      struct hold_error *err);
/* ENOMEMORY when `bytes` more would pass the limit of this process. */
int hold_cli_check_memory(const char *what, double bytes, struct hold_error *err);
/* "1.2 GB", "317 MB". */
void hold_cli_bytes(char out[32], double bytes);

/* --- rows.c --- */
#define HOLD_CLI_PREFERENCE(T)                                   \
    HOLD_TEXT(T, preference, "refuse", "refuse|chosen|rejected", \
              "which answer of rows of preferences is taken as an ordinary row's")
/* The rows of all files of a list joined by newlines (an option given several times), in order; as
 * hold_rows_read, and then as hold_rows_take_side; what that leaves out is told.  preference NULL:
 * rows of preferences stay as they are. */
int hold_cli_rows(struct hold_cli *cli, struct hold_rows *out, const char *files,
                  const char *preference, struct hold_issues *issues, struct hold_error *err);
/* *out (cleared) = `path`, or where that is a folder its files of the split, a list as above; they
 * must be there. */
int hold_cli_split(const char *path, const char *split, struct hold_str *out,
                   struct hold_error *err);
/* "1 row", "2 rows". */
struct hold_count {
    char text[48];
};
struct hold_count hold_cli_count(int64_t n, const char *word);

/* --- cmd_model.c --- */
/* What `model info` prints. */
int hold_cli_model_info(struct hold_cli *cli, const char *model, bool tensors,
                        struct hold_error *err);
/* Write a model as a Hugging Face folder that appears whole or not at all; `from` is the path that
 * gives the tokenizer's files, `dir` is new or empty. */
int hold_cli_write_model(const struct hold_model *m, const char *from, enum hold_stored_type type,
                         const char *dir, struct hold_error *err);
/* The same as one GGUF file. */
int hold_cli_write_gguf(struct hold_cli *cli, const struct hold_model *m, const char *from,
                        enum hold_stored_type type, const char *path, struct hold_error *err);
enum hold_stored_type hold_cli_stored_type(const char *dtype); /* "f32", "f16", "bf16", "q8_0" */

/* --- output.c --- */
/* Fails early when a file (-o) could not be written at the end of the work; "" and "-" are standard
 * output. */
int hold_cli_check_output(const char *path, struct hold_error *err);
/* Write the whole text: to standard output, atomically to a file, or straight into a device or
 * pipe. */
int hold_cli_write(const char *path, const struct hold_str *text, struct hold_error *err);
/* One line of JSON on standard output; steals `value` (NULL: no memory). */
int hold_cli_print_json(json_t *value, struct hold_error *err);
/* Bytes as a JSON string in which invalid UTF-8 reads U+FFFD, one for each
 * part of hold_utf8_part.  New reference. */
json_t *hold_cli_json_text(const char *bytes, size_t n);
/* An output folder that must be new or empty (it is not made). */
int hold_cli_check_new_dir(const char *dir, struct hold_error *err);

/* A table for people: cells row by row, printed in Markdown's shape with even columns. */
struct hold_table {
    int cols;
    size_t n, cap; /* cells */
    char **cell;
    bool out_of_memory;
};
void hold_table_cell(struct hold_table *t, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Prints to standard output; the first row is the head. Releases the table. */
int hold_table_print(struct hold_table *t, struct hold_error *err);

/* Lines of a file descriptor, whole and without their '\n'. */
struct hold_lines {
    int fd;
    const char *path; /* for messages; borrowed */
    long line;        /* number of the last one */
    size_t at, n;
    bool end;
    char buffer[65536];
};
/* "-": standard input. */
int hold_lines_open(struct hold_lines *l, const char *path, struct hold_error *err);
/* *got false: no more.  A signal: EINTERRUPTED. */
int hold_lines_next(struct hold_lines *l, struct hold_str *line, bool *got, struct hold_error *err);
void hold_lines_close(struct hold_lines *l);

#endif
