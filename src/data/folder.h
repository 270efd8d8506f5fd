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
 * and .gz or .zst behind it.  A split in parts, train-00000-of-00002.EXT and so on, from 0 or from
 * 1: the paths of all in order, newlines between them; a missing one is EDATA and named.  None: "",
 * or with `required` ENOTFOUND that names what is there.  Two that could be the split: EDATA.
 */
int hold_folder_find(const char *dir, enum hold_split split, bool required, struct hold_str *out,
                     struct hold_error *err);
/* Goes through such a list: *out (cleared) = its next path, and *files moves behind it; false:
 * there is none. */
bool hold_files_next(const char **files, struct hold_str *out);

#endif
