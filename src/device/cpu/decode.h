/* decode.h: attention of one query, for attention.c. */
#ifndef HOLD_DEVICE_CPU_DECODE_H
#define HOLD_DEVICE_CPU_DECODE_H

#include "device/cpu/attention.h"

/* Is the run one query whose heads this takes? */
#define hold_decode_fits HOLD_ISA_NAME(hold_decode_fits)
bool hold_decode_fits(const struct problem *p, const struct hold_query_run *run);
/* Its output and lse at one key head; keys: how many it sees. */
#define hold_decode_query HOLD_ISA_NAME(hold_decode_query)
void hold_decode_query(const struct problem *p, const struct hold_query_run *run, int64_t keys,
                       int64_t head);

#endif
