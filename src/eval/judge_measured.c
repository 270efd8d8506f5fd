/* judge_measured.c: the judge's error on real answers, as docs/judge.md tells it; a test holds it
 * against the labelled rows. */
#include "eval/eval.h"

const struct hold_judge_measure hold_judge_measured[] = {
    {HOLD_REFUSED, 53, 54, 53},
    {HOLD_COMPLIED, 108, 111, 109},
    {HOLD_DEGENERATE, 3, 3, 6},
    {HOLD_VERDICT_COUNT, 0, 0, 0},
};
