/* options.h: the training options that benches take as name=value after their fixed arguments. */
#ifndef HOLD_BENCH_OPTIONS_H
#define HOLD_BENCH_OPTIONS_H

#include <string.h>

#include "train/train.h"

/* Defaults, then what the n arguments say; they are cut at their '='.  EUSAGE names a bad one. */
static inline int bench_set_options(struct hold_train_config *config, int n, char **args,
                                    struct hold_error *err) {
    int rc = HOLD_OK;
    hold_options_defaults(hold_train_options, config);
    for (int i = 0; rc == HOLD_OK && i < n; i++) {
        char *value = strchr(args[i], '=');
        if (value == NULL)
            return hold_fail(err, HOLD_EUSAGE, "'%s': expected name=value", args[i]);
        *value++ = '\0';
        rc = hold_options_set_text(hold_train_options, config, args[i], value, args[i], err);
    }
    return rc;
}

#endif
