/* cli.h: what the commands share: the table of commands, option parsing, talk and progress. */
#ifndef HOLD_CLI_CLI_H
#define HOLD_CLI_CLI_H

#include <stdbool.h>

#include "base/ctx.h"
#include "base/option.h"
#include "base/status.h"
#include "base/str.h"
#include "device/device.h"
#include "infer/generate.h"
#include "model/model.h"

/* Options of every command; precedence: defaults, environment HOLDFAST_*, flags. */
struct hold_common {
    bool help, json, quiet, verbose;
    int64_t threads;    /* 0: all cores we may use */
    const char *device; /* "cpu" */
    const char *dtype;  /* "auto", "f32" */
    const char *isa;    /* "auto", "portable", "avx2", "avx512" */
    const char *store;  /* empty: under the XDG data folder */
};
extern const struct hold_option hold_common_options[];

struct hold_cli {
    const struct hold_command *command;
    struct hold_common common;
    struct hold_ctx ctx;
    struct hold_str home;   /* data folder: HOLDFAST_HOME or XDG */
    struct hold_str models; /* home/models */
    struct hold_str store;
    bool terminal; /* stderr is one: progress is drawn in place */
    double last_drawn;
};

struct hold_command {
    const char *name, *summary;        /* summary: lower case, no full stop */
    const char *usage;                 /* after the command's name */
    const char *example;               /* whole lines that work */
    const struct hold_option *options; /* of the command's own struct, or NULL */
    size_t size;                       /* of that struct */
    int min_args, max_args;            /* positional; max -1: any */
    int (*run)(struct hold_cli *cli, void *options, int n_args, char **args,
               struct hold_error *err);
    const struct hold_option *more; /* a second table over the same struct, or NULL */
};
extern const struct hold_command *const hold_commands[]; /* NULL-ended, sorted */

/* A device as the common options say. */
int hold_cli_device(struct hold_cli *cli, struct hold_device **out, struct hold_error *err);
/* Locate and load MODEL, merge --adapter (NULL or empty: none). */
int hold_cli_model(struct hold_cli *cli, const char *model, const char *adapter,
                   struct hold_device *device, struct hold_model *out, struct hold_error *err);
/* How the model's rows are rendered, with its inference profile. */
struct hold_renderer hold_cli_renderer(const struct hold_model *m, int64_t max_length);
/* Help text of a command, as --help prints it. */
void hold_cli_help(const struct hold_command *c, struct hold_str *out);
/* Erase the progress line before something else is printed to the terminal. */
void hold_cli_clear(struct hold_cli *cli);

#endif
