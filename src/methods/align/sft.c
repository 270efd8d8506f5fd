/* sft.c: supervised alignment: cross entropy on refusals and ordinary rows, nothing else.
 *
 * The baseline of every alignment-stage defense (arXiv 2409.18169, sec. 2).  No deviation: plain
 * training is the loop itself.
 */
#include "methods/method.h"

const struct hold_method hold_method_sft = {
    .name = "sft",
    .title = "Trains on refusals and ordinary rows by plain cross entropy.",
    .paper = "arXiv 2409.18169",
    .where = "sec. 2",
    .stage = HOLD_STAGE_ALIGN,
    .version = 1,
};
