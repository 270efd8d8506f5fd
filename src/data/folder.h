/* folder.h: a folder as data: its files of rows to train on, to validate with and to test with. */
#ifndef HOLD_DATA_FOLDER_H
#define HOLD_DATA_FOLDER_H

#include <stdbool.h>

#include "base/status.h"
#include "base/str.h"

enum hold_split { HOLD_SPLIT_TRAIN, HOLD_SPLIT_VALID, HOLD_SPLIT_TEST, HOLD_SPLIT_COUNT };
const char *hold_split_name(enum hold_split split); /* "train", "valid", "test" */

/* *out (cleared) = the path of the folder's file of that split: train.EXT; valid.EXT,
 * validation.EXT, val.EXT, dev.EXT or eval.EXT; test.EXT, with EXT jsonl, ndjson, json, csv or tsv,
 * and .gz or .zst behind it.  None: "", or with `required` ENOTFOUND that names what is there.  Two
 * of them: EDATA.
 */
int hold_folder_find(const char *dir, enum hold_split split, bool required, struct hold_str *out,
                     struct hold_error *err);

#endif
